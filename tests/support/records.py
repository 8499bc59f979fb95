"""Event records as a run collects them."""

from __future__ import annotations

from typing import Any

from nodes.contract.events import (
    Answered,
    Captured,
    Connected,
    ContactChanged,
    Disconnected,
    Event,
    EventRecord,
    InferenceFailed,
    InferenceFinished,
    InferenceStarted,
    Received,
    SendStarted,
)


def record(node: str, event: Event, at_s: float = 1.0, **envelope: Any) -> EventRecord:
    return EventRecord(node=node, monotonic_s=at_s, event=event, **envelope)


def captured() -> Captured:
    return Captured(frame="f", size_bytes=1000)


def started() -> InferenceStarted:
    return InferenceStarted(frame="f")


def finished(**fields: Any) -> InferenceFinished:
    return InferenceFinished(**{"frame": "f", "answer": "two", "confidence": 0.5, **fields})


def failed() -> InferenceFailed:
    return InferenceFailed(frame="f", reason="server away")


def send_started() -> SendStarted:
    return SendStarted(frame="f", what="image", size_bytes=1000)


def received() -> Received:
    return Received(frame="f", what="image", size_bytes=1000, sha256_ok=True)


def answered(answer: str = "two") -> Answered:
    return Answered(frame="f", answer=answer, answered_by="ground", confidence=None)


def connected(station: str = "G") -> Connected:
    return Connected(station=station)


def disconnected(station: str = "G") -> Disconnected:
    return Disconnected(station=station, reason="contact lost")


def contact(station: str, up: bool) -> ContactChanged:
    return ContactChanged(station=station, up=up)
