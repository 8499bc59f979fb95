"""Limits of processor and memory for a program, by control groups; see cgroups(7).

Of version 2, or of version 1 where that has the controllers. A group is named after the process that made it,
so that one of a killed run is recognised and removed by `spaceverse clean`.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import CapabilityError
from testbed.machine.process_identity import ProcessIdentity, start_ticks

PERIOD_US = 100_000
LEAVES_WITHIN_S = 3.0
_NAME = re.compile(r"spaceverse-(\d+)-(\d+)-\d+")
_JOIN = 'until [ "$1" = -- ]; do echo $$ > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Hierarchy:
    """Where groups with some controllers are made.

    Args:
        folder: parent of our groups.
        version: 1 or 2.
    """

    folder: Path
    version: int


class ControlGroup:
    """A group of processes with limits; a new process of theirs belongs to it, too.

    Args:
        cores: processor time in seconds per second; None: no limit.
        memory_bytes: memory of all together, beyond which the kernel ends one; None: no limit.

    Raises:
        CapabilityError: this machine has no such controllers, or it is not permitted.
    """

    def __init__(self, *, cores: float | None = None, memory_bytes: int | None = None) -> None:
        owner = ProcessIdentity.this()
        name = f"spaceverse-{owner.pid}-{owner.start_ticks}-{next(_numbers)}"
        self.folders: list[Path] = []
        try:
            if cores is not None:
                self._limit_cores(name, max(1000, round(cores * PERIOD_US)))
            if memory_bytes is not None:
                self._limit_memory(name, memory_bytes)
        except OSError as error:
            self.close()
            raise CapabilityError(
                f"cannot limit a program by control groups: {error.filename}: {error.strerror}"
            ) from error

    def entered_by(self, command: Sequence[str]) -> list[str]:
        """Return the command of a process that joins the group before it becomes `command`.

        So nothing that it starts can be outside of the group. If the kernel refuses, the process ends.
        """
        if not self.folders:
            return list(command)
        return ["sh", "-c", _JOIN, "sh", *map(str, self.folders), "--", *command]

    def close(self) -> None:
        """End what is left in the group, and remove it. May be called twice."""
        while self.folders:
            _remove(self.folders.pop())

    def _limit_cores(self, name: str, quota_us: int) -> None:
        at = hierarchy("cpu")
        folder = self._make(at, name)
        if at.version == 2:
            (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota_us))

    def _limit_memory(self, name: str, memory_bytes: int) -> None:
        at = hierarchy("memory")
        folder = self._make(at, name)
        if at.version == 2:
            (folder / "memory.max").write_text(str(memory_bytes))
            with suppress(FileNotFoundError):  # a kernel without accounting of swap
                (folder / "memory.swap.max").write_text("0")
        else:
            (folder / "memory.limit_in_bytes").write_text(str(memory_bytes))

    def _make(self, at: Hierarchy, name: str) -> Path:
        folder = at.folder / name
        if folder not in self.folders:
            folder.mkdir()
            self.folders.append(folder)
        return folder


def hierarchy(controller: str, proc: Path = Path("/proc/self")) -> Hierarchy:
    """Return where groups with a controller ("cpu" or "memory") are made.

    Args:
        controller: its name.
        proc: the process's folder in /proc.

    Raises:
        CapabilityError: this machine has none; the text says what to do.
    """
    version1 = version2 = None
    for line in (proc / "mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        place, kind, options = head.split()[4], tail.split()[0], tail.split()[-1].split(",")
        if not Path(place, "cgroup.procs").exists():  # hidden by another mount
            continue
        if kind == "cgroup2":
            version2 = Path(place)
        elif kind == "cgroup" and controller in options:
            version1 = Path(place)
    if version1 is not None:
        return Hierarchy(version1 / _own_group(proc, controller).lstrip("/"), 1)
    if version2 is None:
        raise CapabilityError("programs cannot be limited: no control groups are mounted at /sys/fs/cgroup")
    passed_on = version2 / "cgroup.subtree_control"
    if controller not in passed_on.read_text().split():
        raise CapabilityError(
            f"programs cannot be limited: groups in {version2} have no controller {controller!r}; "
            f"allow it: echo +{controller} > {passed_on}"
        )
    return Hierarchy(version2, 2)


def left_behind() -> list[Path]:
    """Return the groups whose makers have ended."""
    return sorted(
        path
        for at in _hierarchies()
        for path in at.folder.glob("spaceverse-*")
        if (name := _NAME.fullmatch(path.name)) and start_ticks(int(name[1])) != int(name[2])
    )


def remove_left_behind() -> list[Path]:
    """End what is left in those groups, remove them and return them."""
    found = left_behind()
    for path in found:
        _remove(path)
    return found


def _hierarchies() -> Iterator[Hierarchy]:
    for controller in ("cpu", "memory"):
        with suppress(CapabilityError, OSError):
            yield hierarchy(controller)


def _own_group(proc: Path, controller: str) -> str:
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _remove(folder: Path) -> None:
    """Remove a group; the processes in it are ours alone."""
    give_up_s = time.monotonic() + LEAVES_WITHIN_S
    while folder.exists():
        with suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > give_up_s:
            return  # `spaceverse clean` tries again
        time.sleep(0.01)
