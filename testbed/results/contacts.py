"""What was still on board at the end of each contact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodes.contract.events import ContactChanged, ContactLosses, EventRecord


@dataclass(frozen=True)
class Backlog:
    """Items on board that the ground does not have when a contact ends.

    Attributes:
        satellite: The satellite.
        station: The station whose contact ended.
        time_s: When the satellite noticed that, in scenario time; None before the start.
        items: Number of items: answers and images.
        size_bytes: Their size.
    """

    satellite: str
    station: str
    time_s: float | None
    items: int
    size_bytes: int

    def line(self) -> str:
        """Return one line for the table."""
        when = "" if self.time_s is None else f" at {self.time_s:.1f} s"
        return (
            f"{self.satellite}: {self.items} items of {self.size_bytes / 1e6:.3g} MB were still on board "
            f"when the contact with {self.station} ended{when}"
        )


def backlogs(records: Iterable[EventRecord]) -> tuple[Backlog, ...]:
    """Return the backlog at the end of each contact, in order of time."""
    found: list[Backlog] = []
    in_contact: set[tuple[str, str]] = set()  # a satellite also reports that its first contact has not begun
    for record in sorted(records, key=lambda record: record.monotonic_s):
        event = record.event
        if not isinstance(event, ContactChanged):
            continue
        pair = record.node, event.station
        if event.up:
            in_contact.add(pair)
        elif pair in in_contact:
            in_contact.remove(pair)
            if event.waiting is not None:
                found.append(Backlog(*pair, record.time_s, event.waiting, event.waiting_bytes or 0))
    return tuple(found)


@dataclass(frozen=True)
class Loss:
    """Packets that a link has lost at the end of a contact, both directions together.

    Attributes:
        link: The link.
        time_s: When they were counted, in scenario time.
        inside: Packets that were queued or in flight in it as the contact ended.
        late: Packets that came to it after that, before their sender or a router knew of the end.
        overflow: Packets for which its queue had no room during the contact.
    """

    link: str
    time_s: float | None
    inside: int
    late: int
    overflow: int

    def line(self) -> str:
        """Return one line for the table."""
        when = "" if self.time_s is None else f" before {self.time_s:.1f} s"
        return (
            f"link {self.link}: the contact that ended{when} lost {self.inside} packets inside of it,"
            f" and {self.late} came too late; transfers repeat them"
        )


def losses(records: Iterable[EventRecord]) -> tuple[Loss, ...]:
    """Return the losses at the end of each contact, in order of time."""
    found = [
        Loss(event.link, record.time_s, event.inside, event.late, event.overflow)
        for record in records
        if isinstance(event := record.event, ContactLosses)
    ]
    return tuple(sorted(found, key=lambda loss: loss.time_s or 0.0))
