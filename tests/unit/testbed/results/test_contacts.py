"""The backlog at the end of each contact, as the satellite's events tell it."""

from __future__ import annotations

from nodes.contract.events import ContactChanged, EventRecord
from testbed.results.contacts import Backlog, backlogs


def contact(satellite: str, station: str, at_s: float, *, up: bool, waiting: int | None = 0) -> EventRecord:
    event = ContactChanged(
        station=station, up=up, waiting=waiting, waiting_bytes=None if waiting is None else 1000 * waiting
    )
    return EventRecord(node=satellite, monotonic_s=50.0 + at_s, time_s=at_s, event=event)


def test_the_backlog_is_that_of_each_loss_of_signal() -> None:
    records = [
        contact("A", "G", 0.1, up=False, waiting=3),  # there was no contact yet
        contact("A", "G", 5.0, up=True, waiting=4),
        contact("B", "G", 6.0, up=True),
        contact("A", "G", 30.0, up=False, waiting=0),
        contact("A", "G", 9.0, up=False, waiting=2),
        contact("A", "G", 20.0, up=True),
        contact("B", "G", 10.0, up=False, waiting=None),  # an older node does not tell
    ]
    assert backlogs(records) == (Backlog("A", "G", 9.0, 2, 2000), Backlog("A", "G", 30.0, 0, 0))
    line = "A: 2 items of 0.002 MB were still on board when the contact with G ended at 9.0 s"
    assert backlogs(records)[0].line() == line
