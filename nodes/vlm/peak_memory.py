"""The most memory that answers have taken: torch's own count on an accelerator, the process's on a CPU.

On a CPU nobody counts for one answer. What the kernel keeps is how much of the whole process was resident at
most since it started, loading the model included; `PeakMemory.of` says so beside the number.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class PeakMemory:
    """`size_bytes`, and in `of` what was counted and since when."""

    size_bytes: int
    of: str


class MemoryWatch:
    """Watches one device (as torch names it)."""

    def __init__(self, device: str) -> None:
        self._device = device

    def start(self) -> None:
        """Count from now on, where the device counts for itself."""
        if counter := self._counter():
            counter.reset_peak_memory_stats(self._device)

    def peak(self) -> PeakMemory:
        """The most so far."""
        if counter := self._counter():
            size_bytes = int(counter.max_memory_allocated(self._device))
            return PeakMemory(size_bytes, f"{self._device}, allocated by torch, since the last prompt began")
        return PeakMemory(resident_peak_bytes(), "process, resident, since it started")

    def _counter(self) -> Any:
        """torch's module for the device, or None where it does not count."""
        kind = self._device.partition(":")[0]
        if kind == "cpu":
            return None
        import torch  # loaded long since

        module = getattr(torch, kind, None)
        return module if hasattr(module, "max_memory_allocated") else None


def resident_peak_bytes() -> int:
    """How much of this process was resident at most, bytes: VmHWM of proc(5).

    getrusage would do elsewhere, but on Linux it remembers the program that started this one.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource  # not on every system

        unit_bytes = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
