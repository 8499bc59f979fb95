"""Mission control in a scenario: what is refused, and what follows from it for links, routes and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from nodes.contract.config import GroundConfig, SatelliteConfig
from testbed.errors import InputError, ScenarioError
from testbed.run.folder import RunFolder
from testbed.run.plan import RunPlan
from testbed.run.routed.routing import routing_of
from testbed.scenario.file import load_scenario
from testbed.scenario.model import (
    Frame,
    GroundStation,
    Link,
    MissionControl,
    Satellite,
    Scenario,
    TerrestrialLink,
    one_line,
    to_json,
)
from tests.support.network.contacts import contact_trace
from traces.trace import Trace
from traces.trace_file import write_trace

TRACES = {"S - Svalbard": contact_trace((10, 40)), "S - Tromso": contact_trace((30, 60), rate_bit_s=3e6)}


def make(tmp_path: Path, **changes: Any) -> Scenario:
    image = tmp_path / "f1.jpg"
    Image.new("RGB", (8, 8)).save(image)
    for name, trace in TRACES.items():
        write_trace(trace, tmp_path / f"{name}.csv")
    frame = Frame(frame="f1", image=image, prompt="is there water?", truth="yes", capture_s=1)
    parts: dict[str, Any] = {
        "name": "tiny",
        "satellites": (Satellite(name="S", model="compact", frames=(frame,)),),
        "stations": (GroundStation(name="Svalbard"), GroundStation(name="Tromso")),
        "links": tuple(
            Link(satellite="S", station=name.removeprefix("S - "), follows=tmp_path / f"{name}.csv")
            for name in TRACES
        ),
        "mission_control": MissionControl(model="regular", place="59.91,10.75,20"),
    }
    return Scenario.model_validate({**parts, **changes})


def plan_of(scenario: Scenario, tmp_path: Path, traces: Mapping[str, Trace] = TRACES) -> RunPlan:
    return RunPlan(scenario, traces, RunFolder(tmp_path / "run"), Path("/tmp/s"))  # noqa: S108


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mission_control": None}, "station without a model, and there is no mission_control"),
        ({"mission_control": {"place": "0,0,0"}}, "Mission control needs a model"),
        ({"mission_control": {"model": "m", "name": "svalbard"}}, "differ only in case"),
        (
            {"mission_control": {"model": "m", "links": ({"station": "Kiruna", "delay_s": 0.1},)}},
            "Mission control has a link to unknown station 'Kiruna'",
        ),
    ],
)
def test_a_mission_control_that_cannot_work_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        make(tmp_path, **changes)
    assert message in one_line(caught.value)


def test_a_board_is_not_routed(tmp_path: Path) -> None:
    flying = make(tmp_path).satellites[0].model_copy(update={"board": "jetson"})
    only = make(tmp_path).links[:1]
    with pytest.raises(ValidationError, match="'S' is a board, which routes no packets to Mission control"):
        make(tmp_path, satellites=(flying,), links=only)


def test_a_scenario_with_mission_control_round_trips_through_json(tmp_path: Path) -> None:
    scenario = make(tmp_path, routes="data")
    path = tmp_path / "scenario.json"
    path.write_text(to_json(scenario))
    assert load_scenario(path) == scenario


def test_delays_on_the_ground_follow_from_the_places_unless_they_are_given(tmp_path: Path) -> None:
    control = MissionControl(
        model="regular",
        place="59.91,10.75,20",
        rate_bit_s=2e8,
        links=(TerrestrialLink(station="Tromso", delay_s=0.5),),
    )
    routing = routing_of(make(tmp_path, mission_control=control), TRACES)
    assert routing is not None
    far, given = (routing.earth_traces[f"{name} - Mission control"] for name in ("Svalbard", "Tromso"))
    assert far.row_at(0).down_delay_s == pytest.approx(0.0153, rel=0.01)
    assert (far.row_at(0).up_bit_s, given.row_at(0).up_bit_s) == (2e8, 1e9)
    assert given.row_at(0).down_delay_s == 0.5
    assert far.end_s == 100


def test_a_place_that_nobody_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"link between Svalbard and Mission control: .* set place"):
        routing_of(make(tmp_path, mission_control=MissionControl(model="regular")), TRACES)


def test_a_satellite_has_one_station_that_is_in_contact_while_a_route_leads_there(tmp_path: Path) -> None:
    plan = plan_of(make(tmp_path), tmp_path)
    configs = plan.node_configs()
    assert list(configs) == ["S", "Mission control"]
    (station,) = SatelliteConfig.model_validate(configs["S"]).stations
    assert (station.name, station.routed, station.interface) == ("Mission control", True, None)
    assert plan.broker_addresses("Mission control") == [station.host]
    assert station.plan is not None
    assert [(row.time_s, row.up) for row in station.plan.rows if row.time_s in (0, 10, 60)] == [
        (0, False),
        (10, True),
        (60, False),
    ]
    GroundConfig.model_validate(configs["Mission control"])
    assert plan.host_names == ["S", "Svalbard", "Tromso", "Mission control"]
    addresses = {plan.address(link, ground=end) for link in plan.scenario.network_links for end in (0, 1)}
    assert len(addresses) == 8


def test_a_station_with_a_model_is_preferred_to_mission_control(tmp_path: Path) -> None:
    stations = (GroundStation(name="Svalbard"), GroundStation(name="Tromso", model="regular"))
    plan = plan_of(make(tmp_path, stations=stations), tmp_path)
    satellite = SatelliteConfig.model_validate(plan.node_configs()["S"])
    assert [(station.name, station.routed) for station in satellite.stations] == [
        ("Tromso", False),
        ("Mission control", True),
    ]


def test_a_function_of_ones_own_chooses_the_routes(tmp_path: Path) -> None:
    file = tmp_path / "longest.py"
    file.write_text(
        "from testbed.network.routes.choice import shortest_delay\n"
        "def choose(links, root):\n"
        "    return shortest_delay([link for link in links if 'Svalbard' not in link.ends], root)\n"
    )
    scenario = make(tmp_path, routes=str(file))
    routing = routing_of(scenario, TRACES)
    assert routing is not None
    assert routing.schedule.path("S", 35) == ("S", "Tromso", "Mission control")
    assert routing.schedule.path("S", 20) == ()
    path = tmp_path / "scenario.json"
    path.write_text(to_json(scenario))
    with pytest.raises(ScenarioError, match=r"longest\.py is a program, which the run would execute"):
        load_scenario(path)
    assert load_scenario(path, allow_code=True) == scenario


def test_a_choice_of_routes_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="routes"):
        make(tmp_path, routes="shortest")
    for text, said in (
        (None, "or the path of a Python file"),
        ("1/0", "cannot be used: ZeroDivisionError"),
        ("", "no function"),
        ("def choose(links, root): return links[0]", "failed: TypeError"),
    ):
        file = tmp_path / f"{len(said)}.py"
        if text is not None:
            file.write_text(text)
        with pytest.raises(InputError, match=said):
            routing_of(make(tmp_path, routes=str(file)), TRACES)
