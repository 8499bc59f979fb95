"""The lateness of a frame is that of its own answers, and of those that it waited for."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.contract.events import (
    Answered,
    Captured,
    Event,
    EventRecord,
    InferenceStarted,
    Paced,
    Received,
)
from testbed.results.clock.answer_lateness import AnswerLateness, answer_lateness, late_share


def at(time_s: float, node: str, event: Event) -> EventRecord:
    return EventRecord(node=node, monotonic_s=time_s, event=event)


def paced(frame: str, late_s: float) -> Paced:
    return Paced(frame=frame, profile="p", profile_s=1.0, computed_s=1.0, late_s=late_s)


def on_board(frame: str, captured_s: float, begun_s: float, late_s: float) -> list[EventRecord]:
    return [
        at(captured_s, "S", Captured(frame=frame, size_bytes=1)),
        at(begun_s, "S", InferenceStarted(frame=frame)),
        at(begun_s + 1.0 + late_s, "S", paced(frame, late_s)),
    ]


def answered(frame: str, time_s: float) -> EventRecord:
    return at(time_s, "G", Answered(frame=frame, answer="yes", answered_by="ground", confidence=0.9))


def received(frame: str) -> dict[str, Any]:
    return {"frame": frame, "what": "image", "size_bytes": 1, "sha256_ok": True}


def test_both_answers_of_a_frame_count() -> None:
    records = [
        *on_board("a", 0.0, 0.0, 0.5),
        at(10.0, "G", Received(**received("a"))),
        at(10.0, "G", InferenceStarted(frame="a")),
        at(11.25, "G", paced("a", 0.25)),
        answered("a", 12.0),
    ]
    assert answer_lateness(reversed(records)) == (AnswerLateness(late_s=0.75, latency_s=12.0),)
    assert late_share(answer_lateness(records)) == pytest.approx(0.75 / 12)
    assert late_share([]) == 0.0


def test_a_frame_inherits_the_lateness_that_it_waited_for() -> None:
    records = [
        *on_board("a", 0.0, 0.0, 2.0),  # until 3.0
        *on_board("b", 0.5, 3.0, 0.5),  # waited 2.5, of which 2.0 were lateness; until 4.5
        *on_board("c", 4.0, 4.5, 0.0),  # waited 0.5, no more than that is inherited
        *on_board("d", 20.0, 20.0, 0.0),  # waited for nobody
        *(answered(frame, 30.0) for frame in "abcd"),
    ]
    assert [one.late_s for one in answer_lateness(records)] == [2.0, 2.5, 0.5, 0.0]


def test_a_frame_without_a_pace_or_a_capture_is_not_counted() -> None:
    records = [
        at(0.0, "S", Captured(frame="a", size_bytes=1)),
        answered("a", 5.0),
        at(6.0, "G", paced("b", 1.0)),
        answered("b", 7.0),
    ]
    assert answer_lateness(records) == ()
