"""Satellites by name patterns, their links to stations, and what their cameras capture.

sky = Constellation(elements=FLOCK_TLE, patterns=("FLOCK 2P-*",), stations=("Svalbard", "Inuvik"),
                    start=parse_utc("2018-01-20T00:00:00Z"), length_s=6 * 3600)
camera = Camera(folder=FIRST_LIGHT, every_s=60)
Scenario(name="fleet", satellites=sky.satellites(camera, model=str(COMPACT)),
         stations=sky.ground_stations(model=str(REGULAR)), links=sky.links())

`elements="53:8/1/0@1000", relayed=True` makes a Walker constellation, whose `crosslinks()` join neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nodes.contract.topics import slug
from testbed.errors import ScenarioError
from testbed.scenario.capacity import rate_cap_for
from testbed.scenario.dishes.plan import dish_plan
from testbed.scenario.elements import element_sets_of
from testbed.scenario.model import (
    SLEW_S,
    GroundStation,
    InterSatelliteLink,
    Link,
    Orbit,
    RadioChanges,
    Satellite,
    Scenario,
    Sight,
    read_frames,
)
from traces.errors import OrbitError, StationError
from traces.make import make_trace
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import one_set_each
from traces.orbits.passes import Pass, find_passes
from traces.orbits.stations import station
from traces.orbits.sun import sun_elevation_below
from traces.orbits.walker import neighbours
from traces.radio.link_budget import preset


@dataclass(frozen=True)
class Camera:
    """When a satellite captures frames, and which.

    Each satellite goes through the frames of the folder from another one on, and begins again after the last.

    Args:
        folder: folder of `prompts.jsonl` and the images; see `read_frames`.
        every_s: time between two captures.
        min_sun_deg: lowest elevation of the sun below the satellite; None captures by night, too.
        first_s: scenario time of the first capture.
        until_s: scenario time after which nothing is captured; None for the end.
        expires_after_s: as in `Frame`.
    """

    folder: Path
    every_s: float
    min_sun_deg: float | None = 10.0
    first_s: float = 0.0
    until_s: float | None = None
    expires_after_s: float | None = None

    def __post_init__(self) -> None:
        if not self.every_s > 0 or self.first_s < 0:
            raise ScenarioError("a camera needs every_s above 0, and first_s of 0 or later")


@dataclass(frozen=True)
class Constellation:
    """Satellites that are found by name, with a link to each station that sees them.

    Args:
        elements: file of element sets, or a Walker constellation as text, whose epoch is `start`.
        patterns: names of satellites; `*` stands for any characters and `?` for one, case does not count.
        stations: names of the catalogue (`traces.STATIONS`), in order of preference where a satellite sees
            several.
        start: UTC time of scenario second 0.
        length_s: length of the scenario, in seconds.
        count: number of satellites, the first of those that match and see a station; None for all.
        relayed: whether satellites that see no station take part: they need crosslinks.
        elevation_mask_deg, radio, downlink, uplink: as in `Orbit`, of every link.

    Raises:
        ScenarioError: no satellite matches, or none of them sees a station; or the file, a station or the
            window is unsuitable.
    """

    elements: Path | str
    patterns: Sequence[str]
    stations: Sequence[str]
    start: datetime
    length_s: float
    count: int | None = None
    relayed: bool = False
    elevation_mask_deg: float = 5.0
    radio: str = "dove"
    downlink: RadioChanges = field(default_factory=RadioChanges)
    uplink: RadioChanges = field(default_factory=RadioChanges)

    def __post_init__(self) -> None:
        if not any(self._contacts.values()):
            raise ScenarioError(
                f"no satellite of {self.elements} that matches {', '.join(self.patterns)} is seen by "
                f"{', '.join(self.stations)} within {self.length_s:g} s"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The satellites' names, in the order of the file."""
        return tuple(self._contacts)

    def passes(self) -> dict[tuple[str, str], tuple[Pass, ...]]:
        """Return the passes of each satellite over each station that sees it, in order of time."""
        return {
            (satellite, place): tuple(passes)
            for satellite, by_place in self._contacts.items()
            for place, passes in by_place.items()
        }

    def links(self) -> tuple[Link, ...]:
        """Return the links: one for each satellite and each station that ever sees it."""
        follows = Orbit(
            elements=self.elements,
            start=self.start,
            length_s=self.length_s,
            elevation_mask_deg=self.elevation_mask_deg,
            radio=self.radio,
            downlink=self.downlink,
            uplink=self.uplink,
        )
        return tuple(
            Link(satellite=satellite, station=place, follows=follows)
            for satellite, by_place in self._contacts.items()
            for place in self.stations
            if place in by_place
        )

    def crosslinks(self, *, across: bool = False, **options: Any) -> tuple[InterSatelliteLink, ...]:
        """Return links between neighbours of a Walker constellation.

        Args:
            across: also join neighbours of different planes; see `traces.orbits.walker.neighbours`.
            options: further fields of each `Sight`, such as `rate_bit_s`.

        Raises:
            ScenarioError: the elements are a file, which tells no neighbours.
        """
        if not isinstance(self.elements, str):
            raise ScenarioError(
                f"{self.elements} tells no neighbours; list the crosslinks, or use a Walker constellation"
            )
        follows = Sight(elements=self.elements, start=self.start, length_s=self.length_s, **options)
        return tuple(
            InterSatelliteLink(a=a, b=b, follows=follows)
            for a, b in neighbours(self.elements, self.start, across=across)
            if {a, b} <= set(self.names)
        )

    def satellites(self, camera: Camera, **options: Any) -> tuple[Satellite, ...]:
        """Return the satellites with what their cameras capture.

        Args:
            camera: their camera.
            options: further fields of each `Satellite`, such as `model` and `policy`.

        Raises:
            ScenarioError: a satellite captures nothing, or the camera's folder is unsuitable.
        """
        made = []
        for number, name in enumerate(self.names):
            times_s = self.captures_s(name, camera)
            if not times_s:
                raise ScenarioError(
                    f"{name} captures nothing in {self.length_s:g} s: the sun is below {camera.min_sun_deg:g}"
                    " degrees where it looks; choose another time, or min_sun_deg=None"
                    if camera.min_sun_deg is not None
                    else f"{name} captures nothing in {self.length_s:g} s; capture more often"
                )
            frames = [
                frame.model_copy(
                    update={
                        "frame": f"{slug(name)}-{index:04d}-{frame.frame}"[:64],
                        "expires_after_s": camera.expires_after_s,
                    }
                )
                for index, frame in enumerate(_frames_from(camera.folder, number, times_s), start=1)
            ]
            made.append(Satellite(name=name, frames=tuple(frames), **options))
        return tuple(made)

    def at_load(
        self, load: float, camera: Camera, *, dishes: int | None = None, slew_s: float = SLEW_S
    ) -> Constellation:
        """Return the constellation with downlinks so slow that the frames are `load` times what they carry.

        Every frame counts as sent whole, over all satellites, from the first capture to the end. What is
        relayed takes the downlink of the satellite that sends it down, so that relays add nothing to what the
        links carry; crosslinks count as fast enough.

        Args:
            load: the load.
            camera: the satellites' camera.
            dishes: of each station, as for `ground_stations`; given to the longest passes.
            slew_s: as in `GroundStation`.

        Raises:
            ScenarioError: a load of 0 or less, or one that even the unlimited links would not reach.
        """
        if not load > 0:
            raise ScenarioError(f"a load of {load:g}: expected more than 0, such as 1.4")
        radio = preset(self.radio)
        downlink = replace(radio.downlink, **self.downlink.model_dump(exclude_none=True))
        uplink = replace(radio.uplink, **self.uplink.model_dump(exclude_none=True))
        satellites, links = self.satellites(camera, model="any"), self.links()
        offered_bytes = sum(f.image.stat().st_size for one in satellites for f in one.frames)
        traces = {
            link.name: make_trace(
                self._known[link.satellite],
                station(link.station),
                self.start,
                self.length_s,
                downlink=downlink,
                uplink=uplink,
                elevation_mask_deg=self.elevation_mask_deg,
            )
            for link in links
        }
        stations = self.ground_stations(model="any", dishes=dishes, slew_s=slew_s)
        linked = {link.satellite for link in links}
        seen = tuple(one for one in satellites if one.name in linked)  # the others relay
        plan = dish_plan(Scenario(name="any", satellites=seen, stations=stations, links=links), traces)
        served = traces if plan is None else plan.traces
        fleet = [
            (
                [served[link.name] for link in links if link.satellite == satellite.name],
                satellite.frames[0].capture_s,
            )
            for satellite in seen
        ]
        try:
            cap_bit_s = rate_cap_for(load, offered_bytes, fleet)
        except ValueError as error:
            raise ScenarioError(f"a load of {load:g} cannot be reached: {error}") from error
        return replace(self, downlink=self.downlink.model_copy(update={"rate_cap_bit_s": cap_bit_s}))

    def ground_stations(self, **options: Any) -> tuple[GroundStation, ...]:
        """Return the stations that see a satellite.

        Args:
            options: further fields of each `GroundStation`, such as `model`, `dishes` and `scheduler`.
        """
        seen = {place for by_place in self._contacts.values() for place in by_place}
        return tuple(GroundStation(name=place, **options) for place in self.stations if place in seen)

    def captures_s(self, satellite: str, camera: Camera) -> list[float]:
        """Return the scenario times at which a satellite captures a frame."""
        end_s = self.length_s if camera.until_s is None else min(camera.until_s, self.length_s)
        times_s = np.arange(camera.first_s, end_s, camera.every_s)
        if camera.min_sun_deg is not None and len(times_s):
            elements = [self._known[satellite]]
            elevation_deg = sun_elevation_below(elements, self.start, times_s)[0]
            times_s = times_s[elevation_deg >= camera.min_sun_deg]
        return [float(round(time_s, 3)) for time_s in times_s]

    @cached_property
    def _known(self) -> dict[str, ElementSet]:
        try:
            known = one_set_each(element_sets_of(self.elements, self.start), at_utc=self.start)
        except OrbitError as error:
            raise ScenarioError(str(error)) from error
        return {
            one.name: one
            for one in known
            if any(fnmatchcase(one.name.lower(), pattern.lower()) for pattern in self.patterns)
        }

    @cached_property
    def _contacts(self) -> dict[str, dict[str, list[Pass]]]:
        """Passes by satellite and station."""
        names = list(self._known)
        if not names:
            return {}
        try:
            table = find_passes(
                list(self._known.values()),
                [station(place) for place in self.stations],
                self.start,
                self.length_s,
                elevation_mask_deg=self.elevation_mask_deg,
            )
        except (OrbitError, StationError) as error:
            raise ScenarioError(str(error)) from error
        found: dict[str, dict[str, list[Pass]]] = {name: {} for name in names}
        for satellite, place, pass_ in table.by_time():
            found[names[satellite]].setdefault(self.stations[place], []).append(pass_)
        seen = {name: by_place for name, by_place in found.items() if by_place or self.relayed}
        return dict(list(seen.items())[: self.count])


def _frames_from(folder: Path, first: int, times_s: Sequence[float]) -> list[Any]:
    """Return frames of a folder for each time, from the `first`-th on, again and again."""
    path = folder / "prompts.jsonl"
    try:
        lines = sum(1 for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
    except OSError as error:
        raise ScenarioError(f"cannot read the prompts at {path}: {error.strerror}") from None
    if lines == 0:
        raise ScenarioError(f"{path} has no frames")
    known = read_frames(folder, [0.0] * lines)
    return [
        known[(first + index) % lines].model_copy(update={"capture_s": time_s})
        for index, time_s in enumerate(times_s)
    ]
