"""Events that tell of a failure from which the run recovered, as warnings.

Every kind of event is either one of `TROUBLES`, or one of `TOLD_ELSEWHERE` and `NO_FAILURE`; a test sees to
it. So there is no failure that only events.jsonl knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodes.contract.events import (
    RUN,
    AgentAssigned,
    Answered,
    BoardChanged,
    BrokerRefused,
    BrokerRestarted,
    Captured,
    ClockCompared,
    Connected,
    ConnectionRefused,
    ContactChanged,
    ContactLosses,
    Delivered,
    Disconnected,
    DishAssigned,
    DishReleased,
    Dropped,
    EnergyUnknown,
    EnergyUsed,
    Event,
    EventRecord,
    EventsDropped,
    Expired,
    FaultBegan,
    FaultEnded,
    FrameRefused,
    HeartbeatReceived,
    InboxFull,
    InboxTrouble,
    InferenceFailed,
    InferenceFinished,
    InferenceStarted,
    LinkChanged,
    LinkRepaired,
    Malformed,
    NodeEnded,
    NodeStarted,
    NodeStopped,
    OutboxTrouble,
    Paced,
    PathChanged,
    PowerSensorFound,
    PowerState,
    ProgramChanged,
    QueueReported,
    Ready,
    Received,
    ReceivedFirst,
    SendFinished,
    SendRefused,
    SendStarted,
    SendWaits,
    SkippingEnded,
    SpeedChanged,
    TaskAsked,
    TaskDone,
    TaskQueued,
    TaskReceived,
    TaskRefused,
    TaskSent,
    TimeJumped,
)
from testbed.results.absence import MAY_MISS

NO_REPLY = "no reply from the ground program"  # reason of a `disconnected`; others are ends of contacts


def _outage(event: InferenceFailed) -> str | None:
    return f"its model's server was unavailable, and asked again: {event.reason}" if event.put_off else None


def _killed(event: NodeEnded) -> bool:
    return event.status is not None and event.status < 0


def _model_caveat(event: Ready) -> str | None:
    if event.lacks is not None:
        return f"its model's server gives {event.lacks}"
    if event.differs is None:
        return None
    return f"profile {event.profile} is of a model that ran otherwise ({event.differs}): answers may differ"


TROUBLES: dict[type[Event], Callable[[Any], str | None]] = {
    Ready: _model_caveat,
    InferenceFailed: _outage,
    PowerSensorFound: lambda e: f"no energy was measured: {e.reason}" if e.reason is not None else None,
    EnergyUnknown: lambda e: f"the energy of a frame is unknown: {e.reason}",
    EventsDropped: lambda e: "events were dropped while the management broker was away",
    OutboxTrouble: lambda e: f"outbox: {e.reason}",
    InboxTrouble: lambda e: f"inbox: {e.reason}",
    InboxFull: lambda e: f"an item could not be stored at once: {e.reason}",
    SendWaits: lambda e: f"the ground had no room for an item, which was offered again: {e.reason}",
    Received: lambda e: None if e.sha256_ok else "an item arrived damaged, and was requested again",
    ConnectionRefused: lambda e: f"station {e.station} refused the connection: {e.reason}",
    Disconnected: lambda e: f"station {e.station}: {e.reason}" if e.reason == NO_REPLY else None,
    LinkRepaired: lambda e: f"link {e.link}, at {e.end}: {e.change} by another program; it was set again",
    NodeEnded: lambda e: f"the node's program ended by itself: {e.reason}" + (MAY_MISS if _killed(e) else ""),
}
"""The text of each kind of event that may tell of a failure; None where the event tells of none."""

TOLD_ELSEWHERE = (
    FrameRefused, Expired, Dropped, SendRefused,  # reasons of frames without an answer
    Malformed, BrokerRestarted, BrokerRefused, ClockCompared, Paced,  # warnings of their own
    BoardChanged, ProgramChanged, FaultBegan, FaultEnded,
    SkippingEnded, SpeedChanged,  # testbed/results/clock/passage.py
    TaskRefused,  # testbed/results/tasks.py
)  # fmt: skip

NO_FAILURE = (
    InferenceStarted, InferenceFinished, EnergyUsed, Captured, ContactChanged, Connected, SendStarted,
    SendFinished, Delivered, HeartbeatReceived, ReceivedFirst, Answered, AgentAssigned, NodeStarted,
    NodeStopped, LinkChanged, ContactLosses, DishAssigned, DishReleased, QueueReported, PathChanged,
    TimeJumped, TaskAsked, TaskQueued, TaskSent, TaskReceived, TaskDone, PowerState,
)  # fmt: skip


def troubles(records: Iterable[EventRecord]) -> tuple[str, ...]:
    """Return one line for each distinct trouble of a node, with its number, in order of the first of them."""
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        text_of = TROUBLES.get(type(record.event))
        if text_of is not None and (text := text_of(record.event)) is not None:
            counts[record.node, text] = counts.get((record.node, text), 0) + 1
    return tuple(
        (text if node == RUN else f"{node}: {text}") + (f" ({count} times)" if count > 1 else "")
        for (node, text), count in counts.items()
    )
