"""One test of iperf3: the rates of its intervals, in each direction."""

from __future__ import annotations

from dataclasses import dataclass, field

DIRECTIONS = ("down", "up")
Interval = tuple[float, float, float]
"""Begin and end in seconds of the test, and the rate in bit/s."""


@dataclass
class Session:
    """A test. Directions are "up", from the client to the server, and "down".

    Args:
        unix_s: start in seconds since 1970, if the output has it.
        intervals: for each direction, the intervals in order.
        omitted: begin and end of the intervals that iperf3 omitted at the beginning.
        sent_by_udp: directions whose rates are what UDP sent, not what arrived.
        arrived: share of the datagrams that arrived in such a direction, if the output has it.
        missed: for directions that were received by UDP, datagrams that were lost, and all of them.
        error: error that ended the test; empty if there is none.
    """

    unix_s: float | None = None
    intervals: dict[str, list[Interval]] = field(default_factory=lambda: {way: [] for way in DIRECTIONS})
    omitted: set[tuple[float, float]] = field(default_factory=set)
    sent_by_udp: set[str] = field(default_factory=set)
    arrived: dict[str, float] = field(default_factory=dict)
    missed: dict[str, tuple[float, float]] = field(default_factory=dict)
    error: str = ""

    def add_missed(self, direction: str, lost: float, total: float) -> None:
        """Count datagrams of one interval that was received by UDP."""
        before = self.missed.get(direction, (0.0, 0.0))
        self.missed[direction] = (before[0] + lost, before[1] + total)

    def replace_sent(self, other_end: Session) -> None:
        """Use what the other end received in place of what this one sent."""
        received = "up"  # the other end is the server
        if other_end.intervals[received]:
            self.intervals[received] = other_end.intervals[received]
            self.sent_by_udp.discard(received)
            if received in other_end.missed:
                self.missed[received] = other_end.missed[received]
