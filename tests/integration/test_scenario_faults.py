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
# end_s: 48.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,1,1000000.0,250000.0,0.006,0.006,0.0,0.0
46.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""
FAULTS = (
    SatelliteLost(at_s=4, until_s=6, target="A"),
    BitFlips(at_s=4, target="B", flips=2000, seed=3),
    LinkCut(at_s=26, until_s=31, target="A - G"),  # by then both have started again, on a busy machine, too
    RateDegraded(at_s=32, until_s=45, target="A - G", factor=0.25),
)


def scenario(folder: Path) -> Scenario:
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    (folder / "pass.csv").write_text(TRACE)
    options = {"model": str(COMPACT), "profile": folder / "profile.json"}
    frames = read_frames(FIRST_LIGHT, (1, 5, 27))
    satellites = [
        Satellite(
            name=name,
            accept_confidence=1.0,
            frames=tuple(f.model_copy(update={"frame": f"{name}{n}"}) for n, f in enumerate(frames)),
            **options,
        )
        for name in "AB"
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
    lost, flips, cut, _ = results.faults
    assert [(f.what, f.at_s, f.until_s) for f in results.faults] == [
        (f.what, f.at_s, f.until_s) for f in FAULTS
    ]

    # What the lost satellite should have captured is missing, and everything else comes down.
    assert lost.unanswered == ("A1",)
    assert {f.frame for f in results.frames if not f.answered} == {"A1"}
    (cause,) = results.verdict.causes
    assert "fault: satellite lost; it was not captured" in cause.line()
    assert cut.frames == ("A2",) and cut.unanswered == ()

    # The damaged model answers otherwise, and only on its satellite.
    assert set(flips.frames) <= {"B1", "B2"} and flips.frames and "bit" in flips.effect
    records = [EventRecord.from_line(line) for line in folder.events.read_text().splitlines()]
    assert sum(isinstance(record.event, FaultBegan) for record in records) == len(FAULTS)
    assert sum(isinstance(record.event, FaultEnded) for record in records) == len(FAULTS) - 1
    looked = {
        (record.node, record.event.frame): record.event.confidence
        for record in records
        if isinstance(record.event, InferenceFinished) and record.node != "G"
    }
    assert looked["A", "A0"] == looked["B", "B0"]
    assert looked["A", "A2"] != looked["B", "B2"]

    # A link is compared with what was asked of it, faults and all.
    played = read_trace(folder.traces / "a-g.csv")
    assert [played.row_at(s).down_bit_s for s in (31, 33, 45)] == [1e6, 0.25e6, 1e6]
    assert [(c.aos_s, c.los_s) for c in played.contacts()] == [(0, 4), (6, 26), (31, 46)]
    link = next(link for link in results.links if link.link == "A - G")
    rates_bit_s = {round(one.requested) for one in link.down_rate}
    assert rates_bit_s == {1_000_000, 250_000}
    assert "bit flips in weights" in folder.report.read_text()
