"""A part of a scenario is what the whole does between two of its times."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from nodes.data import FIRST_LIGHT
from testbed.errors import ScenarioError
from testbed.run.traces import link_trace
from testbed.scenario.constellation import Camera, Constellation
from testbed.scenario.faults import LinkCut
from testbed.scenario.model import Orbit, Scenario
from testbed.scenario.part import part_of
from traces import FLOCK_TLE, parse_utc

SKY = Constellation(
    elements=FLOCK_TLE,
    patterns=("FLOCK 2P-1", "FLOCK 2P-12"),
    stations=("Svalbard",),
    start=parse_utc("2018-01-20T14:30:00Z"),
    length_s=1800,
)


@pytest.fixture(scope="module")
def whole() -> Scenario:
    first, second = SKY.names
    camera = Camera(folder=FIRST_LIGHT, every_s=100, min_sun_deg=None)
    satellites = SKY.satellites(camera, model="compact")
    early = satellites[1].model_copy(update={"frames": satellites[1].frames[:3]})  # until 200 s
    return Scenario(
        name="whole",
        satellites=(satellites[0], early),
        stations=SKY.ground_stations(model="regular"),
        links=SKY.links(),
        probe=(f"{first} - Svalbard", f"{second} - Svalbard"),
    )


def test_captures_and_orbits_are_those_of_the_whole(whole: Scenario) -> None:
    part = part_of(whole, 150.0, 900.0)
    captures_s = [[frame.capture_s for frame in one.frames] for one in part.satellites]
    assert captures_s == [[50.0 + 100 * number for number in range(7)], [50.0]]
    for link, of_whole in zip(part.links, whole.links, strict=True):
        assert isinstance(link.follows, Orbit) and isinstance(of_whole.follows, Orbit)
        assert link.follows.start - of_whole.follows.start == timedelta(seconds=150)
        assert link.follows.length_s == 750.0
    ours, theirs = link_trace(part, part.links[0]), link_trace(whole, whole.links[0])
    (contact,), (of_whole_contact,) = ours.contacts(), theirs.contacts()
    if of_whole_contact.aos_s > 150:
        assert contact.aos_s + 150 == pytest.approx(of_whole_contact.aos_s, abs=0.01)
    middle_s = (contact.aos_s + contact.los_s) / 2
    both = [one.row_at(time_s).down_delay_s for one, time_s in ((ours, middle_s), (theirs, middle_s + 150))]
    assert np.diff(both)[0] == pytest.approx(0.0, abs=1e-5)


def test_a_satellite_that_captures_nothing_is_left_out_with_its_links(whole: Scenario) -> None:
    part = part_of(whole, 300.0, 900.0)
    assert [one.name for one in part.satellites] == [SKY.names[0]]
    assert [link.name for link in part.links] == list(part.probe) == [f"{SKY.names[0]} - Svalbard"]  # type: ignore[arg-type]


def test_what_cannot_be_cut_is_refused(whole: Scenario) -> None:
    for begin_s, end_s, why in ((-1, 5, "0 <= begin"), (5, 5, "0 <= begin"), (1, 1900, "ends at 1800 s")):
        with pytest.raises(ScenarioError, match=why):
            part_of(whole, begin_s, end_s)
    with pytest.raises(ScenarioError, match="captures anything between 1 and 2 s"):
        part_of(whole, 1, 2)
    fault = LinkCut(at_s=1, target=whole.links[0].name)
    with pytest.raises(ScenarioError, match="faults or tasks"):
        part_of(whole.model_copy(update={"faults": (fault,)}), 0, 900)


def test_probes_of_links_that_are_not_there_are_refused(whole: Scenario) -> None:
    with pytest.raises(ValueError, match="probe names a link that the scenario does not have: X - Y"):
        Scenario.model_validate(dict(whole) | {"probe": ("X - Y",)})
    assert [link.name for link in whole.probed_links] == list(whole.probe)  # type: ignore[arg-type]
    assert whole.model_copy(update={"probe": False}).probed_links == ()
    assert whole.model_copy(update={"probe": True}).probed_links == whole.links
