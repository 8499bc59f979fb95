"""Which links are open at which moment, and what each of them offers, from the traces of all links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from traces.trace import Trace

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOMENTS_AT_ONCE = 2048


@dataclass(frozen=True)
class RoutedLink:
    """A link between two nodes.

    Args:
        name: the link's name.
        ends: names of the nodes at the trace's satellite and station.
        trace: what the link follows.
    """

    name: str
    ends: tuple[str, str]
    trace: Trace


@dataclass(frozen=True, slots=True)
class OpenLink:
    """A link at a moment at which both of its directions are up.

    Args:
        link: the link's name.
        ends: names of the nodes at its ends.
        delay_s: mean of the one-way delays of both directions.
        left_s: time until a direction goes down.
        forth_bits: what it can carry until then from the first end to the second.
        back_bits: likewise from the second to the first.
        closing: whether so little time is left that it should carry only what has no other way.
    """

    link: str
    ends: tuple[str, str]
    delay_s: float
    left_s: float
    forth_bits: float
    back_bits: float
    closing: bool

    def other(self, node: str) -> str:
        """Return the end that is not `node`."""
        return self.ends[1] if node == self.ends[0] else self.ends[0]

    def bits_from(self, node: str) -> float:
        """Return what it can carry from one of its ends until it closes."""
        return self.forth_bits if node == self.ends[0] else self.back_bits


class ContactGraph:
    """The links of a network over time.

    Args:
        links: all links.
        closing_s: how long before its end a contact counts as closing.
    """

    def __init__(self, links: Sequence[RoutedLink], closing_s: float) -> None:
        self.closing_s = closing_s
        self.end_s = max((link.trace.end_s for link in links), default=0.0)
        self._links = [_LinkOverTime(link) for link in links]
        self._by_name = {one.link.name: one for one in self._links}

    def moments(self, every_s: float) -> Floats:
        """Return when links open, begin to close and close; and moments `every_s` apart from 0 to the end."""
        edges = [np.arange(0.0, self.end_s, every_s)]
        for one in self._links:
            edges += [one.begins_s, one.ends_s, np.maximum(one.ends_s - self.closing_s, one.begins_s)]
        found: Floats = np.unique(np.concatenate([[0.0], *edges]))
        return found[found < self.end_s]

    def open_at(self, time_s: float, among: Iterable[str]) -> set[str]:
        """Return which of some links are open at a moment."""
        return {name for name in among if self._by_name[name].is_open(time_s)}

    def at(self, time_s: float) -> list[OpenLink]:
        """Return the links that are open at a moment."""
        return next(self.over(np.array([time_s])))[1]

    def over(self, moments_s: Floats) -> Iterator[tuple[float, list[OpenLink]]]:
        """Yield each moment with the links that are open then."""
        for first in range(0, len(moments_s), MOMENTS_AT_ONCE):
            part_s = moments_s[first : first + MOMENTS_AT_ONCE]
            by_link = [one.at(part_s, self.closing_s) for one in self._links]
            for index, time_s in enumerate(part_s.tolist()):
                yield time_s, [found for links in by_link if (found := links[index]) is not None]


class _LinkOverTime:
    """One link, with what it carries from any moment on."""

    def __init__(self, link: RoutedLink) -> None:
        self.link, trace = link, link.trace
        contacts = trace.contacts("both")
        self.begins_s = np.array([contact.aos_s for contact in contacts], dtype=np.float64)
        self.ends_s = np.array([contact.los_s for contact in contacts], dtype=np.float64)
        self._edges_s = np.append(trace.time_s, trace.end_s)
        lengths_s = trace.lengths_s()
        self._carried = [
            np.append(0.0, np.cumsum(np.where(trace.both_up, rate_bit_s, 0.0) * lengths_s))
            for rate_bit_s in (trace.down_bit_s, trace.up_bit_s)
        ]
        self._delay_s = (trace.down_delay_s + trace.up_delay_s) / 2

    def is_open(self, time_s: float) -> bool:
        """Return whether both directions are up at a moment."""
        number = int(np.searchsorted(self.begins_s, time_s, side="right")) - 1
        return number >= 0 and time_s < float(self.ends_s[number])

    def at(self, times_s: Floats, closing_s: float) -> list[OpenLink | None]:
        """Return what the link is at each moment; None while it is not open."""
        found: list[OpenLink | None] = [None] * len(times_s)
        if not len(self.begins_s):
            return found
        number = np.searchsorted(self.begins_s, times_s, side="right") - 1
        open_ = np.flatnonzero((number >= 0) & (times_s < self.ends_s[number]))
        at_s, ends_s = times_s[open_], self.ends_s[number[open_]]
        row = np.searchsorted(self.link.trace.time_s, at_s, side="right") - 1
        forth, back = (
            np.interp(ends_s, self._edges_s, bits) - np.interp(at_s, self._edges_s, bits)
            for bits in self._carried
        )
        columns = (self._delay_s[row], ends_s - at_s, forth, back)
        for index, delay_s, left_s, forth_bits, back_bits in zip(
            open_.tolist(), *(column.tolist() for column in columns), strict=True
        ):
            # A constant link ends with the run: there is no other way to look for.
            closing = left_s <= closing_s and self.ends_s[number[index]] < self.link.trace.end_s
            found[index] = OpenLink(
                self.link.name, self.link.ends, delay_s, left_s, forth_bits, back_bits, closing
            )
        return found
