"""Memory that processes of this machine may still take."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_memory_bytes() -> int | None:
    """Return the memory that processes can take without swapping, within the limits of their control groups.

    See MemAvailable in proc(5), and memory.max of control groups v2. None where neither is known.
    """
    known = [_within(group) for group in _own_groups()]
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        known.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    return min((size for size in known if size is not None), default=None)


def _own_groups() -> list[Path]:
    """Return the control groups of this process, the innermost first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    path = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    group = _CGROUPS / path
    return [group, *(parent for parent in group.parents if parent.is_relative_to(_CGROUPS))]


def _within(group: Path) -> int | None:
    """Return what a control group may still take; None without a limit."""
    try:
        return max(0, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # "max", or no such group
        return None
