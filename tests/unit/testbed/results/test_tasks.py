"""What became of tasks, and parts of a question's time that add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.contract.events import (
    Answered,
    Connected,
    ContactChanged,
    Disconnected,
    Event,
    EventRecord,
    InferenceFinished,
    InferenceStarted,
    Received,
    SendStarted,
    TaskAsked,
    TaskDone,
    TaskReceived,
    TaskRefused,
)
from testbed.results.results import frame_results
from testbed.results.tasks import task_records
from testbed.scenario.tasks import PolicyChange, Question
from tests.unit.testbed.scenario.test_tasks import ASKED, scenario

START_S = 1000.0


def at(time_s: float, node: str, event: Event) -> EventRecord:
    return EventRecord(node=node, monotonic_s=START_S + time_s, time_s=time_s, event=event)


EVENTS = [
    at(0, "A", Connected(station="G")),
    at(4, "A", Disconnected(station="G", reason="contact lost")),
    at(5, "run", TaskAsked(task="q", what="question", satellite="A")),
    at(6, "run", TaskAsked(task="task-2", what="policy", satellite="A")),
    at(20, "A", Connected(station="G")),
    at(20.5, "A", TaskReceived(task="q")),
    at(20.6, "A", TaskReceived(task="task-2")),
    at(21, "A", InferenceStarted(frame="q")),
    at(20.7, "A", TaskRefused(task="task-2", reason="no such parameter")),
    at(22, "A", ContactChanged(station="G", up=False)),
    at(23, "A", InferenceFinished(frame="q", answer="no", confidence=0.9, decision="answer")),
    at(23, "A", TaskDone(task="q")),
    at(40, "A", Connected(station="G")),
    at(40, "A", SendStarted(frame="q", what="answer", size_bytes=9)),
    at(40.25, "G", Received(frame="q", what="answer", size_bytes=9, sha256_ok=True)),
    at(40.5, "G", Answered(frame="q", answer="no", answered_by="satellite", confidence=0.9)),
]


def test_the_time_of_a_question_is_split_and_adds_up(tmp_path: Path) -> None:
    made = scenario(tmp_path, Question(**ASKED), PolicyChange(at_s=6, satellite="A", accept_confidence=0.5))
    question, change = task_records(made, EVENTS, START_S)
    time = question.time
    assert time is not None and question.asking_to_answer_s == 35.5
    assert time.total_s == pytest.approx(35.5)
    assert (time.wait_up_s, time.uplink_s, time.queue_s, time.onboard_s) == (15, 0.5, 0.5, 2)
    assert (time.wait_down_s, time.downlink_s, time.ground_s) == (17, 0.25, 0.25)
    assert "answered after 35.50 s (contact wait, up 15.00, uplink 0.50" in question.line()
    assert (change.refused, change.time, change.asking_to_answer_s) == ("no such parameter", None, None)
    assert "refused: no such parameter" in change.line()


def test_a_question_has_a_row_among_the_frames(tmp_path: Path) -> None:
    made = scenario(tmp_path, Question(**ASKED))
    rows = {row.frame: row for row in frame_results(made, EVENTS, START_S, {})}
    assert rows.keys() == {"fA", "fB", "q"}
    assert rows["q"].correct and rows["q"].end_to_end_s == 35.5 and rows["q"].capture_s == 5
    missed = {row.frame: row for row in frame_results(made, EVENTS[:3], START_S, {})}["q"]
    assert missed.answer is None and missed.reached == "the question did not reach the satellite"
