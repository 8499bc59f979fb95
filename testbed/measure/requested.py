"""What a trace asks of single packets: when one that enters a link leaves it at the other end.

    enters ──> serialised at the rates that hold meanwhile ──> delay as its last bit is sent ──> leaves

A packet keeps the delay that it left the sender with, whatever the trace says while it is in flight, and no
packet overtakes an earlier one. `testbed.network.shapers` plays links by the same rules.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from traces.trace import Trace

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Way = Literal["down", "up"]


class RequestedWay:
    """One direction of a trace, asked about moments in scenario time.

    Args:
        trace: the trace.
        way: "down", satellite to ground, or "up".
    """

    def __init__(self, trace: Trace, way: Way) -> None:
        self.end_s = trace.end_s
        self._time_s = trace.time_s
        self._up = getattr(trace, f"{way}link_up")
        self._delay_s: Floats = getattr(trace, f"{way}_delay_s")
        self._loss: Floats = getattr(trace, f"{way}_loss")
        self._rate_bit_s: Floats = np.where(self._up, getattr(trace, f"{way}_bit_s"), 0.0)
        self._edges_s = np.append(trace.time_s, trace.end_s)
        self._carried_bits = np.append(0.0, np.cumsum(self._rate_bit_s * trace.lengths_s()))

    def is_up(self, time_s: float) -> bool:
        """Return whether packets pass at a moment; False outside the trace."""
        return 0 <= time_s < self.end_s and bool(self._up[self._row(time_s)])

    def delay_s(self, time_s: float) -> float:
        """Return the delay at a moment; before and after the trace, that of its first and last row."""
        return float(self._delay_s[self._row(time_s)])

    def bits(self, times_s: Floats) -> Floats:
        """Return how many bits the rates can carry from each moment to the next, float64[n - 1]."""
        return np.diff(np.interp(times_s, self._edges_s, self._carried_bits))

    def at(self, times_s: Floats) -> tuple[Bools, Floats, Floats, Floats]:
        """Return whether packets pass, the rate (0 if not), delay and loss at many moments of the trace."""
        rows = np.clip(np.searchsorted(self._time_s, times_s, side="right") - 1, 0, len(self._time_s) - 1)
        return self._up[rows], self._rate_bit_s[rows], self._delay_s[rows], self._loss[rows]

    def serialised_s(self, entered_s: float, bits: float) -> float:
        """Return when a number of bits have been sent that have the link from `entered_s` on to themselves.

        Bits for which the trace has no time left are sent at its end.
        """
        row = self._row(entered_s)
        until_s = float(self._edges_s[row + 1])
        rate_bit_s = float(self._rate_bit_s[row])
        if entered_s < until_s and rate_bit_s * (until_s - entered_s) >= bits:
            return entered_s + bits / rate_bit_s if bits else entered_s  # most packets; exact
        sent_bits = float(np.interp(entered_s, self._edges_s, self._carried_bits)) + bits
        # By hand: np.interp would return any moment of a pause.
        after = int(np.searchsorted(self._carried_bits, sent_bits, side="left"))
        if after >= len(self._edges_s):
            return self.end_s
        missing_bits = float(self._carried_bits[after]) - sent_bits
        return float(self._edges_s[after]) - missing_bits / float(self._rate_bit_s[after - 1])

    def leaves_behind_s(self, entered_s: float, size_bytes: int, waiting_bytes: float) -> float:
        """Return when a packet leaves that enters behind a queue, in scenario seconds.

        Args:
            entered_s: when it enters.
            size_bytes: its size, Ethernet header included.
            waiting_bytes: bytes before it that are still to be serialised.
        """
        sent_s = self.serialised_s(entered_s, (waiting_bytes + size_bytes) * 8)
        left_s = sent_s + self.delay_s(sent_s)
        # Those before it are sent all the time until then, the last at most a frame before each change.
        first, last = np.searchsorted(self._time_s, [entered_s, sent_s], side="right")
        before_s = self._time_s[first:last] + self._delay_s[first - 1 : last - 1]
        return max(left_s, float(before_s.max(initial=left_s)))

    def _row(self, time_s: float) -> int:
        row = int(np.searchsorted(self._time_s, time_s, side="right")) - 1
        return min(max(row, 0), len(self._time_s) - 1)


class PacketLine:
    """Packets that enter one direction one after another, and have it to themselves."""

    def __init__(self, way: RequestedWay) -> None:
        self._way = way
        self._idle_from_s = 0.0
        self._last_left_s = 0.0

    def leaves_s(self, entered_s: float, size_bytes: int) -> float:
        """Return when the next packet leaves, in scenario seconds.

        Args:
            entered_s: when it enters.
            size_bytes: its size, Ethernet header included.
        """
        self._idle_from_s = self._way.serialised_s(max(entered_s, self._idle_from_s), size_bytes * 8)
        self._last_left_s = max(self._last_left_s, self._idle_from_s + self._way.delay_s(self._idle_from_s))
        return self._last_left_s
