"""Constellations by name, their links and captures, and the rate for a load."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nodes.data import FIRST_LIGHT
from testbed.errors import ScenarioError
from testbed.run.routed.routing import routing_of
from testbed.run.traces import link_traces
from testbed.scenario.capacity import carried_bytes
from testbed.scenario.constellation import Camera, Constellation
from testbed.scenario.model import MissionControl, Orbit, Scenario
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.passes import passes_over
from traces.orbits.stations import station
from traces.orbits.sun import sun_elevation_below
from traces.orbits.tle import FLOCK_TLE
from traces.utc import parse_utc

START = parse_utc("2018-01-20T08:00:00Z")
SKY = Constellation(
    elements=FLOCK_TLE,
    patterns=("flock 2p-1?",),
    stations=("Inuvik", "Svalbard", "Troll"),
    start=START,
    length_s=3600,
)
CAMERA = Camera(folder=FIRST_LIGHT, every_s=60, min_sun_deg=None)


def scenario(sky: Constellation = SKY, camera: Camera = CAMERA) -> Scenario:
    return Scenario(
        name="fleet",
        satellites=sky.satellites(camera, model="compact", policy="ground-only"),
        stations=sky.ground_stations(model="regular"),
        links=sky.links(),
    )


def test_satellites_are_those_that_match_and_see_a_station() -> None:
    assert set(SKY.names) <= {"FLOCK 2P-10", "FLOCK 2P-11", "FLOCK 2P-12"}
    assert replace(SKY, count=1).names == SKY.names[:1]


def test_there_is_a_link_for_each_pair_that_sees_each_other_and_no_other() -> None:
    links = {(link.satellite, link.station) for link in SKY.links()}
    elements = read_elements(FLOCK_TLE)
    for name in SKY.names:
        for place in SKY.stations:
            passes = passes_over(
                find_satellite(elements, name), station(place), START, 3600, elevation_mask_deg=5
            )
            assert bool(passes) == ((name, place) in links)
            if passes:
                assert [p.aos_s for p in SKY.passes()[name, place]] == pytest.approx(
                    [p.aos_s for p in passes]
                )
    of_one = [link.station for link in SKY.links() if link.satellite == SKY.names[0]]
    assert of_one == [place for place in SKY.stations if place in of_one], "in order of preference"


def test_the_parts_make_a_scenario_that_can_be_run() -> None:
    made = scenario()
    assert len(made.frames()) == 60 * len(SKY.names)
    assert all(satellite.policy == "ground-only" for satellite in made.satellites)
    assert {link.name for link in made.links} == set(link_traces(made))
    first, second = (satellite.frames for satellite in made.satellites[:2])
    assert first[0].image != second[0].image, "each satellite begins with another frame"
    assert [frame.capture_s for frame in first[:3]] == [0, 60, 120]
    assert first[0].image == first[len({frame.image for frame in first})].image, "and begins again"


def test_a_camera_works_by_daylight() -> None:
    name = SKY.names[0]
    by_day = SKY.captures_s(name, replace(CAMERA, min_sun_deg=20.0, every_s=30, first_s=15, until_s=3000))
    assert 0 < len(by_day) < 100 and min(by_day) >= 15 and max(by_day) < 3000
    elements = [find_satellite(read_elements(FLOCK_TLE), name)]
    every = np.arange(15.0, 3000.0, 30.0)
    elevation_deg = sun_elevation_below(elements, START, every)[0]
    assert by_day == list(every[elevation_deg >= 20.0])


def load_of(made: Scenario) -> float:
    """Return the size of all frames over what the links to stations carry."""
    traces = link_traces(made)
    offered = sum(frame.image.stat().st_size for frame in made.frames().values())
    carried = sum(
        carried_bytes(own, 0.0)
        for satellite in made.satellites
        if (own := [traces[link.name] for link in made.links if link.satellite == satellite.name])
    )
    return offered / carried


@pytest.mark.parametrize("load", [0.5, 1.4, 3.0])
def test_the_load_is_that_which_was_asked_for(load: float) -> None:
    assert load_of(scenario(SKY.at_load(load, CAMERA))) == pytest.approx(load, rel=0.01)


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no satellite of .* that matches IRIDIUM\* is seen by Inuvik"):
        replace(SKY, patterns=("IRIDIUM*",))
    with pytest.raises(ScenarioError, match="no ground station 'Atlantis'"):
        replace(SKY, stations=("Atlantis",))
    with pytest.raises(
        ScenarioError, match=r"a load of 1e-09 cannot be reached: the links carry .* MB at most"
    ):
        SKY.at_load(1e-9, CAMERA)
    for load in (0.0, -1.0, math.nan):
        with pytest.raises(ScenarioError, match="expected more than 0"):
            SKY.at_load(load, CAMERA)
    with pytest.raises(ScenarioError, match="captures nothing in 3600 s: the sun is below 89 degrees"):
        SKY.satellites(replace(CAMERA, min_sun_deg=89.0), model="m")
    with pytest.raises(ScenarioError, match="cannot read the prompts"):
        SKY.satellites(replace(CAMERA, folder=tmp_path), model="m")
    with pytest.raises(ScenarioError, match="every_s above 0"):
        replace(CAMERA, every_s=0)
    follows = SKY.links()[0].follows
    assert isinstance(follows, Orbit) and follows.length_s == 3600


def test_a_walker_ring_relays_over_the_links_between_neighbours() -> None:
    midnight = parse_utc("2018-01-20T00:00:00Z")
    ring = Constellation(
        elements="53:8/1/0@1000", patterns=("*",), stations=("Neustrelitz",), start=midnight, length_s=120,
        relayed=True,
    )  # fmt: skip
    assert len(ring.names) == 8 and len(ring.links()) < 8
    pairs = [link.ends for link in ring.crosslinks(max_range_m=6000e3)]
    assert len(pairs) == 8
    assert {end for pair in pairs for end in pair} == set(ring.names)
    made = Scenario(
        name="ring",
        satellites=ring.satellites(CAMERA, model="compact"),
        stations=ring.ground_stations(),
        links=ring.links(),
        crosslinks=ring.crosslinks(max_range_m=6000e3),
        mission_control=MissionControl(model="regular", place="52.5,13.4,40"),
    )
    routing = routing_of(made, link_traces(made))
    assert routing is not None
    assert all(
        routing.schedule.path(name, 1.0)[-2:] == ("Neustrelitz", "Mission control") for name in ring.names
    )
    # What is relayed is offered to the downlinks, too, and takes no other ones.
    slowed = made.model_copy(update={"links": ring.at_load(1.4, CAMERA).links()})
    assert load_of(slowed) == pytest.approx(1.4, rel=0.01)
    alone = replace(ring, relayed=False)
    assert {link.satellite for link in ring.links()} == set(alone.names)
    assert {end for link in alone.crosslinks() for end in link.ends} <= set(alone.names)


def test_a_file_of_element_sets_tells_no_neighbours() -> None:
    with pytest.raises(ScenarioError, match="tells no neighbours; list the crosslinks"):
        SKY.crosslinks()
