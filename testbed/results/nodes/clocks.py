"""Accuracy of the clocks of a run's nodes, from their events.

Nodes on this machine read the run's clock. A board has a clock of its own: it compares it with the run's and
converts its stamps, each with a bound of the error (nodes/clocks/exchange.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nodes.contract.board import ChronyReport
from nodes.contract.events import ClockCompared, EventRecord


@dataclass(frozen=True)
class NodeClock:
    """The clock of one node that does not read the run's, as last compared.

    Args:
        node: the node's name.
        offset_s: the run's clock minus the node's.
        bound_s: largest error of the offset.
        worst_bound_s: largest bound of any of the node's events.
        drift_ppm: drift of the offset.
        drift_bound_ppm: largest error of the drift.
        round_trip_s: the quickest exchange.
        breaks: how often the clock was set or slewed.
        chrony: state of the node's wall clock, or the reason why it is unknown.
    """

    node: str
    offset_s: float
    bound_s: float
    worst_bound_s: float
    drift_ppm: float
    drift_bound_ppm: float
    round_trip_s: float
    breaks: int
    chrony: ChronyReport | str

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as results.json has it."""
        chrony = self.chrony if isinstance(self.chrony, str) else self.chrony.model_dump()
        return asdict(replace(self, chrony="")) | {"chrony": chrony}

    def line(self) -> str:
        """Return the comparison in one line."""
        chrony = self.chrony if isinstance(self.chrony, str) else "chrony follows no source"
        if isinstance(self.chrony, ChronyReport) and self.chrony.bound_s is not None:
            chrony = f"chrony follows {self.chrony.reference}, within {self.chrony.bound_s * 1e3:.3f} ms"
        return (
            f"{self.node}: {-self.offset_s:+.6f} s from the run's clock, "
            f"known within {self.bound_s * 1e3:.3f} ms (at worst {self.worst_bound_s * 1e3:.3f} ms); "
            f"drift {-self.drift_ppm:+.1f} +- {self.drift_bound_ppm:.1f} ppm; {chrony}"
        )

    def warning(self) -> str | None:
        """Return a warning in one line if the clock was set during the run."""
        if not self.breaks:
            return None
        return f"the clock of {self.node} was set or slewed {self.breaks} times during the run"


def node_clocks(records: Sequence[EventRecord]) -> tuple[NodeClock, ...]:
    """Return the clocks that are not the run's, sorted by node."""
    last = {record.node: record.event for record in records if isinstance(record.event, ClockCompared)}
    return tuple(
        NodeClock(
            node=node,
            offset_s=compared.offset_s,
            bound_s=compared.bound_s,
            worst_bound_s=clock_bound_s(record for record in records if record.node == node),
            drift_ppm=compared.drift_ppm,
            drift_bound_ppm=compared.drift_bound_ppm,
            round_trip_s=compared.round_trip_s,
            breaks=compared.breaks,
            chrony=compared.chrony,
        )
        for node, compared in sorted(last.items())
    )


def clock_bound_s(records: Iterable[EventRecord]) -> float:
    """Return the largest error that clocks can cause in a time between two of these events.

    It is 0 if all events are stamped by the run's clock. The bounds of two nodes add up.
    """
    bounds_s: dict[str, float] = {}
    for record in records:
        bounds_s[record.node] = max(bounds_s.get(record.node, 0.0), record.clock_bound_s)
    return sum(sorted(bounds_s.values())[-2:])
