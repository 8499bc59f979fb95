"""A node reports for itself alone: events of its role, frames, links and time."""

from __future__ import annotations

import pytest

from nodes.contract.events import (
    AgentAssigned,
    Answered,
    Captured,
    Connected,
    Event,
    EventRecord,
    HeartbeatReceived,
    InferenceStarted,
    LinkChanged,
    Received,
)
from testbed.mqtt.admission import SKIPPED_MAX, Admission
from tests.support.records import record

NOW_S = 5000.0


@pytest.fixture
def admission() -> Admission:
    return Admission(
        {"Alpha One": {"a"}, "B": {"b"}},
        [("Alpha One", "G"), ("B", "H")],
        agents=["jetson-1"],
    )


def problem(admission: Admission, node: str, event: Event, **envelope: object) -> str | None:
    made: EventRecord = record(node, event, NOW_S - 1.0, **envelope)
    return admission.problem(made, NOW_S)


ANSWER = {"answer": "two", "answered_by": "ground", "confidence": None}


@pytest.mark.parametrize(
    ("node", "event"),
    [
        ("Alpha One", Captured(frame="a", size_bytes=1)),
        ("G", Received(frame="a", what="image", size_bytes=1, sha256_ok=True)),
        ("G", Answered(frame="a", **ANSWER)),
        ("G", HeartbeatReceived.model_construct(satellite="alpha-one")),
        ("Alpha One", Connected(station="G")),
        ("G", Connected(station="G")),
        ("jetson-1", AgentAssigned.model_construct(role="satellite")),
    ],
)
def test_a_node_reports_what_is_its_own(admission: Admission, node: str, event: Event) -> None:
    assert problem(admission, node, event) is None


@pytest.mark.parametrize(
    ("node", "event", "told"),
    [
        ("B", Captured(frame="a", size_bytes=1), "frame 'a' is Alpha One's"),
        ("H", Answered(frame="a", **ANSWER), "frame 'a' is Alpha One's"),
        ("B", Captured(frame="c", size_bytes=1), "no satellite of this run has a frame 'c'"),
        ("B", Answered(frame="b", **ANSWER), "answered is not for a satellite to report"),
        (
            "G",
            LinkChanged.model_construct(link="x"),
            "link is not for a ground station to report",
        ),
        (
            "jetson-1",
            InferenceStarted(frame="b"),
            "inference_started is not for a board's agent to report",
        ),
        ("C", InferenceStarted(frame="b"), "'C' takes no part in this run"),
        ("run", InferenceStarted(frame="b"), "'run' takes no part in this run"),
        ("B", Connected(station="G"), "B has no link to 'G'"),
        ("H", HeartbeatReceived.model_construct(satellite="alpha-one"), "H has no link to 'alpha-one'"),
    ],
)
def test_what_is_anothers_is_refused(admission: Admission, node: str, event: Event, told: str) -> None:
    assert problem(admission, node, event) == told


@pytest.mark.parametrize("ahead_s", [6.0, 1e9, -2e5])
def test_an_event_of_another_time_is_refused(admission: Admission, ahead_s: float) -> None:
    made = record("B", InferenceStarted(frame="b"), NOW_S + ahead_s)
    assert admission.problem(made, NOW_S) == f"it happened {ahead_s:+.0f} s from now"


def test_a_clock_that_is_known_badly_may_be_ahead_by_its_bound(admission: Admission) -> None:
    made = record("B", InferenceStarted(frame="b"), NOW_S + 6.0, clock_bound_s=2.0)
    assert admission.problem(made, NOW_S) is None


def test_an_absurd_number_is_refused_and_the_next_one_is_not(admission: Admission) -> None:
    event = InferenceStarted(frame="b")
    assert problem(admission, "B", event, sequence=1) is None
    assert problem(admission, "B", event, sequence=10**15) == "event number 1000000000000000 after number 1"
    assert problem(admission, "B", event, sequence=2) is None
    assert problem(admission, "B", event, sequence=SKIPPED_MAX) is None, "lost while the broker was away"
    assert problem(admission, "B", event, sequence=1) is None, "the node was started again"
    assert problem(admission, "B", event, sequence=SKIPPED_MAX + 2) is not None


def test_an_answer_that_another_satellite_sent_is_refused() -> None:
    both = Admission({"A": {"a"}, "B": {"b"}}, [("A", "G"), ("B", "G")])
    answer = Answered(frame="a", **ANSWER)
    assert problem(both, "G", answer.sent_from("a")) is None
    assert problem(both, "G", answer.sent_from("b")) == "frame 'a' is A's, but b sent it"


def test_all_roles_of_a_node_are_named_in_a_fixed_order() -> None:
    both = Admission({"A": {"a"}}, [("A", "G")], agents=["A"])
    event = LinkChanged(link="A - G", up=True, lateness_s=0.0)
    assert problem(both, "A", event) == "link is not for a board's agent or satellite to report"


def test_a_node_that_never_stops_cannot_fill_the_memory_of_the_run(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.mqtt.admission.KEPT_MAX_BYTES", 3000)
    made = record("Alpha One", Captured(frame="a", size_bytes=1), NOW_S - 1.0)
    told = [admission.problem(made, NOW_S, 500) for _ in range(4)]
    assert told == [None, None, None, "more than 3000 bytes of events"]
    assert problem(admission, "B", Captured(frame="b", size_bytes=1)) is None
