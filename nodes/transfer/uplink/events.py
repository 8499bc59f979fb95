"""The events of items, as those of tasks."""

from __future__ import annotations

from nodes.contract.events import (
    Dropped,
    Event,
    Expired,
    FrameRefused,
    InboxFull,
    ItemEvent,
    Received,
    SendRefused,
    SendStarted,
    TaskReceived,
    TaskRefused,
    TaskSent,
)
from nodes.contract.report import Report

EXPIRED = "it expired before the satellite had it"


class TaskReport:
    """Reports what the transfer of tasks reports of items; see `nodes.contract.report.Report`."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __call__(self, event: Event, *, monotonic_s: float | None = None) -> None:
        """Report an event of an item as one of its task, if there is such an event."""
        told = task_event(event)
        if told is not None:
            self._report(told, monotonic_s=monotonic_s)


def task_event(event: Event) -> Event | None:
    """Return what an event of an item says about its task; None for nothing worth telling."""
    match event:
        case SendStarted():
            return TaskSent(task=event.frame)
        case Received(sha256_ok=True):
            return TaskReceived(task=event.frame)
        case Expired():
            return TaskRefused(task=event.frame, reason=EXPIRED)
        case Dropped() | SendRefused() | FrameRefused():
            return TaskRefused(task=event.frame, reason=event.reason)
        case ItemEvent() | InboxFull():
            return None
        case _:
            return event
