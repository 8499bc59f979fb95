r"""Offset and drift of another machine's clock, from exchanges of four stamps; each with a bound.

    own clock     sent_s ---------------------------- back_s
                        \                            /
    other clock      received_s ------------ answered_s

Nothing arrives before it was sent. So with offset = other - own, each exchange says two things for certain,
however unequal the two ways were:

    offset at sent_s <= received_s - sent_s          offset at back_s >= answered_s - back_s

They are half a round trip from their middle (NTP's estimate; RFC 5905, section 8). What else is known is that
a clock's rate changes little. A line through the gaps of all exchanges then bounds the drift (the convex hull
of Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM
1999), and the drift carries the tightest exchange to other moments; what is not known of it makes the bound
wider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_DRIFT = 500e-6  # beyond it NTP gives a clock up as broken (RFC 5905, MAXFREQ)
# Largest deviation of a clock's rate from its mean: a crystal warms up under load. A generous guess.
WANDER = 5e-6
KEPT = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer: two stamps of each clock, seconds."""

    sent_s: float
    received_s: float
    answered_s: float
    back_s: float

    @property
    def round_trip_s(self) -> float:
        """Time on the way, there and back, without the time that the other machine took."""
        return (self.back_s - self.sent_s) - (self.answered_s - self.received_s)

    @property
    def most_s(self) -> float:
        """The offset at `sent_s` is not above this."""
        return self.received_s - self.sent_s

    @property
    def least_s(self) -> float:
        """The offset at `back_s` is not below this."""
        return self.answered_s - self.back_s


@dataclass(frozen=True, slots=True)
class Offset:
    """other - own at one moment.

    offset_s, bound_s: the true offset is within offset_s +- bound_s.
    drift, drift_bound: likewise, its change in seconds per second.
    round_trip_s: the smallest of the exchanges behind it; bound_s is about half of it just after that
    exchange. exchanges: how many are behind it.
    """

    offset_s: float
    bound_s: float
    drift: float
    drift_bound: float
    round_trip_s: float
    exchanges: int


class ClockOffset:
    """Gathers exchanges with one other clock.

    Exchanges that contradict the others mean that a clock was stepped, or slewed faster than `max_drift`:
    then all older ones are forgotten, and `breaks` counts it.

    Args:
        max_drift: no two clocks drift apart faster, s/s.
        wander: how far the drift is from its mean at most, s/s.
    """

    def __init__(self, max_drift: float = MAX_DRIFT, wander: float = WANDER) -> None:
        self._max_drift, self._wander = max_drift, wander
        self._exchanges: list[Exchange] = []
        self._drift = (-max_drift, max_drift)
        self.breaks = 0

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> ClockOffset:
        """Gather the quickest of each KEPTth part of these, which are in order."""
        gathered = cls()
        part = -(-len(exchanges) // KEPT) or 1
        for begin in range(0, len(exchanges), part):
            gathered.add(min(exchanges[begin : begin + part], key=lambda e: e.round_trip_s))
        return gathered

    def add(self, exchange: Exchange) -> None:
        """Add an exchange later than all before.

        Raises:
            ValueError: the stamps are impossible.
        """
        if not all(map(math.isfinite, (exchange.round_trip_s, exchange.most_s, exchange.least_s))):
            raise ValueError("an answer without a time")
        if exchange.back_s < exchange.sent_s or exchange.answered_s < exchange.received_s:
            raise ValueError("an answer before its question")
        if exchange.round_trip_s < -2 * self._max_drift * (exchange.back_s - exchange.sent_s):
            raise ValueError("an answer that took longer than its question was away")
        self._exchanges.append(exchange)
        if len(self._exchanges) > KEPT:
            self._thin_out()
        self._drift = self._drift_range()
        if self._contradict(exchange):
            self.breaks += bool(len(self._exchanges) > 1)
            self._exchanges = [exchange]
            self._drift = (-self._max_drift, self._max_drift)

    def at(self, own_s: float) -> Offset | None:
        """Return the offset at a moment of one's own clock, or None without any exchange.

        The moment may lie before or after the exchanges.
        """
        if not self._exchanges:
            return None
        least_s, most_s = self._range(own_s)
        slowest, fastest = self._drift
        return Offset(
            offset_s=(least_s + most_s) / 2,
            bound_s=max(0.0, (most_s - least_s) / 2),
            drift=(slowest + fastest) / 2,
            drift_bound=(fastest - slowest) / 2,
            round_trip_s=min(e.round_trip_s for e in self._exchanges),
            exchanges=len(self._exchanges),
        )

    def other_s(self, own_s: float) -> float:
        """Return the time of the other clock when one's own shows `own_s`.

        Raises:
            LookupError: there was no exchange.
        """
        offset = self.at(own_s)
        if offset is None:
            raise LookupError("no exchange with the other clock yet")
        return own_s + offset.offset_s

    def own_s(self, other_s: float) -> float:
        """Return the time of one's own clock when the other shows `other_s`.

        Raises:
            LookupError: there was no exchange.
        """
        own_s = other_s
        for _ in range(4):  # each halves the error some 11 times: drifts are below a thousandth
            own_s += other_s - self.other_s(own_s)
        return own_s

    def _range(self, own_s: float) -> tuple[float, float]:
        """Least and most offset at a moment: what each exchange leaves, carried there by the drift."""
        slowest, fastest = self._drift
        least_s = max(e.least_s + _grown(own_s - e.back_s, slowest, fastest) for e in self._exchanges)
        most_s = min(e.most_s + _grown(own_s - e.sent_s, fastest, slowest) for e in self._exchanges)
        return least_s, most_s

    def _drift_range(self) -> tuple[float, float]:
        """Slowest and fastest line that leaves every exchange its gap, and the wander around it."""
        slowest, fastest = -self._max_drift, self._max_drift
        for number, early in enumerate(self._exchanges):
            for late in self._exchanges[number + 1 :]:
                if (apart_s := late.sent_s - early.back_s) > 0:
                    fastest = min(fastest, (late.most_s - early.least_s) / apart_s + 2 * self._wander)
                    longer_s = late.back_s - early.sent_s
                    slowest = max(slowest, (late.least_s - early.most_s) / longer_s - 2 * self._wander)
        return slowest, fastest

    def _contradict(self, newest: Exchange) -> bool:
        slowest, fastest = self._drift
        if slowest > fastest:
            return True
        least_s, most_s = self._range(newest.back_s)
        return least_s > most_s + 1e-9  # stamps are floats of many seconds

    def _thin_out(self) -> None:
        """Keep the quicker of each two neighbours, so that the exchanges still reach far back."""
        *pairs, newest = self._exchanges
        kept = [
            min(pair, key=lambda e: e.round_trip_s) for pair in zip(pairs[::2], pairs[1::2], strict=False)
        ]
        self._exchanges = [*kept, newest]


def _grown(away_s: float, after: float, before: float) -> float:
    return away_s * (after if away_s > 0 else before)
