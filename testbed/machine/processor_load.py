"""The load of the machine during a measurement; it is part of every record of a link's fidelity."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")


class ProcessorLoad:
    """Processor time of the whole machine since this object was created, from /proc/stat; see proc(5)."""

    def __init__(self) -> None:
        self._begin = _ticks()

    def record(self) -> dict[str, float | None]:
        """Return cores, busy_share, stolen_share and load_average_1min.

        The shares are of all cores' time, 0 to 1; None if no time has passed. Stolen time is time that this
        virtual machine wanted and its host gave to others; a guest of User-Mode Linux does not see it.
        """
        total, idle, stolen = (now - then for now, then in zip(_ticks(), self._begin, strict=True))
        return {
            "cores": os.cpu_count() or 1,
            "busy_share": 1 - idle / total if total else None,
            "stolen_share": stolen / total if total else None,
            "load_average_1min": os.getloadavg()[0],
        }


def load_text(record: Mapping[str, Any]) -> str:
    """Return a record in words."""
    share = record["busy_share"]
    words = [f"{record['cores']} cores " + ("unknown" if share is None else f"{share:.0%} busy")]
    if (stolen := record.get("stolen_share") or 0) >= 0.005:
        words.append(f"{stolen:.0%} stolen")
    words.append(f"load average {record['load_average_1min']:.1f}")
    if (late_s := record.get("timer_late_worst_s")) is not None:
        words.append(
            f"timers late by {record['timer_late_p99_s'] * 1e3:.1f} ms at p99, {late_s * 1e3:.0f} at worst"
        )
    return ", ".join(words)


def _ticks() -> tuple[int, int, int]:
    """Return the ticks of all cores: total, idle (or waiting for a disk), and stolen."""
    # user nice system idle iowait irq softirq steal; guest time is counted in user.
    fields = [int(field) for field in _STAT.read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4], fields[7]
