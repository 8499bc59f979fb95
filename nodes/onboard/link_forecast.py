"""A link's downlink over time: contacts, capacity and delay.

A satellite's policy plans with it, and the event model in nodes/lab/evaluation sends over it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from nodes.contract.config import LinkPlan


@dataclass(frozen=True)
class ForecastRow:
    """The state of the link from `time_s` until the next row."""

    time_s: float
    up: bool
    down_bit_s: float
    down_delay_s: float = 0.0
    up_delay_s: float = 0.0


class LinkForecast:
    """Contacts and capacity of a link, from the rows of its trace.

    Args:
        rows: in order of time; the last holds until `end_s`.
        end_s: end of the trace, where any contact ends too.

    Raises:
        ValueError: the rows are not in order, or not before the end.
    """

    def __init__(self, rows: Sequence[ForecastRow], end_s: float) -> None:
        times = [row.time_s for row in rows]
        if not rows or any(a >= b for a, b in zip(times, [*times[1:], end_s], strict=True)):
            raise ValueError("the rows of a link must be sorted by time and precede its end")
        self.end_s = end_s
        self._rows = list(rows)
        self._edges_s = [*times, end_s]
        lengths_s = [after - before for before, after in pairwise(self._edges_s)]
        bits = [row.down_bit_s * s if row.up else 0.0 for row, s in zip(rows, lengths_s, strict=True)]
        self._bits = [0.0, *accumulate(bits)]
        self.contacts = self._contacts()

    def _contacts(self) -> list[tuple[float, float]]:
        contacts: list[tuple[float, float]] = []
        for row, end_s in zip(self._rows, self._edges_s[1:], strict=True):
            if not row.up:
                continue
            if contacts and contacts[-1][1] == row.time_s:
                contacts[-1] = contacts[-1][0], end_s
            else:
                contacts.append((row.time_s, end_s))
        return contacts

    def row_at(self, time_s: float) -> ForecastRow:
        """Return the row in force; before the start the first, after the end the last."""
        return self._rows[max(0, bisect_right(self._edges_s[:-1], time_s) - 1)]

    def contact_after(self, time_s: float) -> tuple[float, float] | None:
        """Return AOS and LOS of the contact at `time_s`, or of the next one; None if none is left."""
        return next((contact for contact in self.contacts if contact[1] > time_s), None)

    def bits_between(self, start_s: float, end_s: float) -> float:
        """Return the number of bits that the link carries in that time."""
        return self._bits_until(end_s) - self._bits_until(start_s)

    def _bits_until(self, time_s: float) -> float:
        if time_s <= self._edges_s[0]:
            return 0.0
        if time_s >= self._edges_s[-1]:
            return self._bits[-1]
        index = bisect_right(self._edges_s, time_s)
        before_s, after_s = self._edges_s[index - 1 : index + 1]
        before, after = self._bits[index - 1 : index + 1]
        return before + (after - before) * (time_s - before_s) / (after_s - before_s)

    def finish_s(self, start_s: float, size_bytes: float) -> float | None:
        """Return when the last bit of a transfer leaves; None if the contact ends before.

        Args:
            start_s: begin of the transfer.
            size_bytes: its size.

        Raises:
            ValueError: there is no contact at `start_s`.
        """
        contact = self.contact_after(start_s)
        if contact is None or start_s < contact[0]:
            raise ValueError(f"no contact at {start_s} s")
        wanted = self._bits_until(start_s) + 8 * size_bytes
        index = bisect_left(self._bits, wanted)
        if index >= len(self._bits):
            return None
        before = self._bits[index - 1]
        share = (wanted - before) / (self._bits[index] - before)
        end_s = self._edges_s[index - 1] + share * (self._edges_s[index] - self._edges_s[index - 1])
        end_s = max(end_s, start_s)
        return end_s if end_s <= contact[1] else None


def forecast(plan: LinkPlan) -> LinkForecast:
    """Return the forecast that a plan holds. Raises ValueError for rows that are not in order."""
    return LinkForecast([ForecastRow(row.time_s, row.up, row.down_bit_s) for row in plan.rows], plan.end_s)
