"""Memory and descriptors that this machine has left for a run."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

from testbed.errors import TestbedError

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
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


def raise_if_short(error: BaseException) -> None:
    """Raise the right cause of a failed trial, if this machine was out of descriptors, memory or processes.

    Raises:
        TestbedError: it was; the trial says nothing about what was tried.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _SHORT:
            text = f"this machine could not be examined: {os.strerror(cause.errno)}"
            if cause.errno == errno.EMFILE:
                limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                text += f"; this process may open {limit} files (ulimit -n)"
            raise TestbedError(text) from error
        cause = cause.__cause__


def allow_descriptors(wanted: int) -> int:
    """Let this process, and those that it starts, open as many files, if its hard limit allows.

    Returns:
        The number that it may open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == unlimited else soft


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
