"""How well the clocks of a run's nodes are known, from their events.

Nodes on this machine read the run's own clock. A board has one of its own: it compares it with the run's and
tells its stamps in the run's time, each with a bound (nodes/clocks/exchange.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class NodeClock:
    """One node's clock of its own, as last compared.

    offset_s: run - own. bound_s: most that the offset is wrong, then; `worst_bound_s`: of any event of the
    run. drift_ppm, drift_bound_ppm: of the offset. round_trip_s: the quickest exchange. breaks: how often a
    clock was set. chrony: what chronyd says of the node's wall clock, or why it says nothing.
    """

    node: str
    offset_s: float
    bound_s: float
    worst_bound_s: float
    drift_ppm: float
    drift_bound_ppm: float
    round_trip_s: float
    breaks: int
    chrony: dict[str, Any] | str

    def line(self) -> str:
        """In words."""
        chrony = self.chrony if isinstance(self.chrony, str) else "chrony follows nobody"
        if isinstance(self.chrony, dict) and (within_s := self.chrony.get("bound_s")) is not None:
            chrony = f"chrony follows {self.chrony.get('reference')}, within {within_s * 1e3:.3f} ms"
        return (
            f"{self.node}: {-self.offset_s:+.6f} s from the run's clock, "
            f"known within {self.bound_s * 1e3:.3f} ms (at worst {self.worst_bound_s * 1e3:.3f} ms); "
            f"drift {-self.drift_ppm:+.1f} +- {self.drift_bound_ppm:.1f} ppm; {chrony}"
        )

    def warning(self) -> str | None:
        """What a reader must know before any number."""
        if not self.breaks:
            return None
        return f"the clock of {self.node} was set or slewed {self.breaks} times during the run"


def node_clocks(events: Sequence[Event]) -> tuple[NodeClock, ...]:
    """The clocks that are not the run's, by node."""
    last = {str(e["node"]): e for e in events if e["event"] == "clock"}
    return tuple(
        NodeClock(
            node=node,
            offset_s=event["offset_s"],
            bound_s=event["bound_s"],
            worst_bound_s=clock_bound_s(e for e in events if e.get("node") == node),
            drift_ppm=event["drift_ppm"],
            drift_bound_ppm=event["drift_bound_ppm"],
            round_trip_s=event["round_trip_s"],
            breaks=event["breaks"],
            chrony=event["chrony"],
        )
        for node, event in sorted(last.items())
    )


def clock_bound_s(events: Iterable[Event]) -> float:
    """Most that clocks can have added to a time between any two of these events; 0 for the run's own clock.

    Each node's stamps are wrong by at most their bounds, so between two nodes the bounds add up.
    """
    bounds_s: dict[str, float] = {}
    for event in events:
        node = str(event.get("node"))
        bounds_s[node] = max(bounds_s.get(node, 0.0), float(event.get("clock_bound_s", 0.0)))
    return sum(sorted(bounds_s.values())[-2:])
