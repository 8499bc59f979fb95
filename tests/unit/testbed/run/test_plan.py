"""What a run plans is what the nodes' programs accept."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nodes.contract.config import GroundConfig, LinkPlan, SatelliteConfig, read_config
from nodes.contract.topics import slug
from nodes.onboard.link_forecast import forecast
from testbed.errors import ScenarioError
from testbed.run.folder import RunFolder
from testbed.run.plan import RunPlan
from testbed.run.traces import link_trace
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Scenario
from tests.support import ROOT
from tests.support.one_way import one_way_trace


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    scenario = load_scenario(ROOT / "topologies/dove_pass.py")
    traces = {link.name: link_trace(scenario, link) for link in scenario.links}
    return RunPlan(scenario, traces, RunFolder.create(tmp_path, scenario.name), Path("/tmp/s"))  # noqa: S108


def test_the_nodes_read_the_configurations_that_a_plan_writes(plan: RunPlan) -> None:
    plan.write_inputs()
    satellite = read_config(SatelliteConfig, plan.config_path("FLOCK 2P-1"))
    ground = read_config(GroundConfig, plan.config_path("Svalbard"))
    assert satellite.management.unix_socket == ground.management.unix_socket == plan.management_socket
    assert satellite.management.access != ground.management.access
    assert plan.config_path("Svalbard").stat().st_mode & 0o777 == 0o600
    assert satellite.stations[0].host == plan.address(plan.scenario.links[0], ground=True)
    assert [f.capture_s for f in satellite.frames] == [
        f.capture_s for f in plan.scenario.satellites[0].frames
    ]
    assert satellite.rate_bit_s == 30e3
    (trace,) = plan.traces.values()
    planned = satellite.stations[0].plan
    assert planned is not None
    assert forecast(planned).contacts == [(contact.aos_s, contact.los_s) for contact in trace.contacts()]


def test_a_forecast_has_contact_while_a_carrier_is_there_and_bits_while_both_directions_are_up(
    plan: RunPlan,
) -> None:
    (name,) = plan.traces
    apart = replace(plan, traces={name: one_way_trace(rate_bit_s=4e6)})
    config = apart.node_configs()["FLOCK 2P-1"]
    planned = LinkPlan.model_validate(config["stations"][0]["plan"])
    assert forecast(planned).contacts == [(0, 30)]
    assert forecast(planned).bits_between(0, 40) == 10 * 4e6
    assert forecast(planned).finish_s(0.0, 1e6) == 2.0
    assert forecast(planned).finish_s(15.0, 1e6) is None
    assert config["rate_bit_s"] == 4e6


def test_a_policy_is_passed_on_with_what_it_needs(plan: RunPlan, tmp_path: Path) -> None:
    for given in ({"accept_at_end": 0.5}, tmp_path / "policies.json"):
        flying = plan.scenario.satellites[0].model_copy(
            update={
                "policy": "spaceverse",
                "policy_parameters": given,
                "accept_confidence": None,
                "confidence": tmp_path,
            }
        )
        scenario = plan.scenario.model_copy(update={"satellites": (flying,)})
        config = replace(plan, scenario=scenario).node_configs()["FLOCK 2P-1"]
        satellite = SatelliteConfig.model_validate_json(json.dumps(config))
        assert (satellite.policy, satellite.parameters) == ("spaceverse", given)
        assert satellite.confidence == tmp_path


def test_the_truth_stays_with_the_run(plan: RunPlan) -> None:
    for config in plan.node_configs().values():
        assert "'truth'" not in str(config)


def test_the_default_pass_has_its_contact_where_the_script_says(plan: RunPlan) -> None:
    (trace,) = plan.traces.values()
    (contact,) = trace.contacts()
    assert contact.aos_s == pytest.approx(22.7, abs=0.1)
    assert contact.los_s == pytest.approx(176.1, abs=0.1)


def test_slugs_are_file_names() -> None:
    assert slug("FLOCK 2P-1 - Svalbard") == "flock-2p-1-svalbard"


def test_a_satellite_of_two_stations_has_an_account_at_each_and_one_inbox(tmp_path: Path) -> None:
    scenario = load_scenario(ROOT / "topologies/two_stations.py").model_copy(update={"tls": True})
    traces = {link.name: link_trace(scenario, link) for link in scenario.links}
    plan = RunPlan(scenario, traces, RunFolder.create(tmp_path, scenario.name), Path("/tmp/s"))  # noqa: S108
    plan.write_inputs()
    satellite = read_config(SatelliteConfig, plan.config_path("FLOCK 2P-1"))
    grounds = [read_config(GroundConfig, plan.config_path(name)) for name in ("Svalbard", "Tromso")]
    assert [s.name for s in satellite.stations] == ["Svalbard", "Tromso"]
    assert len({s.host for s in satellite.stations}) == len({s.interface for s in satellite.stations}) == 2
    passwords = [node.access.password for node in (*satellite.stations, *(g.broker for g in grounds))]  # type: ignore[union-attr]
    assert len(set(passwords)) == 4
    assert {s.ca_file for s in satellite.stations} == {plan.certificates / "ca.pem"}
    assert {g.inbox for g in grounds} == {plan.inbox}
    commands = [plan.probe_command(link, ground=False) for link in scenario.links]
    ports = {command[command.index("--port") + 1] for command in commands}
    assert len(ports) == 2, "two probes of one host need a port each"


@pytest.mark.parametrize(
    ("satellites", "stations", "words"),
    [
        (["S"], ["Management"], "station 'Management' and the run's management broker would share"),
        (["S"], ["G", "G model"], "'G model' and the model of station 'G' would share g-model"),
        (
            ["S"],
            ["G", "G-Broker"],
            "the broker of station 'G' would share g-broker.log",
        ),
        (["G (broker)"], ["G"], "would share g-broker.log"),
        (["S"], ["Models"], "station 'Models' and the process of the models would share models.log"),
        (["Drawings"], ["G"], "would share drawings.log"),
        (["S", "S G probe"], ["G"], "would share s-g-probe.log"),
        (["A", "A B"], ["C", "B C"], "link 'A B - C' and link 'A - B C' would share a-b-c.csv"),
        (["Run"], ["G"], "'Run' is the name of the run itself"),
        (["S"], ["run"], "'run' is the name of the run itself"),
        (["\u2121" * 64], ["G"], "has more than 64 letters"),
    ],
)
def test_no_node_has_the_name_of_another_part_of_the_run(
    tmp_path: Path, satellites: list[str], stations: list[str], words: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        planned(tmp_path, satellites, stations)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["../../etc", "..", "a/b", "$(reboot)", "'; x", "-rf", "Alpha One express"])
def test_a_name_stays_inside_the_folder_of_the_run(tmp_path: Path, name: str) -> None:
    plan = planned(tmp_path, [name, "Alpha One"], ["RUN.boards"])
    for path in (plan.log_path(name), plan.config_path(name), plan.trace_path(plan.scenario.links[0])):
        assert path.resolve().is_relative_to(plan.folder.path.resolve())
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", path.name)


def planned(folder: Path, satellites: list[str], stations: list[str]) -> RunPlan:
    """Return the plan of a scenario with these nodes and every link between them."""
    frame = {"image": "f.png", "prompt": "?", "truth": "1", "capture_s": 0}
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "satellites": [
                {"name": name, "model": "m", "frames": [frame | {"frame": f"f{number}"}]}
                for number, name in enumerate(satellites)
            ],
            "stations": [{"name": name, "model": "m"} for name in stations],
            "links": [
                {"satellite": one, "station": other, "follows": "t.csv"}
                for one in satellites
                for other in stations
            ],
        }
    )
    return RunPlan(scenario, {}, RunFolder(folder / "run"), folder / "sockets")
