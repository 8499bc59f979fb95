"""The identity of a process of this machine, which outlives the process: a process id alone is reused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of this machine.

    Args:
        pid: Process id.
        start_ticks: Start of the process, clock ticks since boot; field 22 of /proc/PID/stat, proc(5).
        boot_id: Contents of /proc/sys/kernel/random/boot_id.
        namespace: Device and inode number of its network namespace, "4:4026531840".
    """

    pid: int
    start_ticks: int
    boot_id: str
    namespace: str

    @classmethod
    def this(cls) -> ProcessIdentity:
        """Return the identity of this process, with the network namespace of the calling thread.

        Raises:
            TestbedError: /proc cannot be read.
        """
        pid = os.getpid()
        ticks = start_ticks(pid)
        if ticks is None:
            raise TestbedError("/proc cannot be read; it is needed to identify this process")
        return cls(pid, ticks, boot_id(), namespace_id())

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.start_ticks


def boot_id() -> str:
    """Return the identifier of the machine's current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def namespace_id(path: str = "/proc/thread-self/ns/net") -> str:
    """Return device and inode number of the network namespace at `path`."""
    status = Path(path).stat()
    return f"{status.st_dev}:{status.st_ino}"


def start_ticks(pid: int) -> int | None:
    """Return the start of a process, clock ticks since boot; None if it is dead or does not exist."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the program's name may contain spaces and brackets
    return None if fields[0] in {"Z", "X"} else int(fields[19])
