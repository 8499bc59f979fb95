"""What the page is told of a scenario: orbits, places and contacts, and None for what is not known."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

from testbed.live.description import STEPS_MAX, Flight, description, requested
from testbed.run.traces import link_traces, orbits_of, places_of
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Orbit, Scenario
from tests.support import ROOT
from traces.orbits.element_set import model_of
from traces.trace import Trace


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(ROOT / "topologies/dove_pass.py")


@pytest.fixture(scope="module")
def flight(scenario: Scenario) -> Flight:
    return Flight(link_traces(scenario), orbits_of(scenario), places_of(scenario))


def test_a_run_of_an_orbit_is_told_whole(scenario: Scenario, flight: Flight) -> None:
    told = json.loads(json.dumps(description(scenario, flight), allow_nan=False))
    assert told["start_utc"] == "2018-01-20T14:37:47Z" and told["end_s"] == 180
    (satellite,), (station,), (link,) = told["satellites"], told["stations"], told["links"]
    assert satellite["name"] == "FLOCK 2P-1" and satellite["slug"] == "flock-2p-1"
    assert station["place"]["latitude_deg"] == pytest.approx(78.2, abs=0.1) and station["mask_deg"] == 30
    assert link["ends"] == ["FLOCK 2P-1", "Svalbard"] and link["kind"] == "contact"
    ((aos_s, los_s),) = link["contacts"]
    assert aos_s == pytest.approx(22.7, abs=0.1) and los_s > 100
    assert len(told["frames"]) == 16
    assert set(told["frames"][0]) == {"frame", "satellite", "prompt", "truth", "kind", "capture_s"}


def test_the_elements_of_the_page_are_those_of_the_trace(scenario: Scenario, flight: Flight) -> None:
    told = description(scenario, flight)["satellites"][0]["orbit"]
    follows = scenario.links[0].follows
    assert isinstance(follows, Orbit)
    moment = follows.start + timedelta(seconds=60)
    day = moment.toordinal() + 1721424.5
    share = (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86400
    own = flight.orbits["FLOCK 2P-1"].model()
    _, position_km, _ = own.sgp4(day, share)
    _, told_km, _ = model_of(told).sgp4(day, share)
    assert told_km == pytest.approx(position_km, abs=0.01)


def test_what_is_not_known_is_none(scenario: Scenario, flight: Flight) -> None:
    told = description(scenario, Flight(flight.traces, {}, {}))
    assert told["satellites"][0]["orbit"] is None
    assert told["stations"][0]["place"] is None


def test_elements_whose_file_is_gone_are_not_known(scenario: Scenario) -> None:
    link = scenario.links[0]
    assert isinstance(link.follows, Orbit)
    gone = link.follows.model_copy(update={"elements": ROOT / "gone.tle"})
    changed = scenario.model_copy(update={"links": (link.model_copy(update={"follows": gone}),)})
    assert orbits_of(changed) == {}


def test_a_long_trace_is_thinned(flight: Flight) -> None:
    trace = next(iter(flight.traces.values()))
    assert requested(trace)["time_s"] == trace.time_s.tolist()
    time_s = np.arange(3 * STEPS_MAX, dtype=float)
    up = (time_s < 100) | (time_s >= 200)
    zero, rate = time_s * 0, up * 1e6
    long = Trace(trace.header, time_s, up, up, rate, rate, zero, zero, zero, zero, time_s[-1] + 1)
    columns = requested(long)
    assert {len(column) for column in columns.values()} <= set(range(STEPS_MAX, STEPS_MAX + 3))
    assert columns["down_bit_s"][columns["time_s"].index(100)] == 0
    assert columns["down_bit_s"][columns["time_s"].index(200)] == 1e6
