"""Faults of programs: who is paused, lost and started again, when, and with which configuration."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodes.contract.config import SatelliteConfig, read_config
from nodes.contract.events import Event, FaultBegan
from nodes.models import COMPACT
from testbed.errors import ScenarioError
from testbed.run.faults.played import RunFaults
from testbed.run.folder import RunFolder
from testbed.run.plan import RunPlan
from testbed.run.traces import link_trace, played_traces
from testbed.scenario.faults import BitFlips, LinkCut, SatelliteLost, StationDown
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Scenario
from tests.support import ROOT

SATELLITE = "FLOCK 2P-1"


class Node:
    """What is done to a program."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def pause(self, reason: str) -> None:
        self.done.append(f"paused: {reason}")

    def resume(self) -> None:
        self.done.append("resumed")

    def lose(self, reason: str) -> None:
        self.done.append(f"lost: {reason}")


class OwnPrograms:
    """What is done to the user's own programs."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def lose(self, node: str) -> None:
        self.done.append(f"{node} lost")

    def resume(self, node: str) -> None:
        self.done.append(f"{node} resumed")


class Flight:
    """A run's plan with faults, its programs, and what is told."""

    def __init__(self, folder: Path, *faults: Any) -> None:
        whole = load_scenario(ROOT / "topologies/dove_pass.py")
        scenario = Scenario.model_validate(dict(whole) | {"faults": faults})
        traces = {link.name: link_trace(scenario, link) for link in scenario.links}
        self.plan = RunPlan(scenario, traces, RunFolder.create(folder, "faulty"), Path("/tmp/s"))  # noqa: S108
        self.plan.write_inputs()
        self.nodes = {SATELLITE: Node(), "Svalbard": Node()}
        self.told: list[tuple[float, Event]] = []
        self.own_programs = OwnPrograms()
        self.faults = RunFaults(self.plan, self.nodes, self.own_programs, self._tell)  # type: ignore[arg-type]

    def _tell(self, event: Event, time_s: float) -> None:
        self.told.append((time_s, event))

    def config(self) -> SatelliteConfig:
        return read_config(SatelliteConfig, self.plan.config_path(SATELLITE))


def test_a_lost_satellite_comes_back_without_the_frames_that_it_did_not_capture(tmp_path: Path) -> None:
    flight = Flight(tmp_path, SatelliteLost(at_s=20, until_s=60, target=SATELLITE))
    frames = flight.config().frames
    assert flight.faults.next_s == 20
    flight.faults.look(19.9)
    assert flight.told == []
    flight.faults.look(20.01)
    assert flight.nodes[SATELLITE].done == ["paused: fault: satellite lost"]
    assert [(time_s, event.event_name) for time_s, event in flight.told] == [(20, "fault_began")]
    missed = {frame.frame for frame in frames if 20 <= frame.capture_s < 60}
    assert flight.faults.missed == missed and 0 < len(missed) < len(frames)
    flight.faults.look(61)
    assert flight.nodes[SATELLITE].done[1:] == ["resumed"]
    assert flight.own_programs.done == [f"{SATELLITE} lost", f"{SATELLITE} resumed"]
    assert flight.faults.next_s == 60, "no jump before the run knows that the program starts again"
    flight.faults.look(61)
    assert flight.faults.next_s == math.inf
    assert [f.frame for f in flight.config().frames] == [f.frame for f in frames if f.frame not in missed]


def test_what_never_ends_is_given_up_and_links_need_no_program(tmp_path: Path) -> None:
    flight = Flight(
        tmp_path,
        StationDown(at_s=5, target="Svalbard"),
        LinkCut(at_s=1, until_s=2, target=f"{SATELLITE} - Svalbard"),
    )
    flight.faults.look(100)
    assert [(time_s, event.event_name) for time_s, event in flight.told] == [
        (1, "fault_began"),
        (2, "fault_ended"),
        (5, "fault_began"),
    ]
    assert flight.nodes["Svalbard"].done == ["lost: fault: station down"]
    assert flight.nodes[SATELLITE].done == []


