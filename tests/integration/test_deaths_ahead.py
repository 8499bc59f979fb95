"""At speed 20: a broker dies during a handover, and a satellite in a transfer; every image arrives once."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from nodes.contract.events import Answered, EventRecord, PathChanged, Received
from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT
from testbed import (
    GroundStation,
    Link,
    MissionControl,
    Satellite,
    Scenario,
    TerrestrialLink,
    read_frames,
    run_scenario,
)
from testbed.run.progress import Progress
from tests.support.footprint import Footprint
from tests.support.injected_run import processes_of
from tests.support.made_up_profile import MADE_UP

pytestmark = pytest.mark.root
SPEED = 20
HANDOVER_S, END_S = 10.0, 250.0
CAPTURES_S = range(1, 9)
TRACE = """# spaceverse-trace 2
# satellite: S
# station: {station}
# start_utc: 2018-01-20T00:00:00Z
# end_s: {end_s}
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
{rows}"""
STATE = "{},1,400000.0,250000.0,0.02,0.02,0.0,0.0\n"
GONE = "{},0,0.0,0.0,0.0,0.0,0.0,0.0\n"


def scenario(folder: Path) -> Scenario:
    """Return a satellite that goes from station A to B while images are on their way to mission control."""
    rows = {
        "A": STATE.format(0.0) + GONE.format(HANDOVER_S),
        "B": GONE.format(0.0) + STATE.format(HANDOVER_S - 5) + GONE.format(END_S),
    }
    for station, own in rows.items():
        text = TRACE.format(station=station, end_s=END_S + 1, rows=own)
        (folder / f"{station}.csv").write_text(text)
    stages = {
        name: {"p50_s": s, "p95_s": s, "count": 1}
        for name, s in (("preprocess", 0.5), ("vision", 2.0), ("prefill", 1.0), ("decode", 0.0))
    }
    (folder / "profile.json").write_text(json.dumps(MADE_UP | {"stages": MADE_UP["stages"] | stages}))
    node = {"model": str(COMPACT), "profile": folder / "profile.json"}
    return Scenario(
        name="deaths-ahead",
        satellites=(
            Satellite(name="S", policy="ground-only", frames=read_frames(FIRST_LIGHT, CAPTURES_S), **node),
        ),
        stations=(GroundStation(name="A"), GroundStation(name="B")),
        links=tuple(Link(satellite="S", station=name, follows=folder / f"{name}.csv") for name in rows),
        mission_control=MissionControl(
            name="M", links=tuple(TerrestrialLink(station=name, delay_s=0.01) for name in rows), **node
        ),
        speed=SPEED,
        probe=False,
    )


class Killer(Progress):
    """Kills mission control's broker when the route goes over B, and the satellite an image later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.killed: list[str] = []

    def event(self, record: EventRecord) -> None:
        super().event(record)
        event = record.event
        if isinstance(event, PathChanged) and "B" in event.path and not self.killed:
            self._kill("logs/m-broker.conf")
        elif isinstance(event, Received) and len(self.killed) == 1:
            self._kill("nodes/s/config.json")

    def _kill(self, config: str) -> None:
        (path,) = self._folder.glob(f"runs/*/{config}")
        for pid in processes_of(path):
            os.kill(pid, signal.SIGKILL)
        self.killed.append(config)


def test_every_image_arrives_once_whoever_is_killed_at_speed_20(tmp_path: Path) -> None:
    killer = Killer(tmp_path)
    with Footprint() as footprint:
        outcome = run_scenario(scenario(tmp_path), tmp_path / "runs", killer)
        assert footprint.left_behind() == {}
    assert len(killer.killed) == 2
    results = outcome.results
    assert results is not None
    assert [frame.answered for frame in results.frames] == [True] * len(CAPTURES_S)
    records = [EventRecord.from_line(line) for line in outcome.folder.events.read_text().splitlines()]
    for kind in (Received, Answered):
        times = Counter(record.event.frame for record in records if isinstance(record.event, kind))
        assert set(times.values()) == {1} and len(times) == len(CAPTURES_S), kind.__name__
    assert {broker.broker: broker.restarts for broker in results.brokers}["m-broker"] == 1
    assert "S" in results.absences
