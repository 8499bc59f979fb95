"""The turns of a run and their use, from its events."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nodes.contract.events import RUN, DishAssigned, DishReleased, EventRecord
from testbed.results.dishes import dish_tables, dish_uses, turns_of, without_dish
from testbed.results.results import frame_results
from tests.unit.testbed.scenario.dishes.test_plan import TRACES, scenario


def record(time_s: float, satellite: str, *, ended: bool = False) -> EventRecord:
    common = {"station": "G", "dish": 1, "satellite": satellite}
    event = (
        DishReleased(**common, why="B got the dish")
        if ended
        else DishAssigned(**common, open_s=time_s + 30, scheduler="longest-pass", why="a pass", waiting=["C"])
    )
    return EventRecord(node=RUN, monotonic_s=1000 + time_s, time_s=time_s, event=event)


def test_turns_are_read_from_events_and_add_up(tmp_path: Path) -> None:
    records = [record(60, "B"), record(10, "A"), record(60, "A", ended=True)]
    turns = turns_of([records[1], records[2], records[0]])
    assert [(t.satellite, t.from_s, t.open_s, t.until_s, t.ended) for t in turns] == [
        ("A", 10, 40, 60, "B got the dish"),
        ("B", 60, 90, None, ""),
    ]
    busy = {"A": [(30.0, 45.0), (42.0, 50.0)], "B": [(100.0, 150.0)]}
    a, b = dish_uses(scenario(tmp_path, dishes=1), TRACES, turns, busy)
    assert (a.in_view_s, a.turning_s, a.served_s, a.idle_s, a.waiting_s) == pytest.approx(
        (290, 30, 20, 10, 240)
    )
    assert (b.in_view_s, b.turning_s, b.served_s, b.idle_s, b.waiting_s) == pytest.approx(
        (400, 30, 370, 320, 0)
    )
    for use in (a, b):
        assert use.in_view_s == pytest.approx(use.served_s + use.turning_s + use.waiting_s)
    shown = Console(width=200, file=StringIO())
    for table in dish_tables(turns, (a, b)):
        shown.print(table)
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "B got the dish" in text and "320.0" in text and "the run ended" in text


def test_a_frame_without_an_answer_tells_of_the_dish_that_it_did_not_get(tmp_path: Path) -> None:
    made = scenario(tmp_path, dishes=1)
    turns = turns_of([record(10, "A"), record(60, "A", ended=True), record(60, "B")])
    frames = without_dish(made, TRACES, turns, frame_results(made, [], 1000.0, {}))
    told = {frame.frame: frame.reached for frame in frames}
    assert told["fA"] == "G saw A for 270 s without a free dish; it was not captured"
    assert told["fB"] == "G saw B for 30 s without a free dish; it was not captured", "while it turned"
    answered = [replace(frame, answer="yes") for frame in frames]
    assert list(without_dish(made, TRACES, turns, answered)) == answered


def test_a_run_without_scarce_dishes_has_no_rows(tmp_path: Path) -> None:
    assert turns_of([]) == () == dish_uses(scenario(tmp_path), TRACES, (), {})
    assert dish_tables((), ()) == []
