"""A run ends once all is answered and its last contact is over, or when nothing more can be answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.contract.events import Dropped, EventRecord
from testbed.run.parts.ending import RunEnd
from testbed.run.traces import link_traces
from tests.unit.testbed.scenario.test_tasks import scenario


@pytest.fixture
def end(tmp_path: Path) -> RunEnd:
    made = scenario(tmp_path)
    return RunEnd(made, link_traces(made))


def dropped(frame: str) -> EventRecord:
    return EventRecord(node="A", monotonic_s=0.0, event=Dropped(frame=frame, what="image", reason="old"))


def test_a_run_lasts_until_its_last_contact_is_over_and_all_frames_have_ended(end: RunEnd) -> None:
    end.note([dropped("fA")], given_up=())
    assert not end.is_over(end.last_events_s + 1), "fB has not come to its end"
    end.note([], given_up=["fB"])
    assert end.all_done
    assert not end.is_over(end.last_events_s - 0.1)
    assert end.is_over(end.last_events_s + 0.1)


def test_a_run_without_nodes_waits_for_what_is_on_its_way(end: RunEnd) -> None:
    assert end.without_nodes(10.0, None) is None
    assert end.without_nodes(10.0, "no satellite is left") is None
    assert end.without_nodes(10.0 + end.grace_s, "no satellite is left") is None
    early = end.without_nodes(10.1 + end.grace_s, "no satellite is left")
    assert early is not None and early.reason == "no satellite is left"


def test_a_run_without_nodes_that_has_all_answers_ends_as_any_other(end: RunEnd) -> None:
    end.note([dropped("fA"), dropped("fB")], given_up=())
    end.without_nodes(10.0, "no satellite is left")
    assert end.without_nodes(11.0 + end.grace_s, "no satellite is left") is None
