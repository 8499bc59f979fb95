"""How busy the machine was while something was measured; every record of a link's fidelity carries it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")


class ProcessorLoad:
    """Processor time of the whole machine, from `/proc/stat`, since it was made; see proc(5)."""

    def __init__(self) -> None:
        self._begin = _ticks()

    def record(self) -> dict[str, float | None]:
        """cores; busy_share of all cores' time, 0 to 1 (None at once); load_average_1min."""
        total, idle = (now - then for now, then in zip(_ticks(), self._begin, strict=True))
        return {
            "cores": os.cpu_count() or 1,
            "busy_share": 1 - idle / total if total else None,
            "load_average_1min": os.getloadavg()[0],
        }


def load_text(record: Mapping[str, Any]) -> str:
    """A record in words."""
    share = record["busy_share"]
    busy = "unknown" if share is None else f"{share:.0%} busy"
    return f"{record['cores']} cores {busy}, load average {record['load_average_1min']:.1f}"


def _ticks() -> tuple[int, int]:
    """All ticks of all cores, and those that were idle or waited for a disk."""
    # user nice system idle iowait irq softirq steal; guest time is counted in user.
    fields = [int(field) for field in _STAT.read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]
