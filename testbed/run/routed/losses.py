"""What a link lost when its contact ended: its shaper counts packets, and is asked a moment later."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nodes.contract.events import ContactLosses, Event, LinkChanged

LATE_S = 0.3  # real, for packets of a sender that does not know the end of the contact yet
Counters = Callable[[str], Mapping[str, Mapping[str, float]]]


class LossWatch:
    """Counts the packets that each contact's end has cost.

    Args:
        counters: returns the shaper's counters of a link, by direction.
        report: receives an event for each end of a contact.
    """

    def __init__(self, counters: Counters, report: Callable[[ContactLosses], None]) -> None:
        self._counters, self._report = counters, report
        self._up: set[str] = set()
        self._ended: list[tuple[float, str]] = []
        self._seen: dict[str, tuple[int, int, int]] = {}

    def note(self, event: Event) -> None:
        """Take an event of the run."""
        if not isinstance(event, LinkChanged):
            return
        if event.up:
            self._up.add(event.link)
        elif event.link in self._up:
            self._up.remove(event.link)
            self._ended.append((time.monotonic() + LATE_S, event.link))

    def look(self, *, last: bool = False) -> None:
        """Report the contacts that ended a moment ago; to be called often.

        Args:
            last: whether the run ends, so that no further packet comes.
        """
        while self._ended and (last or self._ended[0][0] <= time.monotonic()):
            _, link = self._ended.pop(0)
            counted = self._counters(link).values()
            if not all("purged" in way for way in counted):
                continue  # this shaper does not count them
            total = tuple(
                int(sum(way[name] for way in counted)) for name in ("purged", "dropped_down", "dropped_queue")
            )
            before = self._seen.get(link, (0, 0, 0))
            inside, late, overflow = (now - then for now, then in zip(total, before, strict=True))
            self._seen[link] = (total[0], total[1], total[2])
            self._report(ContactLosses(link=link, inside=inside, late=late, overflow=overflow))
