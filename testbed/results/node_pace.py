"""Nodes that answer at another machine's pace (nodes/profiles/pace.py), and whether this machine kept it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# A sleep that ends late is no reason to doubt: what takes seconds is held to a fraction of a millisecond.
TOLERATED_S = 5e-3


@dataclass(frozen=True)
class NodePace:
    """One node's answers at the pace of `profile`; `late_s` is the most that one came later than asked."""

    node: str
    profile: str
    answers: int
    late: int
    late_s: float

    def warning(self) -> str | None:
        """In a line, if this machine was too slow."""
        if not self.late:
            return None
        return (
            f"{self.node}: {self.late} of {self.answers} answers took longer here than profile "
            f"{self.profile} asks, by {self.late_s:.3f} s at most: this machine is too slow for it"
        )


def node_paces(events: Iterable[dict[str, Any]]) -> tuple[NodePace, ...]:
    """From the events `paced` of a run, by node."""
    paced: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event["event"] == "paced":
            paced.setdefault((str(event["node"]), str(event["profile"])), []).append(float(event["late_s"]))
    return tuple(
        NodePace(node, profile, len(late_s), sum(s > TOLERATED_S for s in late_s), max(late_s))
        for (node, profile), late_s in sorted(paced.items())
    )
