"""Peak memory of answers: as counted by torch on an accelerator, and of the whole process on a CPU.

There is no count per answer on a CPU. The kernel only keeps the peak resident size of the process since its
start, which includes loading the model; `PeakMemory.of` states this with the number.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class PeakMemory:
    """A peak memory size.

    Attributes:
        size_bytes: The size.
        of: The quantity that was counted, and since when.
    """

    size_bytes: int
    of: str


class MemoryWatch:
    """The memory counter of one torch device, e.g. cpu or cuda:0."""

    def __init__(self, device: str) -> None:
        self._device = device

    def start(self) -> None:
        """Restart the count, if the device has one of its own."""
        if counter := self._counter():
            counter.reset_peak_memory_stats(self._device)

    def peak(self) -> PeakMemory:
        """Return the peak so far."""
        if counter := self._counter():
            size_bytes = int(counter.max_memory_allocated(self._device))
            return PeakMemory(size_bytes, f"{self._device}, allocated by torch, since the last prompt began")
        return PeakMemory(resident_peak_bytes(), "process, resident, since it started")

    def _counter(self) -> Any:
        """Return torch's module for the device, or None if it has no counter."""
        kind = self._device.partition(":")[0]
        if kind == "cpu":
            return None
        import torch  # already loaded

        module = getattr(torch, kind, None)
        return module if hasattr(module, "max_memory_allocated") else None


def resident_peak_bytes() -> int:
    """Return the peak resident size of this process in bytes: VmHWM of proc(5).

    On Linux, getrusage also includes the program that started this one, so it is only used elsewhere.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not on every system

        unit_bytes = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
