"""Traces and ground tracks of a scenario's links."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from testbed.errors import ScenarioError
from testbed.network.player import unplayable
from testbed.results.drawings import Track
from testbed.scenario.elements import element_sets_of
from testbed.scenario.faults import faulty_traces
from testbed.scenario.model import (
    GroundNode,
    InterSatelliteLink,
    Link,
    Orbit,
    RadioChanges,
    Recorded,
    Scenario,
    Sight,
)
from traces.errors import OrbitError, StationError, TleError
from traces.make import make_trace, missing_contacts
from traces.orbits.crosslink import make_crosslink_trace
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite
from traces.orbits.orbit import ground_track, mean_altitude_m, visibility_circle
from traces.orbits.stations import GroundStation as Place
from traces.orbits.stations import station
from traces.radio.link_budget import RadioLink, preset
from traces.recordings.formats import read_recording
from traces.recordings.recording import Assumptions
from traces.trace import Trace
from traces.trace_file import read_trace

_ORBIT_S = 95 * 60
TRACK_STEP_S = 10.0
NAMED_LINKS = 4  # without a contact; of more, the first stands for all


def link_traces(scenario: Scenario) -> dict[str, Trace]:
    """Compute or read the traces of all links, by the links' names; warn of those without a contact.

    Raises:
        ScenarioError: no link has a contact, no link can follow a trace, or a frame is captured after the
            traces of its satellite's links have ended.
    """
    traces, silent = {}, []
    for link in scenario.sky_links:
        traces[link.name], fault = _trace_and_fault(scenario, link)
        silent += [fault] if fault else []
    if len(silent) == len(traces) or not any(traces[link.name].contacts("both") for link in scenario.links):
        raise ScenarioError(f"{silent[0]}; no frame could arrive")
    if len(silent) > NAMED_LINKS:
        silent = [f"{len(silent)} of {len(traces)} links have no contact, such as the first: {silent[0]}"]
    for fault in silent:
        warnings.warn(f"{fault}; the run uses the other links", stacklevel=2)
    for satellite in scenario.satellites:
        own = [link.name for link in scenario.sky_links if satellite.name in link.ends]
        if not any(traces[name].contacts("both") for name in own):
            warnings.warn(
                f"{satellite.name} has no contact: it flies along, and its {len(satellite.frames)} frames "
                "stay on board",
                stacklevel=2,
            )
        end_s = max(traces[name].end_s for name in own)
        for frame in satellite.frames:
            if frame.capture_s >= end_s:
                raise ScenarioError(
                    f"frame {frame.frame} of {satellite.name} is captured at {frame.capture_s:g} s, but its"
                    f" links' traces end at {end_s:g} s; capture it earlier, or make the traces longer"
                )
    return traces


def link_trace(scenario: Scenario, link: Link) -> Trace:
    """Compute or read the trace of a link.

    Raises:
        ScenarioError: the trace has no contact, or no link can follow it.
    """
    trace, fault = _trace_and_fault(scenario, link)
    if fault is not None:
        raise ScenarioError(f"{fault}; no frame could arrive")
    return trace


def played_traces(scenario: Scenario, traces: Mapping[str, Trace]) -> dict[str, Trace]:
    """Return traces of links with the scenario's faults, by the links' names.

    Raises:
        ScenarioError: a link cannot be as slow as a fault asks for.
    """
    faulty = faulty_traces(scenario, traces)
    for name, trace in faulty.items():
        if trace is not traces[name] and (why := unplayable(trace)) is not None:
            raise ScenarioError(f"link {name} cannot follow its trace with the scenario's faults: {why}")
    return faulty


def _trace_and_fault(scenario: Scenario, link: Link | InterSatelliteLink) -> tuple[Trace, str | None]:
    """Return the trace, and what a trace without a contact lacks."""
    if isinstance(link, Link) and isinstance(link.follows, Orbit):
        trace, reason = _orbit_trace(scenario, link, link.follows)
    elif isinstance(link.follows, Recorded):
        trace, reason = _recorded_trace(link.follows), ""
    elif isinstance(link.follows, Sight):
        trace, reason = _sight_trace(link.ends, link.follows), ""
    else:
        assert isinstance(link.follows, Path)  # noqa: S101  # a link between satellites follows no orbit
        trace, reason = read_trace(link.follows), ""
    if not trace.contacts("both"):
        one_way = " in both directions" if trace.contacts() else ""
        return trace, f"link {link.name} has no contact within {trace.end_s:.0f} s{one_way}{reason}"
    if (why := unplayable(trace)) is not None:
        raise ScenarioError(f"link {link.name} cannot follow its trace: {why}")
    return trace, None


def _orbit_trace(scenario: Scenario, link: Link, orbit: Orbit) -> tuple[Trace, str]:
    """Return the trace of an orbit, and the reason for passes without a contact as the end of a message."""
    satellite = find_satellite(
        element_sets_of(orbit.elements, orbit.start), link.satellite, at_utc=orbit.start
    )
    place = place_of(scenario.station(link.station))
    downlink = _changed(preset(orbit.radio).downlink, orbit.downlink)
    uplink = _changed(preset(orbit.radio).uplink, orbit.uplink)
    trace = make_trace(
        satellite,
        place,
        orbit.start,
        orbit.length_s,
        downlink=downlink,
        uplink=uplink,
        elevation_mask_deg=orbit.elevation_mask_deg,
    )
    missing = missing_contacts(
        trace, satellite, place, downlink=downlink, uplink=uplink, elevation_mask_deg=orbit.elevation_mask_deg
    )
    return trace, "" if missing is None else f": {missing.reason}"


def _recorded_trace(recorded: Recorded) -> Trace:
    assumptions = Assumptions(
        down_bit_s=recorded.down_bit_s,
        up_bit_s=recorded.up_bit_s,
        delay_s=recorded.delay_s,
        loss=recorded.loss,
    )
    trace = read_recording(recorded.file, assumptions)
    end_s = trace.end_s if recorded.length_s is None else recorded.begin_s + recorded.length_s
    return trace.cut(recorded.begin_s, end_s)


def _sight_trace(ends: tuple[str, str], sight: Sight) -> Trace:
    first, second = (
        find_satellite(element_sets_of(sight.elements, sight.start), end, at_utc=sight.start) for end in ends
    )
    radio = sight.rate_bit_s if sight.radio is None else preset(sight.radio).downlink
    return make_crosslink_trace(
        first,
        second,
        sight.start,
        sight.length_s,
        forward=radio,
        back=radio,
        grazing_altitude_m=sight.grazing_altitude_m,
        max_range_m=sight.max_range_m,
        max_slew_deg_s=sight.max_slew_deg_s,
    )


def _changed(radio: RadioLink, changes: RadioChanges) -> RadioLink:
    return replace(radio, **changes.model_dump(exclude_none=True))


def place_of(ground: GroundNode) -> Place:
    """Return where a station is.

    Raises:
        StationError: its name is not in the catalogue, and its place is not given or wrong.
    """
    if ground.place is None:
        return station(ground.name)
    return replace(station(ground.place), name=ground.name)


def places_of(scenario: Scenario) -> dict[str, Place]:
    """Return where the stations and mission control are, by name; without those whose place is unknown."""
    places = {}
    for node in scenario.ground_nodes:
        with suppress(StationError):
            places[node.name] = place_of(node)
    return places


def orbits_of(scenario: Scenario) -> dict[str, ElementSet]:
    """Return the elements of the satellites by name; without those whose links follow no orbit.

    A file that is gone, as it may be after the run, has no elements.
    """
    sets: dict[tuple[str | Path, datetime], list[ElementSet]] = {}
    orbits: dict[str, ElementSet] = {}
    for link in scenario.sky_links:
        if not isinstance(link.follows, Orbit | Sight):
            continue
        names = link.ends if isinstance(link, InterSatelliteLink) else [link.satellite]
        source = link.follows.elements, link.follows.start
        for name in names:
            if name not in orbits:
                with suppress(OrbitError, TleError):
                    sets[source] = sets.get(source) or element_sets_of(*source)
                    orbits[name] = find_satellite(sets[source], name, at_utc=source[1])
    return orbits


def link_track(scenario: Scenario, link: Link, trace: Trace) -> Track | None:
    """Return the satellite's ground track from half an orbit before the run to half an orbit after it.

    Of a run that is longer than an orbit, only the first orbit counts: further ones would cover the map. A
    recorded trace has no track: None.
    """
    if not isinstance(link.follows, Orbit):
        return None
    place = place_of(scenario.station(link.station))
    end_s = min(trace.end_s, _ORBIT_S)
    times_s = np.arange(-_ORBIT_S / 2, end_s + _ORBIT_S / 2, TRACK_STEP_S)
    elements = find_satellite(
        element_sets_of(link.follows.elements, link.follows.start), link.satellite, at_utc=link.follows.start
    )
    begin = link.follows.start - timedelta(seconds=_ORBIT_S / 2)
    latitude_deg, longitude_deg = ground_track(elements, begin, times_s - times_s[0])
    return Track(
        satellite=link.satellite,
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        run=(times_s >= 0) & (times_s <= end_s),
        station=link.station,
        station_latitude_deg=place.latitude_deg,
        station_longitude_deg=place.longitude_deg,
        circle=visibility_circle(
            place, mean_altitude_m(elements, begin, times_s - times_s[0]), link.follows.elevation_mask_deg
        ),
    )
