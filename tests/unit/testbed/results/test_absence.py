"""Absences of programs, from the run's events to warnings and to causes of frames without an answer."""

from __future__ import annotations

from pathlib import Path

from nodes.contract.events import Answered, Captured, EventRecord, ProgramChanged, ProgramState, Received
from testbed.results.absence import MANAGEMENT, absences
from testbed.results.results import Results, frame_results
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario
from tests.support.records import record


def changed(
    program: str, state: ProgramState, at_s: float | None, reason: str | None = None, *, killed: bool = False
) -> EventRecord:
    event = ProgramChanged(program=program, state=state, reason=reason, killed=killed)
    return EventRecord(node="run", time_s=at_s, monotonic_s=at_s or 0.0, event=event)


def results(*records: EventRecord) -> Results:
    satellites = [
        Satellite(
            name=name,
            model="mine",
            frames=(Frame(frame=f"{name}1", image=Path("a"), prompt="?", truth="yes", capture_s=0.0),),
        )
        for name in ("S", "T")
    ]
    links = [
        Link(satellite=name, station=station, follows=Path("p.csv")) for name in "ST" for station in "GH"
    ]
    scenario = Scenario(
        name="a-test",
        satellites=tuple(satellites),
        stations=tuple(GroundStation(name=name, model="mine") for name in "GH"),
        links=tuple(links),
    )
    frames = frame_results(scenario, records, 0.0, {})
    return Results("a test", "recording", frames, (), 1e-3, absences=absences(records))


def causes(found: Results) -> dict[str, str]:
    return {frame: cause.reason for cause in found.verdict.causes for frame in cause.frames}


def test_a_restart_is_an_absence_and_a_warning() -> None:
    found = results(
        changed("S", "lost", 2.0, "its program was killed by SIGKILL"),
        record("S", Captured(frame="S1", size_bytes=1), 2.5),
        changed("S", "ready", 6.0),
        record("G", Answered(frame="S1", answer="yes", answered_by="ground", confidence=None), 7.0),
        record("G", Answered(frame="T1", answer="yes", answered_by="ground", confidence=None), 7.0),
    )
    line = "S was absent from 2.0 to 6.0 s: its program was killed by SIGKILL"
    assert found.warnings() == [line]
    assert found.verdict.headline == f"PASSED: 2 of 2 frames answered; 1 warning: {line}"
    assert found.to_json()["absences"] == {
        "S": [
            {
                "from_s": 2.0, "until_s": 6.0, "for_good": False, "killed": False,
                "why": "its program was killed by SIGKILL",
            }
        ]
    }  # fmt: skip


def test_a_program_that_was_killed_may_have_taken_events_with_it() -> None:
    killed = changed("S", "lost", 2.0, "its program was killed by SIGKILL", killed=True)
    (warning,) = results(killed, changed("S", "ready", 6.0)).warnings()
    assert warning.endswith("was killed by SIGKILL; its last events before that may be missing")
    given_up = changed("S", "given up", 6.0, "3 restarts")
    (absence,) = absences([killed, given_up])["S"]
    assert absence.killed and absence.for_good


def test_frames_of_a_satellite_that_was_given_up_are_named_with_the_cause() -> None:
    found = results(
        changed("S", "lost", 2.0, "killed"),
        changed("S", "given up", 4.0, "killed; 3 restarts"),
        record("G", Answered(frame="T1", answer="yes", answered_by="ground", confidence=None), 7.0),
    )
    assert causes(found) == {
        "S1": "no answer from S: S was lost at 2.0 s: killed; 3 restarts; it was not captured"
    }


def test_a_station_that_is_gone_explains_what_it_received_and_nothing_that_went_elsewhere() -> None:
    found = results(
        changed("G", "given up", 2.0, "no broker"),
        record("S", Captured(frame="S1", size_bytes=1), 0.5),
        record("G", Received(frame="S1", what="answer", size_bytes=1, sha256_ok=True), 1.0),
        record("H", Answered(frame="T1", answer="yes", answered_by="ground", confidence=None), 7.0),
    )
    assert list(causes(found)) == ["S1"]
    assert "G was lost at 2.0 s: no broker" in causes(found)["S1"]


def test_a_broker_that_does_not_come_back_leaves_every_frame_unknown() -> None:
    found = results(changed(MANAGEMENT, "lost", 3.0, "it did not answer"))
    assert all("the management broker was lost at 3.0 s" in reason for reason in causes(found).values())
    assert len(causes(found)) == 2


def test_a_restart_before_the_start_costs_nothing() -> None:
    assert absences([changed("S", "lost", None, "killed"), changed("S", "ready", None)]) == {}
    (still,) = absences([changed("S", "lost", None, "killed")])["S"]
    assert still.line("S") == "S was lost before the start: killed"
