"""A 6U leaves eclipse with too little charge: inference stops at the floor and resumes in sunlight."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.contract.events import EventRecord, InferenceFinished, InferenceStarted, PowerState, TimeJumped
from testbed import SolarPanel, load_scenario, part_of, run_scenario
from tests.support import ROOT
from tests.support.short_run import with_kept_answers
from traces import FLOCK_TLE, eclipses, find_satellite, read_elements

pytestmark = [pytest.mark.root]
BEGIN_S, END_S = 1500.0, 1665.0  # of the day: an eclipse ends after 81 s, a contact lasts from 17 to 155 s
CAPTURES_S = (1.0, 30.0, 60.0, 120.0)


def test_inference_stops_at_the_floor_and_resumes_in_sunlight(tmp_path: Path) -> None:
    day = load_scenario(ROOT / "topologies/six_u_day.py")
    part = with_kept_answers(part_of(day, BEGIN_S, END_S))
    satellite = part.satellites[0]
    assert satellite.power is not None
    power = satellite.power.model_copy(
        update={
            "panels": (SolarPanel(area_m2=0.145),),  # they turn to the sun, and charge at once
            "first_charge": 0.6003,  # 93 J above the floor: 8 s without work
            "resume_margin": 0.001,
        }
    )
    frames = tuple(
        frame.model_copy(update={"frame": f"image-{number}", "capture_s": time_s})
        for number, (frame, time_s) in enumerate(
            zip(day.satellites[0].frames, CAPTURES_S, strict=False), start=1
        )
    )
    satellite = satellite.model_copy(update={"power": power, "frames": frames})
    changes = {"satellites": (satellite,), "probe": False}
    outcome = run_scenario(part.model_copy(update=changes), tmp_path)

    assert outcome.results.answered == len(frames), outcome.results.verdict
    lines = outcome.folder.events.read_text(encoding="utf-8").splitlines()
    records = [EventRecord.from_line(line) for line in lines]
    own = [record for record in records if record.node == satellite.name]
    states = [record.event for record in own if isinstance(record.event, PowerState)]
    at_s = {cause: state.at_s for state in states for cause in state.causes if cause != "interval"}
    assert at_s["compute off"] < 10
    assert at_s["sunlight"] < at_s["compute on"] < at_s["sunlight"] + 40
    orbit = day.orbit_of(satellite.name)
    assert orbit is not None
    dove = find_satellite(read_elements(FLOCK_TLE), satellite.name, at_utc=orbit.start)
    ends_s = [end_s - BEGIN_S for _, end_s in eclipses(dove, orbit.start, 3000)]
    assert min(abs(at_s["sunlight"] - end_s) for end_s in ends_s) < 0.1
    # Between them nothing was computed but the stage that had begun, and time was skipped.
    computed_s = [
        record.time_s
        for record in own
        if isinstance(record.event, InferenceStarted | InferenceFinished) and record.node == satellite.name
    ]
    assert not [time_s for time_s in computed_s if at_s["compute off"] + 3 < time_s < at_s["compute on"]]
    started = {r.event.frame for r in own if isinstance(r.event, InferenceStarted)}
    assert started == {frame.frame for frame in frames}
    assert any(isinstance(record.event, TimeJumped) for record in records)

    (record,) = outcome.results.powers
    assert record.balance_error is not None and record.balance_error < 0.01
    assert record.time_s(lambda state: not state.compute) == pytest.approx(
        at_s["compute on"] - at_s["compute off"], abs=0.1
    )
    report = outcome.folder.report.read_text(encoding="utf-8")
    assert "Power and heat" in report and "min of eclipse" in report
