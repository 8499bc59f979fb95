"""The faults of a run in its results: when, what, and the frames that they hit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodes.contract.events import (
    Answered,
    Captured,
    Event,
    EventRecord,
    FaultBegan,
    FaultEnded,
    InferenceFinished,
)
from testbed.results.faults import explained, fault_records
from testbed.results.results import frame_results
from testbed.scenario.model import Frame, Scenario
from tests.unit.testbed.scenario.dishes.test_plan import scenario as without_faults

START_S = 100.0


def scenario(folder: Path, *faults: dict[str, Any]) -> Scenario:
    whole = without_faults(folder).model_dump()
    for satellite in whole["satellites"]:
        (frame,) = satellite["frames"]
        satellite["frames"] = [
            Frame(**frame | {"frame": f"{satellite['name']}{second}", "capture_s": second})
            for second in (10, 50, 90)
        ]
    return Scenario.model_validate(whole | {"faults": faults})


def at(node: str, time_s: float, event: Event) -> EventRecord:
    return EventRecord(node=node, monotonic_s=START_S + time_s, time_s=time_s, event=event)


def began(number: int, made: Scenario) -> list[EventRecord]:
    fault = made.faults[number - 1]
    common = {"fault": number, "what": fault.what, "target": fault.target}
    records = [at("run", fault.at_s, FaultBegan(**common, until_s=fault.until_s, effect="an effect"))]
    if fault.until_s is not None:
        records.append(at("run", fault.until_s, FaultEnded(**common)))
    return records


def way(frame: str, captured_s: float, looked_s: float, answered_s: float | None) -> list[EventRecord]:
    name = frame[0]
    looked = InferenceFinished(frame=frame, answer="yes", confidence=1.0, decision="answer")
    records = [at(name, captured_s, Captured(frame=frame, size_bytes=1)), at(name, looked_s, looked)]
    if answered_s is not None:
        answer = Answered(frame=frame, answer="yes", answered_by="satellite", confidence=1.0)
        records.append(at("G", answered_s, answer))
    return records


def hit(made: Scenario, records: Sequence[EventRecord]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    frames = frame_results(made, records, START_S, {})
    return [(f.frames, f.unanswered) for f in fault_records(made, records, frames, START_S)]


def test_each_fault_names_the_frames_that_it_hit(tmp_path: Path) -> None:
    made = scenario(
        tmp_path,
        {"what": "link cut", "at_s": 20, "until_s": 60, "target": "A - G"},
        {"what": "satellite lost", "at_s": 80, "until_s": 95, "target": "A"},
        {"what": "bit flips in weights", "at_s": 30, "target": "B", "flips": 2},
        {"what": "station down", "at_s": 99, "target": "G"},
    )
    records = [record for number in (1, 2, 3, 4) for record in began(number, made)]
    records += [*way("A10", 10, 12, 15), *way("A50", 50, 52, None)]
    records += [*way("B10", 10, 29, 70), *way("B50", 50, 51, 52), *way("B90", 90, 91, None)]
    assert hit(made, records) == [
        (("A50",), ("A50",)),
        (("B50", "B90"), ("B90",)),  # those that the damaged model looked at
        (("A50", "A90"), ("A50", "A90")),  # on its way, and not captured
        (("A50", "B90"), ("A50", "B90")),
    ]
    faults = fault_records(made, records, frame_results(made, records, START_S, {}), START_S)
    assert faults[0].line() == (
        "fault: link cut: A - G, from 20.0 s to 60.0 s: an effect; "
        "it hit 1 frames (A50), 1 of which have no answer"
    )
    told = {
        frame.frame: frame.reached for frame in explained(frame_results(made, records, START_S, {}), faults)
    }
    assert told["A50"].startswith("link cut: A - G, from 20.0 s to 60.0 s; station down: G, from 99.0 s on; ")
    assert told["A90"] == "it was not captured", "its absence is told elsewhere"
    assert "fault" not in told["B50"]


def test_a_run_without_faults_has_no_records(tmp_path: Path) -> None:
    made = scenario(tmp_path)
    assert hit(made, way("A10", 10, 12, 15)) == []


def test_a_fault_on_the_ground_hits_the_frames_of_all_satellites_that_the_station_sees(
    tmp_path: Path,
) -> None:
    whole = scenario(tmp_path).model_dump()
    control = {"name": "Control", "model": "m", "place": "0,0,0"}
    fault = {"what": "link cut", "at_s": 20, "until_s": 60, "target": "G - Control"}
    made = Scenario.model_validate(whole | {"mission_control": control, "faults": [fault]})
    records = [*began(1, made), *way("A10", 10, 12, 15), *way("A50", 50, 52, 70), *way("B50", 50, 51, 80)]
    assert hit(made, records) == [(("A50", "B50"), ())]
