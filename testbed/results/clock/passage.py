"""How scenario time passed in a run: jumps over idle time, and changes of its speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from nodes.contract.events import EventRecord, SkippingEnded, SpeedChanged, TimeJumped

LISTED_MAX = 10_000  # jumps in the report; events.jsonl has all


@dataclass(frozen=True)
class Passage:
    """Scenario time against real time.

    Args:
        scenario_s: how far scenario time came.
        real_s: what that took.
        jumps_s: (from, to) of each jump, scenario time.
        speeds: (scenario time, speed from there on), from second 0.
        ended: why no idle time was skipped any more; None if it was until the end.
    """

    scenario_s: float
    real_s: float
    jumps_s: tuple[tuple[float, float], ...] = ()
    speeds: tuple[tuple[float, float], ...] = ()
    ended: str | None = None

    @property
    def skipped_s(self) -> float:
        """Scenario time that was skipped, seconds."""
        return sum(to_s - from_s for from_s, to_s in self.jumps_s)

    @property
    def speed_up(self) -> float:
        """Seconds of scenario time in a real one, on average."""
        return self.scenario_s / self.real_s if self.real_s > 0 else 1.0

    @property
    def listed(self) -> list[tuple[float, float]]:
        """The jumps that the report lists: all, or the longest of too many, in order of time."""
        longest = sorted(self.jumps_s, key=lambda jump: jump[0] - jump[1])
        return sorted(longest[:LISTED_MAX])

    def line(self) -> str:
        """Return speed-up, jumps and speeds in one line."""
        text = (
            f"{duration_text(self.scenario_s)} of scenario time in {duration_text(self.real_s)}: "
            f"{self.speed_up:.3g} times as fast as real time"
        )
        if self.jumps_s:
            jumps = "1 jump" if len(self.jumps_s) == 1 else f"{len(self.jumps_s)} jumps"
            text += f"; {jumps} over {duration_text(self.skipped_s)} of idle time"
        if len(self.speeds) > 1:
            slowest, fastest = (pick(speed for _, speed in self.speeds) for pick in (min, max))
            text += f"; speed {slowest:.3g} to {fastest:.3g}, changed {len(self.speeds) - 1} times"
        return text

    def warning(self) -> str | None:
        """Return a warning in one line if skipping ended early."""
        return None if self.ended is None else f"idle time was no longer skipped: {self.ended}"

    def to_json(self) -> dict[str, Any]:
        """Return all fields, and what follows from them."""
        return {
            **asdict(self),
            "jumps": len(self.jumps_s),
            "skipped_s": self.skipped_s,
            "speed_up": self.speed_up,
        }


def passage(records: Iterable[EventRecord], *, speed: float, scenario_s: float, real_s: float) -> Passage:
    """Return how scenario time passed, from the run's events.

    Args:
        records: the events.
        speed: seconds of scenario time in a real one, at first.
        scenario_s: how far scenario time came.
        real_s: what that took.
    """
    jumps_s, speeds = list[tuple[float, float]](), [(0.0, speed)]
    ended = None
    for record in records:
        match record.event:
            case TimeJumped(from_s=from_s, to_s=to_s):
                jumps_s.append((from_s, to_s))
            case SpeedChanged(speed=new):
                speeds.append((record.time_s or 0.0, new))
            case SkippingEnded(reason=reason):
                ended = reason
    return Passage(scenario_s, real_s, tuple(jumps_s), tuple(speeds), ended)


def duration_text(seconds: float) -> str:
    """Return a duration as people say it, such as "3 h 5 min" or "41 s"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