def test_flipped_bits_are_loaded_from_a_copy_and_sound_ones_at_the_end(tmp_path: Path) -> None:
    flight = Flight(tmp_path, BitFlips(at_s=5, until_s=9, target=SATELLITE, flips=9, seed=1))
    flight.faults.prepare()
    sound = flight.config()
    flight.faults.look(6)
    damaged = flight.config()
    assert damaged.damaged_from == str(COMPACT) and Path(damaged.model).is_relative_to(
        flight.plan.folder.path
    )
    assert damaged.model_copy(update={"model": sound.model, "damaged_from": None}) == sound
    ((_, began),) = flight.told
    assert isinstance(began, FaultBegan)
    assert began.effect.startswith("9 bits of its weights, seed 1: ") and began.effect.endswith(
        "; and 1 more"
    )
    header = (Path(damaged.model) / "model.safetensors").read_bytes()[8:]
    flips = json.loads(json.JSONDecoder().raw_decode(header.decode("latin-1"))[0]["__metadata__"]["damage"])
    assert all(flip in began.effect for flip in flips[:8])
    flight.faults.look(10)
    assert flight.config() == sound
    done = flight.nodes[SATELLITE].done
    assert [what.partition(":")[0] for what in done] == ["paused", "resumed", "paused", "resumed"]


def test_a_restart_for_another_reason_does_not_bring_missed_frames_back(tmp_path: Path) -> None:
    flight = Flight(
        tmp_path,
        SatelliteLost(at_s=20, until_s=60, target=SATELLITE),
        BitFlips(at_s=70, target=SATELLITE, flips=1),
    )
    flight.faults.prepare()
    flight.faults.look(75)
    config = flight.config()
    assert config.damaged_from is not None
    assert flight.faults.missed and flight.faults.missed.isdisjoint(f.frame for f in config.frames)


def test_satellites_do_not_foresee_faults(tmp_path: Path) -> None:
    flight = Flight(tmp_path, LinkCut(at_s=1, target=f"{SATELLITE} - Svalbard"))
    faulty = replace(
        flight.plan,
        traces=played_traces(flight.plan.scenario, flight.plan.traces),
        foreseen=flight.plan.traces,
    )
    (seen,), (planned,) = (plan.node_configs()[SATELLITE]["stations"] for plan in (faulty, flight.plan))
    assert seen["plan"] == planned["plan"]
    assert faulty.network_traces != flight.plan.network_traces


def test_weights_that_cannot_be_copied_end_the_run_before_it_begins(tmp_path: Path) -> None:
    flight = Flight(tmp_path, BitFlips(at_s=5, target=SATELLITE, flips=1))
    (flight.plan.folder.path / "faults").write_text("in the way")
    with pytest.raises(ScenarioError, match=f"bit flips in the weights of {SATELLITE}: "):
        flight.faults.prepare()


def test_links_on_the_ground_and_mission_control_fail_too(tmp_path: Path) -> None:
    whole = load_scenario(ROOT / "topologies/handover.py")
    control, station = whole.mission_control, whole.stations[0].name
    assert control is not None
    link = f"{station} - {control.name}"
    faults = (
        LinkCut(at_s=5, until_s=9, target=link),
        StationDown(at_s=12, until_s=14, target=control.name),
        StationDown(at_s=16, until_s=18, target=station),
    )
    scenario = Scenario.model_validate(dict(whole) | {"faults": faults})
    traces = {one.name: link_trace(scenario, one) for one in scenario.links}
    plan = RunPlan(scenario, traces, RunFolder.create(tmp_path, "faulty"), Path("/tmp/s"))  # noqa: S108
    contacts = {name: [(c.aos_s, c.los_s) for c in t.contacts()] for name, t in plan.network_traces.items()}
    assert contacts[link][:3] == [(0, 5), (9, 12), (14, 16)] and contacts[link][3][0] == 18
    other = next(one.name for one in scenario.earth_links if one.name != link)
    assert contacts[other][0] == (0, 12) and contacts[other][1][0] == 14 and len(contacts[other]) == 2
    assert plan.routing is not None
    foreseen = plan.routing.earth_traces[link].contacts()
    assert len(foreseen) == 1, "the routes are computed without faults"
    assert {one.name for one in scenario.links} <= contacts.keys()
