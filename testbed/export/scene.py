"""What globes and orbit tools show of a run: satellites, stations, contacts, and where images were taken."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from testbed.errors import InputError
from traces.orbits.element_set import ElementSet
from traces.orbits.orbit import ground_track, mean_altitude_m
from traces.orbits.stations import GroundStation
from traces.orbits.trace_orbits import orbits_of
from traces.trace import Trace

ALTITUDE_STEP_S = 60.0
FEWEST_STEPS = 10  # an interpolation of degree 7 needs eight points

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SceneLink:
    """A link with the times at which it is up, in seconds of the scene.

    Args:
        ends: name of the satellite, and of the station or other satellite.
        contacts: (begin, end) of each contact.
    """

    ends: tuple[str, str]
    contacts: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        """Name of the link in tables, files and events."""
        return " - ".join(self.ends)


@dataclass(frozen=True)
class Capture:
    """An image that was taken during a run.

    Args:
        frame: name of the frame.
        satellite: name of the satellite.
        time_s: when it was taken.
        facts: what the run found, as (label, text).
        correct: whether the answer is right; None before the run.
    """

    frame: str
    satellite: str
    time_s: float
    facts: tuple[tuple[str, str], ...] = ()
    correct: bool | None = None


@dataclass(frozen=True)
class Scene:
    """Satellites, stations and links over time.

    Args:
        name: name of the scenario or trace.
        start_utc: second 0.
        length_s: end.
        satellites: the satellites, under the names of their links.
        stations: the stations.
        links: the links between them.
        captures: images, in order of time.
    """

    name: str
    start_utc: datetime
    length_s: float
    satellites: tuple[ElementSet, ...]
    stations: tuple[GroundStation, ...]
    links: tuple[SceneLink, ...]
    captures: tuple[Capture, ...] = ()

    @property
    def end_utc(self) -> datetime:
        """The end."""
        return self.utc(self.length_s)

    def utc(self, time_s: float) -> datetime:
        """Return a time of the scene in UTC, to 1 ms."""
        return self.start_utc + timedelta(seconds=round(time_s, 3))

    def times_s(self, step_s: float) -> Floats:
        """Return times from second 0 to the end, to 1 ms, at most `step_s` apart and at least eleven."""
        steps = max(FEWEST_STEPS, math.ceil(self.length_s / step_s))
        times_s: Floats = np.linspace(0.0, self.length_s, steps + 1).round(3)
        return times_s

    def altitude_over_m(self, place: GroundStation) -> float:
        """Return the mean altitude of the satellite that is linked first to a station."""
        name = next(link.ends[0] for link in self.links if link.ends[1] == place.name)
        orbit = next(satellite for satellite in self.satellites if satellite.name == name)
        return mean_altitude_m(orbit, self.start_utc, self.times_s(ALTITUDE_STEP_S))

    def place_of(self, capture: Capture) -> tuple[float, float] | None:
        """Return latitude and longitude below the satellite at a capture; None if its orbit is unknown."""
        orbit = next((one for one in self.satellites if one.name == capture.satellite), None)
        if orbit is None:
            return None
        latitude, longitude = ground_track(orbit, self.start_utc, [capture.time_s])
        return float(latitude[0]), float(longitude[0])


def scene_of(name: str, traces: Iterable[Trace], captures: Iterable[Capture] = ()) -> Scene:
    """Return the scene of traces that were computed from orbits; other traces are left out.

    Args:
        name: name of the scene.
        traces: the traces, with one start.
        captures: images that were taken.

    Raises:
        InputError: no trace follows an orbit.
    """
    satellites: dict[str, ElementSet] = {}
    stations: dict[str, GroundStation] = {}
    links, shown = [], []
    for trace in traces:
        ends = orbits_of(trace.header)
        if ends is None:
            continue
        satellites.update((satellite.name, satellite) for satellite in ends.satellites)
        if ends.station is not None:
            stations.setdefault(ends.station.name, ends.station)
        contacts = tuple((contact.aos_s, contact.los_s) for contact in trace.contacts())
        links.append(SceneLink((trace.header.satellite, trace.header.station), contacts))
        shown.append(trace)
    if not shown:
        raise InputError(f"{name}: no link follows an orbit, so that there are no positions to export")
    return Scene(
        name=name,
        start_utc=min(trace.header.start_utc for trace in shown),
        length_s=max(trace.end_s for trace in shown),
        satellites=tuple(satellites.values()),
        stations=tuple(stations.values()),
        links=tuple(links),
        captures=tuple(sorted(captures, key=lambda capture: capture.time_s)),
    )
