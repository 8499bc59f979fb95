"""One verdict on a run, from the failures in its events to the first line, the exit code and results.json."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nodes.contract.config import is_shipped
from nodes.contract.events import EVENTS, Event, EventRecord, InferenceFailed, Received
from nodes.models import COMPACT
from testbed.results.latency import last_step
from testbed.results.results import STAND_IN_NOTE, Results, frame_results
from testbed.results.table import results_table
from testbed.results.troubles import NO_FAILURE, TOLD_ELSEWHERE, TROUBLES, troubles
from testbed.results.verdict import Ending
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario
from tests.support import records as make
from tests.support.records import record


def scenario(*names: str) -> Scenario:
    frames = tuple(
        Frame(frame=name, image=Path("a.jpg"), prompt="how many?", truth="two", capture_s=0.0)
        for name in names
    )
    return Scenario(
        name="a-test",
        satellites=(Satellite(name="S", model="mine", frames=frames),),
        stations=(GroundStation(name="G", model="mine"),),
        links=(Link(satellite="S", station="G", follows=Path("pass.csv")),),
    )


def results(records: list[EventRecord], *names: str, **fields: Any) -> Results:
    frames = frame_results(scenario(*names), records, 0.0, {})
    return Results("a test", "recording", frames, (), 1e-3, troubles=troubles(records), **fields)


def failed(frame: str, **fields: Any) -> InferenceFailed:
    where = {"part": "policy", "where": "/x/mine.py, line 9, in decide"}
    return InferenceFailed(**{"frame": frame, "reason": "RuntimeError: boom", **where, **fields})


def first_line(found: Results) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(results_table(found, 200))
    return console.export_text().splitlines()[0]


def agree(found: Results) -> str:
    """The headline, which printed result and results.json share; they and the exit code must agree."""
    verdict = found.to_json()["verdict"]
    assert first_line(found) == verdict["headline"] == found.verdict.headline
    assert (found.verdict.exit_code == 0) == verdict["headline"].startswith("PASSED:")
    assert verdict["exit_code"] == found.verdict.exit_code
    assert (verdict["status"] == "passed") == (found.verdict.exit_code == 0)
    return found.verdict.headline


def test_a_frame_whose_policy_raised_has_failed_though_the_ground_answers_it() -> None:
    records = [
        *(record("S", failed(name), 2.0) for name in ("f", "g")),
        record("G", make.answered(), 9.0),
    ]
    found = results(records, "f", "g")
    assert agree(found) == "FAILED: 2 of 2 frames failed"
    (cause,) = found.verdict.causes
    assert cause.line() == ("policy of S, /x/mine.py, line 9, in decide: RuntimeError: boom (2 frames: f, g)")
    totals = found.totals()
    assert (totals["answered"], totals["answered_on_ground"], totals["correct"], totals["failed"]) == (
        0,
        0,
        0,
        2,
    )
    frame = found.frames[0]
    assert (frame.answer, frame.answered, frame.correct, frame.latency) == ("two", False, False, None)


def test_an_answer_without_text_is_a_failure() -> None:
    found = results([record("G", make.answered(" "), 9.0)], "f")
    assert agree(found) == "FAILED: 1 of 1 frame failed"
    assert "without text" in found.verdict.causes[0].line()


def test_an_outage_that_ended_is_a_warning_and_one_that_did_not_is_the_cause() -> None:
    away = record("G", failed("f", part="server", reason="no server answers", put_off=True), 5.0)
    passed = results([away, record("G", make.answered(), 9.0)], "f")
    assert agree(passed) == f"PASSED: 1 of 1 frame answered; 1 warning: {passed.warnings()[0]}"
    assert "no server answers" in passed.warnings()[0]
    sent = [
        record(node, event.model_copy(update={"frame": name}), at_s)
        for name in ("f", "g")  # the outage is told of the first one only
        for node, event, at_s in (("S", make.finished(decision="offload"), 1.0), ("G", make.received(), 2.0))
    ]
    begun = [record("G", make.started().model_copy(update={"frame": name}), 4.0) for name in ("f", "g")]
    left = results([*sent, *begun, away], "f", "g")
    assert agree(left) == "FAILED: 2 of 2 frames have no answer"
    (cause,) = left.verdict.causes
    assert "no server answers" in cause.line() and cause.frames == ("f", "g")


def test_a_run_that_did_not_end_by_itself_has_not_passed() -> None:
    answered = [record("G", make.answered(), 9.0)]
    died = results(answered, "f", ending=Ending("S ended with exit code -9", 1))
    assert agree(died) == "FAILED: S ended with exit code -9"
    stopped = results([], "f", ending=Ending("stopped by SIGINT", 130, stopped=True))
    assert agree(stopped) == "STOPPED: stopped by SIGINT; 1 of 1 frame has no answer"
    assert stopped.verdict.exit_code == 130


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "it was not captured"),
        ([make.captured()], "inference on board did not start"),
        ([make.captured(), make.started()], "inference on board did not end"),
        ([make.captured(), make.started(), make.finished(decision="offload")], "it waited to be sent"),
        ([make.finished(decision="offload"), make.send_started()], "it was on its way"),
    ],
)
def test_how_far_a_frame_came_is_told(events: list[Event], text: str) -> None:
    assert text in last_step([record("S", event, float(at_s)) for at_s, event in enumerate(events)], "S")


def test_no_kind_of_event_tells_of_a_failure_that_only_the_events_know() -> None:
    groups = [set(TROUBLES), set(TOLD_ELSEWHERE), set(NO_FAILURE)]
    assert set().union(*groups) == set(EVENTS.values())
    assert sum(map(len, groups)) == len(EVENTS), "a kind of event is in two groups"
    silent = [
        kind.event_name
        for kind in NO_FAILURE
        if set(kind.model_fields) & {"reason", "problem", "error"} and kind.event_name != "node_stopped"
    ]
    assert not silent, "an event with a reason tells of a failure"


def test_a_trouble_is_named_once_with_its_number() -> None:
    damaged = Received(frame="f", what="image", size_bytes=9, sha256_ok=False)
    told = troubles([record("G", damaged), record("G", damaged), record("G", make.received())])
    assert told == ("G: an item arrived damaged, and was requested again (2 times)",)


def test_only_runs_of_the_shipped_models_speak_of_a_stand_in() -> None:
    assert is_shipped(str(COMPACT)) and not is_shipped("/models/mine") and not is_shipped("owner/name")
    mine, shipped = results([], "f"), results([], "f", shipped_models=True)
    assert (mine.to_json()["note"], shipped.to_json()["note"]) == (None, STAND_IN_NOTE)

    def printed(found: Results) -> str:
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(results_table(found, 200))
        return console.export_text()

    assert "stand-in" in printed(shipped) and "stand-in" not in printed(mine)
