r"""Offset and drift of another machine's clock with bounds, from exchanges of four stamps.

    own clock     sent_s ---------------------------- back_s
                        \                            /
    other clock      received_s ------------ answered_s

No message arrives before it was sent. With offset = other - own, each exchange therefore gives two certain
bounds, even if the two ways differ in length:

    offset at sent_s <= received_s - sent_s          offset at back_s >= answered_s - back_s

Each bound is half a round trip from their mean (NTP's estimate; RFC 5905, section 8). The rate of a clock
changes little. A line through the gaps of all exchanges therefore bounds the drift (the convex hull of Moon,
Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999).
With this drift the tightest exchange is extrapolated to other moments; uncertainty of the drift widens the
bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_DRIFT = 500e-6  # NTP treats a clock with a larger drift as broken (RFC 5905, MAXFREQ)
# Largest deviation of a clock's rate from its mean, since a crystal warms up under load; a generous estimate.
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
        """Travel time in both directions, without the processing time of the other machine."""
        return (self.back_s - self.sent_s) - (self.answered_s - self.received_s)

    @property
    def most_s(self) -> float:
        """Upper bound of the offset at `sent_s`."""
        return self.received_s - self.sent_s

    @property
    def least_s(self) -> float:
        """Lower bound of the offset at `back_s`."""
        return self.answered_s - self.back_s


@dataclass(frozen=True, slots=True)
class Offset:
    """Offset other - own at one moment.

    Attributes:
        offset_s: estimate of the offset.
        bound_s: the true offset is within offset_s +- bound_s.
        drift: estimate of the offset's change in seconds per second.
        drift_bound: the true drift is within drift +- drift_bound.
        round_trip_s: smallest round trip of the exchanges; just after it, bound_s is about half of it.
        exchanges: number of exchanges on which the estimate is based.
    """

    offset_s: float
    bound_s: float
    drift: float
    drift_bound: float
    round_trip_s: float
    exchanges: int


class ClockOffset:
    """Collects exchanges with one other clock.

    If an exchange contradicts the older ones, a clock was stepped, or slewed faster than `max_drift`. Then
    all older exchanges are forgotten, and `breaks` is incremented.

    Args:
        max_drift: largest drift between two clocks, s/s.
        wander: largest deviation of the drift from its mean, s/s.
    """

    def __init__(self, max_drift: float = MAX_DRIFT, wander: float = WANDER) -> None:
        self._max_drift, self._wander = max_drift, wander
        self._exchanges: list[Exchange] = []
        self._drift = (-max_drift, max_drift)
        self.breaks = 0

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> ClockOffset:
        """Return the offset from KEPT exchanges: the quickest of each of KEPT parts of a sorted sequence."""
        offset = cls()
        part = -(-len(exchanges) // KEPT) or 1
        for begin in range(0, len(exchanges), part):
            offset.add(min(exchanges[begin : begin + part], key=lambda e: e.round_trip_s))
        return offset

    def add(self, exchange: Exchange) -> None:
        """Add an exchange that is later than all earlier ones.

        Raises:
            ValueError: the stamps contradict each other.
        """
        if not all(map(math.isfinite, (exchange.round_trip_s, exchange.most_s, exchange.least_s))):
            raise ValueError("a stamp of an answer is not finite")
        if exchange.back_s < exchange.sent_s or exchange.answered_s < exchange.received_s:
            raise ValueError("an answer precedes its question")
        if exchange.round_trip_s < -2 * self._max_drift * (exchange.back_s - exchange.sent_s):
            raise ValueError("the processing time of an answer exceeds its round trip")
        self._exchanges.append(exchange)
        if len(self._exchanges) > KEPT:
            self._thin_out()
        self._drift = self._drift_range()
        if self._contradict(exchange):
            self.breaks += bool(len(self._exchanges) > 1)
            self._exchanges = [exchange]
            self._drift = (-self._max_drift, self._max_drift)

    def at(self, own_s: float) -> Offset | None:
        """Return the offset at a moment of the own clock, or None without any exchange.

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
        """Return the time of the other clock when the own clock shows `own_s`.

        Raises:
            LookupError: there was no exchange.
        """
        offset = self.at(own_s)
        if offset is None:
            raise LookupError("no exchange with the other clock yet")
        return own_s + offset.offset_s

    def own_s(self, other_s: float) -> float:
        """Return the time of the own clock when the other clock shows `other_s`.

        Raises:
            LookupError: there was no exchange.
        """
        own_s = other_s
        for _ in range(
            4
        ):  # each step divides the error by more than 1000, since drifts are below a thousandth
            own_s += other_s - self.other_s(own_s)
        return own_s

    def _range(self, own_s: float) -> tuple[float, float]:
        """Return (lower, upper) bound of the offset at a moment, extrapolated from each exchange."""
        slowest, fastest = self._drift
        least_s = max(e.least_s + _grown(own_s - e.back_s, slowest, fastest) for e in self._exchanges)
        most_s = min(e.most_s + _grown(own_s - e.sent_s, fastest, slowest) for e in self._exchanges)
        return least_s, most_s

    def _drift_range(self) -> tuple[float, float]:
        """Return (lower, upper) bound of the drift that fits all exchanges, widened by the wander."""
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
        return least_s > most_s + 1e-9  # rounding error of stamps of many seconds

    def _thin_out(self) -> None:
        """Keep the quicker exchange of each two neighbours, so that the oldest ones are represented."""
        *pairs, newest = self._exchanges
        quicker = [
            min(pair, key=lambda e: e.round_trip_s) for pair in zip(pairs[::2], pairs[1::2], strict=False)
        ]
        self._exchanges = [*quicker, newest]


def _grown(away_s: float, after: float, before: float) -> float:
    """Return the change of an offset after `away_s` seconds, by the drift of that direction."""
    return away_s * (after if away_s > 0 else before)
