"""A part of a scenario, from one of its times to another, as a scenario of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from testbed.errors import ScenarioError
from testbed.scenario.model import InterSatelliteLink, Link, Orbit, Scenario, Sight

AnySkyLink = TypeVar("AnySkyLink", Link, InterSatelliteLink)


def part_of(scenario: Scenario, begin_s: float, end_s: float) -> Scenario:
    """Return the part of a scenario between two of its times; its second 0 is at `begin_s`.

    Stations and rates of links are the same. What was captured earlier is not on board. A satellite that
    captures nothing in the part takes no part in it; one without a contact does, and keeps its frames.

    Args:
        scenario: the whole; its links follow orbits, and it has neither faults nor tasks.
        begin_s: begin of the part, scenario time of the whole, in seconds.
        end_s: its end, in seconds.

    Raises:
        ScenarioError: nothing is captured in the part, or the scenario cannot be cut.
    """
    if not 0 <= begin_s < end_s:
        raise ScenarioError(f"a part from {begin_s:g} s to {end_s:g} s: expected 0 <= begin < end")
    if scenario.faults or scenario.tasks:
        raise ScenarioError("a scenario with faults or tasks cannot be cut: remove them first")
    satellites = []
    for satellite in scenario.satellites:
        frames = tuple(
            frame.model_copy(update={"capture_s": frame.capture_s - begin_s})
            for frame in satellite.frames
            if begin_s <= frame.capture_s < end_s
        )
        if frames:
            satellites.append(satellite.model_copy(update={"frames": frames}))
    if not satellites:
        raise ScenarioError(f"no satellite captures anything between {begin_s:g} and {end_s:g} s")
    if scenario.crosslinks and len(satellites) < len(scenario.satellites):
        raise ScenarioError("a satellite captures nothing in this part, and may be needed as a relay")
    names = {satellite.name for satellite in satellites}
    links = tuple(_cut(link, begin_s, end_s) for link in scenario.links if link.satellite in names)
    crosslinks = tuple(_cut(link, begin_s, end_s) for link in scenario.crosslinks)
    on_earth = {link.name for link in scenario.earth_links}
    probe = scenario.probe
    left = {link.name for link in links} | {link.name for link in crosslinks}
    if not isinstance(probe, bool):
        probe = tuple(name for name in probe if name in left)
    changes = {
        "satellites": tuple(satellites),
        "links": links,
        "crosslinks": crosslinks,
        "probe": probe,
        "capture": tuple(name for name in scenario.capture if name in left | on_earth),
    }
    return Scenario.model_validate(dict(scenario) | changes)


def _cut(link: AnySkyLink, begin_s: float, end_s: float) -> AnySkyLink:
    """Return a link that follows a part of its orbit."""
    follows = link.follows
    if not isinstance(follows, Orbit | Sight):
        raise ScenarioError(f"link {link.name} follows a trace file, which cannot be cut: make a shorter one")
    if end_s > follows.length_s:
        raise ScenarioError(f"a part until {end_s:g} s: link {link.name} ends at {follows.length_s:g} s")
    changes = {"start": follows.start + timedelta(seconds=begin_s), "length_s": end_s - begin_s}
    return link.model_copy(update={"follows": follows.model_copy(update=changes)})
