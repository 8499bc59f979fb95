"""Links between satellites in a scenario: what is refused, and the ways that they open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.contract.config import SatelliteConfig
from testbed.run.ceilings import PROBE_BYTES, needs_of
from testbed.run.offered_load import offered_load
from testbed.run.routed.routing import routing_of
from testbed.run.traces import link_traces
from testbed.scenario.file import load_scenario
from testbed.scenario.model import (
    GroundStation,
    InterSatelliteLink,
    Link,
    MissionControl,
    Orbit,
    Satellite,
    Scenario,
    Sight,
    one_line,
    to_json,
)
from tests.support.network.contacts import contact_trace
from tests.unit.testbed.run.routed.test_routing import make, plan_of
from traces.orbits.walker import parse_walker
from traces.trace_file import write_trace
from traces.utc import parse_utc

START = parse_utc("2018-01-20T00:00:00Z")
RING = "53:8/1/0@1000"


def pair(tmp_path: Path, **changes: Any) -> Scenario:
    """Two satellites, of which T has no station and sees S from 20 to 50 s."""
    write_trace(contact_trace((20, 50), delay_s=0.005, rate_bit_s=1e8), tmp_path / "isl.csv")
    base = make(tmp_path)
    frame = base.satellites[0].frames[0]
    other = Satellite(name="T", model="compact", frames=(frame.model_copy(update={"frame": "f2"}),))
    parts: dict[str, Any] = {
        "satellites": (*base.satellites, other),
        "links": base.links[:1],
        "stations": base.stations[:1],
        "crosslinks": (InterSatelliteLink(a="T", b="S", follows=tmp_path / "isl.csv"),),
    }
    return make(tmp_path, **parts | changes)


def test_a_satellite_without_a_station_goes_through_another_one(tmp_path: Path) -> None:
    scenario = pair(tmp_path)
    traces = link_traces(scenario)
    routing = routing_of(scenario, traces)
    assert routing is not None
    ways = [(stay.begin_s, stay.end_s, stay.path[1:-1]) for stay in routing.schedule.stays("T")]
    assert ways == [(0, 20, ()), (20, 40, ("S", "Svalbard")), (40, 100, ())]
    station = SatelliteConfig.model_validate(
        plan_of(scenario, tmp_path, traces).node_configs()["T"]
    ).stations[0]
    assert station.plan is not None
    assert {row.down_bit_s for row in station.plan.rows if row.up} == {1e6}  # of the slower link
    load = offered_load(scenario, traces)[1]
    assert load.endswith("the 2.5 MB that its links carry")


def test_a_scenario_with_crosslinks_round_trips_through_json(tmp_path: Path) -> None:
    walker = InterSatelliteLink(a="T", b="S", follows=Sight(elements=RING, start=START, length_s=60))
    scenario = pair(tmp_path, crosslinks=(walker,))
    path = tmp_path / "scenario.json"
    path.write_text(to_json(scenario))
    assert load_scenario(path) == scenario
    assert load_scenario(path).crosslinks[0].follows.elements == RING


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mission_control": None, "stations": ({"name": "Svalbard", "model": "m"},)}, "and there is none"),
        ({"crosslinks": ({"a": "T", "b": "U", "follows": "a.csv"},)}, "unknown satellite 'U'"),
        ({"crosslinks": ({"a": "T", "b": "T", "follows": "a.csv"},)}, "T - T joins a satellite with itself"),
        (
            {"crosslinks": tuple({"a": a, "b": b, "follows": "a.csv"} for a, b in ("ST", "TS"))},
            "T - S joins a satellite with itself, or the same two again",
        ),
        ({"crosslinks": ()}, "satellite without a link, so that no frame could arrive: T"),
    ],
)
def test_a_crosslink_that_cannot_work_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        pair(tmp_path, **changes)
    assert message in one_line(caught.value)


def test_crosslinks_follow_the_orbits_of_a_walker_constellation(tmp_path: Path) -> None:
    names = [one.name for one in parse_walker(RING, START)]
    base = pair(tmp_path)
    satellites = tuple(
        one.model_copy(update={"name": name}) for one, name in zip(base.satellites, names[:2], strict=True)
    )
    place = GroundStation(name="Anywhere", place="0,-119,0")  # below the first satellite
    follows = Orbit(elements=RING, start=START, length_s=600, elevation_mask_deg=0)
    limits = {"max_range_m": 6000e3, "rate_bit_s": 5e7}
    scenario = pair(
        tmp_path,
        satellites=satellites,
        stations=(place,),
        links=(Link(satellite=names[0], station="Anywhere", follows=follows),),
        crosslinks=(
            InterSatelliteLink(
                a=names[0], b=names[1], follows=Sight(elements=RING, start=START, length_s=600, **limits)
            ),
        ),
        mission_control=MissionControl(model="regular", place="0,-110,0"),
    )
    trace = link_traces(scenario)[f"{names[0]} - {names[1]}"]
    assert [(contact.aos_s, contact.los_s) for contact in trace.contacts()] == [(0, 600)]
    assert set(trace.down_bit_s.tolist()) == {5e7}
    # A chord of 45 degrees at 7378 km, one way at the speed of light.
    assert trace.row_at(0).down_delay_s == pytest.approx(0.01884, rel=0.01)


def test_ways_and_crosslinks_are_probed_but_limit_no_rate(tmp_path: Path) -> None:
    with_way = pair(tmp_path)
    traces = link_traces(with_way)
    needs = needs_of(with_way, traces)
    unprobed = needs_of(with_way.model_copy(update={"probe": False}), traces)
    assert needs.memory_bytes - unprobed.memory_bytes == 2 * PROBE_BYTES * (2 + 2)  # two links, two ways
    assert needs.rate_bit_s == 1e6  # of the link to the station; the crosslink has 100 Mbit/s
