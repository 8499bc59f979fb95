"""Time that a link needs for bytes, by its trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from traces.trace import Trace

Interval = tuple[float, float]

# TCP over IPv4 with time stamps in an Ethernet frame of 1514 bytes.
_SEGMENT_BYTES = 1448
_SEGMENT_HEAD_BYTES = 66


def overlap_s(intervals: Sequence[Interval], begin_s: float, end_s: float) -> float:
    """Return the seconds of [begin_s, end_s] that lie in any of the (disjoint) intervals."""
    return sum(max(0.0, min(end, end_s) - max(begin, begin_s)) for begin, end in intervals)


@dataclass(frozen=True)
class LinkTime:
    """A downlink over CLOCK_MONOTONIC.

    Args:
        trace: the link's trace.
        start_monotonic_s: its second 0.
        others: traces of the satellite's further links. An item that began at another station was sent there.
    """

    trace: Trace
    start_monotonic_s: float = 0.0
    others: tuple[Trace, ...] = ()

    def delay_s(self, monotonic_s: float) -> float:
        """Return the one-way delay at a time."""
        return self.trace.row_at(self._in(self.trace, monotonic_s - self.start_monotonic_s)).down_delay_s

    def serialisation_s(
        self, size_bytes: int, begin_s: float, end_s: float, gaps: Sequence[Interval] = ()
    ) -> float:
        """Return the time that the link needs for an item's bytes and their headers.

        The bytes are laid back to back before `end_s`, at the rate of each moment, without the gaps.

        Args:
            size_bytes: bytes of all payloads.
            begin_s: time of the first byte sent; CLOCK_MONOTONIC, as the next one.
            end_s: time at which the last bit left the sender's end of the link.
            gaps: intervals without a connection.
        """
        left_bits = 8.0 * (size_bytes + _SEGMENT_HEAD_BYTES * math.ceil(size_bytes / _SEGMENT_BYTES))
        spent_s = 0.0
        for from_s, to_s in reversed(self._steps(begin_s, end_s)):
            open_s = to_s - from_s - overlap_s(gaps, from_s, to_s)
            rate_bit_s = self._rate_bit_s((from_s + to_s) / 2)
            if open_s <= 0 or rate_bit_s <= 0:
                continue
            if rate_bit_s * open_s >= left_bits:
                return spent_s + left_bits / rate_bit_s
            left_bits -= rate_bit_s * open_s
            spent_s += open_s
        return spent_s

    def _steps(self, begin_s: float, end_s: float) -> list[Interval]:
        """Return the parts of an interval in which no trace changes."""
        start_s = self.start_monotonic_s
        inside: set[float] = set()
        for trace in (self.trace, *self.others):
            first, last = np.searchsorted(trace.time_s, [begin_s - start_s, end_s - start_s])
            inside.update((trace.time_s[first:last] + start_s).tolist())
        edges = [begin_s, *sorted(time for time in inside if begin_s < time < end_s), end_s]
        return list(pairwise(edges))

    def _rate_bit_s(self, monotonic_s: float) -> float:
        """Return the rate of this link, or while it is down the highest one of the others."""
        at_s = monotonic_s - self.start_monotonic_s
        rates = [self._down_bit_s(trace, at_s) for trace in (self.trace, *self.others)]
        return rates[0] or max(rates)

    def _down_bit_s(self, trace: Trace, time_s: float) -> float:
        row = trace.row_at(self._in(trace, time_s))
        return row.down_bit_s if row.downlink_up else 0.0

    def _in(self, trace: Trace, time_s: float) -> float:
        return min(max(time_s, 0.0), float(trace.time_s[-1]))
