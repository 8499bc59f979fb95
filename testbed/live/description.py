"""What the page needs to know of a run beside its events: nodes, orbits, places, links and frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nodes.contract.topics import slug
from testbed.scenario.model import AnyLink, InterSatelliteLink, Link, Orbit, Scenario
from traces.orbits.element_set import ElementSet, fields_of_model
from traces.orbits.stations import GroundStation as Place
from traces.trace import Trace
from traces.utc import format_utc

STEPS_MAX = 4000  # of a trace in a plot, which is a thousand pixels wide


@dataclass(frozen=True)
class Flight:
    """What a scenario follows.

    Args:
        traces: the trace of each link, by its name.
        orbits: the elements of each satellite, by its name; satellites of recorded links have none.
        places: where each station and mission control are, by name; those without a known place are missing.
    """

    traces: Mapping[str, Trace]
    orbits: Mapping[str, ElementSet]
    places: Mapping[str, Place]


def description(scenario: Scenario, flight: Flight) -> dict[str, Any]:
    """Return the description as the page reads it (live/src/description.ts), ready for JSON.

    Facts that are not known are None. Truths of frames are among it, so it is not for nodes.
    """
    traces = flight.traces
    start_utc = next(iter(traces.values())).header.start_utc
    return {
        "name": scenario.name,
        "description": scenario.description,
        "start_utc": format_utc(start_utc),
        "end_s": max(trace.end_s for trace in traces.values()),
        "satellites": [
            {
                "name": satellite.name,
                "slug": slug(satellite.name),
                "policy": satellite.policy,
                "orbit": _orbit(flight.orbits.get(satellite.name)),
            }
            for satellite in scenario.satellites
        ],
        "stations": [
            {
                "name": node.name,
                "slug": slug(node.name),
                "place": _place(flight.places.get(node.name)),
                "mask_deg": _mask_deg(scenario, node.name),
            }
            for node in scenario.ground_nodes
        ],
        "links": [_link(link, traces[link.name]) for link in scenario.network_links if link.name in traces],
        "frames": [
            {**frame.model_dump(include=_FRAME_FIELDS), "satellite": satellite.name}
            for satellite in scenario.satellites
            for frame in satellite.frames
        ],
    }


def requested(trace: Trace) -> dict[str, list[float]]:
    """Return what a trace asks of its link over time: columns of equal length, thinned within contacts."""
    kept = np.arange(len(trace.time_s)) % -(-len(trace.time_s) // STEPS_MAX) == 0
    for up in (trace.downlink_up, trace.uplink_up):
        kept[1:] |= np.diff(up.astype(int)) != 0
    columns = ("time_s", "down_bit_s", "up_bit_s", "down_delay_s", "up_delay_s")
    return {name: getattr(trace, name)[kept].tolist() for name in columns}


_FRAME_FIELDS = {"frame", "prompt", "truth", "kind", "capture_s"}


def _orbit(elements: ElementSet | None) -> dict[str, Any] | None:
    """Return the fields of an OMM."""
    return None if elements is None else fields_of_model(elements.model())


def _place(place: Place | None) -> dict[str, float] | None:
    if place is None:
        return None
    fields = asdict(place)
    return {name: fields[name] for name in ("latitude_deg", "longitude_deg", "altitude_m")}


def _mask_deg(scenario: Scenario, station: str) -> float | None:
    """Return the lowest elevation of contacts with a station, if orbits say so."""
    masks = [
        link.follows.elevation_mask_deg
        for link in scenario.links
        if link.station == station and isinstance(link.follows, Orbit)
    ]
    return min(masks, default=None)


def _link(link: AnyLink, trace: Trace) -> dict[str, Any]:
    crossing = "crosslink" if isinstance(link, InterSatelliteLink) else "earth"
    return {
        "name": link.name,
        "ends": list(link.ends),
        "kind": "contact" if isinstance(link, Link) else crossing,
        "contacts": [[contact.aos_s, contact.los_s] for contact in trace.contacts()],
    }
