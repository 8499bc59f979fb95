"""Events: each is declared once, survives JSON, and undeclared events are refused."""

from __future__ import annotations

import ast
import json
import math
import tracemalloc
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from nodes.contract import events
from nodes.contract.events import (
    EVENTS,
    Event,
    EventRecord,
    InferenceFinished,
    LinkChanged,
    Malformed,
    Received,
)
from nodes.contract.strict import Strict, problem_text
from tests.support import ROOT

LINE = {
    "event": "inference_finished",
    "node": "FLOCK 2P-1",
    "time_s": 12.5,
    "monotonic_s": 1234.5,
    "sequence": 7,
    "frame": "e0001",
    "answer": "two",
    "confidence": 0.75,
    "network_confidence": None,
    "stage": 2,
    "preprocess_s": 0.01,
    "vision_s": 0.1,
    "prefill_s": 0.05,
    "decode_s": 0.02,
    "decision": "offload",
    "form": "regions",
}  # as version 0.1.0 wrote it
SOURCES = [path for room in ("nodes", "testbed") for path in (ROOT / room).rglob("*.py")]


def test_a_line_is_read_and_written_as_it_was() -> None:
    record = EventRecord.from_line(json.dumps(LINE))
    assert isinstance(record.event, InferenceFinished) and record.event.form == "regions"
    assert (record.node, record.frame, record.clock_bound_s) == ("FLOCK 2P-1", "e0001", 0.0)
    assert record.to_json() == LINE
    assert list(record.to_json())[:2] == ["event", "node"], "what a reader looks for first"
    assert EventRecord.from_line(record.to_line()) == record


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"event": "invented"}, "unknown event 'invented'"),
        ({"event": ["captured"]}, "unknown event"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"confidence": "much"}, "confidence: Input should be a valid number"),
        ({"decision": "perhaps"}, "decision: Input should be"),
        ({"monotonic_s": math.inf}, "monotonic_s: Input should be a finite number"),
        ({"node": None}, "node: Input should be a valid string"),
    ],
)
def test_what_is_not_declared_is_refused_with_the_field(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError) as raised:
        EventRecord.from_json(LINE | changes)
    assert problem in problem_text(raised.value)


@pytest.mark.parametrize("line", ["", "[]", "1", '"captured"', "{}", '{"event": "captured"}', "{", b"\xff"])
def test_a_line_that_is_no_event_is_refused(line: str | bytes) -> None:
    with pytest.raises(ValueError):
        EventRecord.from_line(line)


def test_any_text_can_be_reported() -> None:
    event = Malformed(sender="\ud800x", count=1, reason="file \udcff\U0001f6f0 gone")
    assert (event.sender, event.reason) == ("\ufffdx", "file \ufffd\U0001f6f0 gone")
    record = EventRecord(node="S", monotonic_s=1.0, event=event)
    assert EventRecord.from_line(record.to_line()) == record


def test_an_event_is_declared_in_the_contract_or_nowhere() -> None:
    with pytest.raises(TypeError, match=r"declared in nodes\.contract\.events alone"):
        type("Invented", (Event,), {"__module__": __name__, "__annotations__": {}, "event_name": "invented"})
    assert "invented" not in EVENTS


def test_no_field_of_an_event_hides_one_of_the_record() -> None:
    envelope = EventRecord.model_fields.keys() | {"event"}
    hidden = {name: envelope & kind.model_fields.keys() for name, kind in EVENTS.items()}
    assert not any(hidden.values()), hidden


def test_every_declared_event_is_reported_somewhere() -> None:
    called = {
        node.func.id
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert {kind.__name__ for kind in EVENTS.values()} <= called


def test_events_are_nowhere_told_apart_by_a_bare_name() -> None:
    contract = Path(events.__file__)
    for path in SOURCES:
        if path == contract:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            subscript = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
            assert not (subscript and node.slice.value == "event"), f"{path}:{node.lineno}"  # type: ignore[attr-defined]


def test_a_record_of_the_run_needs_no_number() -> None:
    record = EventRecord(
        node="run", time_s=4.0, monotonic_s=9.0, event=LinkChanged(link="L", up=True, lateness_s=0.0)
    )
    assert record.to_json() == {
        "event": "link",
        "node": "run",
        "time_s": 4.0,
        "monotonic_s": 9.0,
        "link": "L",
        "up": True,
        "lateness_s": 0.0,
    }


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999", "-1e19", "1" + "0" * 400, "1" * 5000])
def test_numbers_that_arithmetic_cannot_bear_are_refused(number: str) -> None:
    line = json.dumps(LINE).replace("12.5", number)
    with pytest.raises(ValueError, match="no plausible number"):
        EventRecord.from_line(line)


def test_whole_numbers_stay_whole() -> None:
    record = EventRecord.from_line(json.dumps(LINE))
    assert isinstance(record.sequence, int) and isinstance(record.time_s, float)


class Measured(Strict):
    value: float
    more: dict[str, float] = Field(default={})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_no_number_of_the_contract_is_infinite(value: float) -> None:
    for values in ({"value": value}, {"value": 0.0, "more": {"a": value}}):
        with pytest.raises(ValidationError, match="finite"):
            Measured.model_validate(values)


def test_event_that_is_kept_takes_less_than_a_kilobyte() -> None:
    event = Received(frame="dam-1", what="image", size_bytes=100_000, sha256_ok=True)
    record = EventRecord(
        node="Satellite 1", monotonic_s=1.25, time_s=0.5, event=event, sequence=7, run="20261130T120000Z"
    )
    line = record.to_line()
    kept = [EventRecord.from_line(line)]
    tracemalloc.start()
    try:
        kept += [EventRecord.from_line(line) for _ in range(500)]
        size_bytes = tracemalloc.get_traced_memory()[0] / 500
    finally:
        tracemalloc.stop()
    assert size_bytes < 900, f"{size_bytes:.0f} bytes"
    assert all(one == record and one.to_line() == line for one in kept)
    changed = kept[0].event.sent_from("sat")  # type: ignore[attr-defined]
    assert changed.fields()["satellite"] == "sat"
    assert kept[1].to_line() == line, "what is shared was changed"
