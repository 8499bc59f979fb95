"""A link's downward half over time, as the rows of a trace say it: contacts, bits carried, delay.

The event model of `nodes.evaluation` plays on it; to a satellite's program it is its plan of a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """The link from `time_s` until the next row."""

    time_s: float
    up: bool
    down_bit_s: float
    down_delay_s: float = 0.0
    up_delay_s: float = 0.0


class Line:
    """Integrates a link's rate.

    Args:
        rows: in order of time; the last holds until `end_s`.
        end_s: end of the trace, where any contact ends too.

    Raises ValueError for rows that are not in order, or not before the end.
    """

    def __init__(self, rows: Sequence[Row], end_s: float) -> None:
        times = [row.time_s for row in rows]
        if not rows or any(a >= b for a, b in zip(times, [*times[1:], end_s], strict=True)):
            raise ValueError("a line needs rows in order of time, all before its end")
        self.end_s = end_s
        self._rows = list(rows)
        self._edges_s: NDArray[np.float64] = np.array([*times, end_s])
        rates = np.array([row.down_bit_s if row.up else 0.0 for row in rows])
        self._bits = np.concatenate([[0.0], np.cumsum(rates * np.diff(self._edges_s))])
        self.contacts = self._contacts()

    def _contacts(self) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        for row, end_s in zip(self._rows, self._edges_s[1:].tolist(), strict=True):
            if not row.up:
                continue
            if found and found[-1][1] == row.time_s:
                found[-1] = found[-1][0], end_s
            else:
                found.append((row.time_s, end_s))
        return found

    def row_at(self, time_s: float) -> Row:
        """The row that holds; the first before the start, the last after the end."""
        index = int(np.searchsorted(self._edges_s[:-1], time_s, side="right")) - 1
        return self._rows[max(0, index)]

    def contact_after(self, time_s: float) -> tuple[float, float] | None:
        """AOS and LOS of the contact at `time_s`, or of the next one; None when none is left."""
        return next((contact for contact in self.contacts if contact[1] > time_s), None)

    def bits_between(self, start_s: float, end_s: float) -> float:
        """What the line carries in that time."""
        low, high = np.interp([start_s, end_s], self._edges_s, self._bits)
        return float(high - low)

    def finish_s(self, start_s: float, size_bytes: float) -> float | None:
        """When the last bit is out that began at `start_s`; None if the contact ends before it.

        Raises ValueError when there is no contact at `start_s`.
        """
        contact = self.contact_after(start_s)
        if contact is None or start_s < contact[0]:
            raise ValueError(f"no contact at {start_s} s")
        wanted = float(np.interp(start_s, self._edges_s, self._bits)) + 8 * size_bytes
        index = int(np.searchsorted(self._bits, wanted, side="left"))
        if index >= len(self._bits):
            return None
        before = self._bits[index - 1]
        share = (wanted - before) / (self._bits[index] - before)
        end_s = float(self._edges_s[index - 1] + share * (self._edges_s[index] - self._edges_s[index - 1]))
        end_s = max(end_s, start_s)
        return end_s if end_s <= contact[1] else None
