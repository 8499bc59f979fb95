"""Faults of a scenario hit links and programs, end, and are named with the frames that they hit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.contract.events import EventRecord, FaultBegan, FaultEnded, InferenceFinished
from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed import (
    BitFlips,
    GroundStation,
    Link,
    LinkCut,
    NodeProgram,
    RateDegraded,
    Satellite,
    SatelliteLost,
    Scenario,
    read_frames,
    run_scenario,
)
from tests.support.footprint import Footprint
from tests.support.made_up_profile import MADE_UP
from traces.trace_file import read_trace

pytestmark = pytest.mark.root
SPEED = 5
STAGES_S = {"preprocess": 0.1, "vision": 0.5, "prefill": 0.2, "decode": 0.0}
TRACE = """# spaceverse-trace 2
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 30.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,1,1000000.0,250000.0,0.006,0.006,0.0,0.0
28.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""
FAULTS = (
    LinkCut(at_s=2, until_s=6, target="A - G"),
    RateDegraded(at_s=7, until_s=16, target="A - G", factor=0.25),
    BitFlips(at_s=8, target="B", flips=2000, seed=3),
    SatelliteLost(at_s=18, until_s=20, target="A"),
)


def scenario(folder: Path) -> Scenario:
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    (folder / "pass.csv").write_text(TRACE)
    options = {"model": str(COMPACT), "profile": folder / "profile.json"}
    (first,) = read_frames(FIRST_LIGHT, [1])
    captures_s = {"A": (1, 19), "B": (1, 10)}
    tells = NodeProgram(name="tells", command=("sh", "-c", "echo here; sleep 1000"))
    satellites = [
        Satellite(
            name=name,
            programs=(tells,),
            accept_confidence=1.0,
            frames=tuple(
                first.model_copy(update={"frame": f"{name}{number}", "capture_s": time_s})
                for number, time_s in enumerate(times_s)
            ),
            **options,
        )
        for name, times_s in captures_s.items()
    ]
    links = [Link(satellite=name, station="G", follows=folder / "pass.csv") for name in "AB"]
    stations = [GroundStation(name="G", **options)]
    return Scenario(
        name="faulty", satellites=satellites, stations=stations, links=links, speed=SPEED, faults=FAULTS
    )


def test_a_scenario_s_faults_happen_end_and_are_told(tmp_path: Path) -> None:
    with Footprint() as footprint:
        outcome = run_scenario(scenario(tmp_path), tmp_path / "runs")
        assert footprint.left_behind() == {}
    results, folder = outcome.results, outcome.folder
    assert results is not None
    cut, _, flips, lost = results.faults
    assert [(f.what, f.at_s, f.until_s) for f in results.faults] == [
        (f.what, f.at_s, f.until_s) for f in FAULTS
    ]

    # What the lost satellite should have captured is missing, and everything else comes down.
    assert lost.unanswered == ("A1",)
    assert {f.frame for f in results.frames if not f.answered} == {"A1"}
    (cause,) = results.verdict.causes
    assert "fault: satellite lost; it was not captured" in cause.line()
    starts = {name: (folder.logs / f"{name}-tells.log").read_text().count("here") for name in "ab"}
    assert starts == {"a": 2, "b": 1}, "programs on a lost satellite end and start with it"
    assert cut.frames == ("A0",) and cut.unanswered == ()

    # The damaged model answers otherwise, and only from then on.
    assert flips.frames == ("B1",) and "bit" in flips.effect
    records = [EventRecord.from_line(line) for line in folder.events.read_text().splitlines()]
    assert sum(isinstance(record.event, FaultBegan) for record in records) == len(FAULTS)
    assert sum(isinstance(record.event, FaultEnded) for record in records) == len(FAULTS) - 1
    sure = {
        record.event.frame: record.event.confidence
        for record in records
        if isinstance(record.event, InferenceFinished) and record.node != "G"
    }
    assert sure["A0"] == sure["B0"] != sure["B1"]

    # A link is compared with what was asked of it, faults and all.
    played = read_trace(folder.traces / "a-g.csv")
    assert [played.row_at(s).down_bit_s for s in (6, 8, 17)] == [1e6, 0.25e6, 1e6]
    assert [(c.aos_s, c.los_s) for c in played.contacts()] == [(0, 2), (6, 18), (20, 28)]
    link = next(link for link in results.links if link.link == "A - G")
    rates_bit_s = {round(one.requested) for one in link.down_rate}
    assert {1_000_000, 250_000} <= rates_bit_s  # a train of packets may have met both
    assert "bit flips in weights" in folder.report.read_text()
