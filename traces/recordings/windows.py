"""Contacts of pairs of satellites and stations, and the recording of one pair.

Contacts tell when a satellite was in view, but no rates. Delays are computed from the orbit and the station
where the file has them, as SatNOGS observations do, or from ranges, or with `--tle` and `--station`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from traces.errors import TraceError
from traces.recordings.joining import ORBIT_STEP_S
from traces.recordings.recording import DELAYS, Assumptions, Floats, Orbit, Recording, both_ways

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

UNNAMED = "satellite"
_MOST_ROWS = 2_000_000
Range = tuple[datetime, float]
"""A time and the range in m."""


@dataclass(frozen=True, slots=True)
class Window:
    """A contact of a satellite and a station."""

    satellite: str
    station: str
    start_utc: datetime
    end_utc: datetime
    elements: ElementSet | None = None
    place: GroundStation | None = None
    satellite_number: str = ""
    station_number: str = ""
    ranges: tuple[Range, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """What tells the satellite and the station from others: numbers, or names where there are none."""
        return self.satellite_number or self.satellite, self.station_number or self.station


def recording_of_pair(form: str, name: str, windows: list[Window], assumptions: Assumptions) -> Recording:
    """Return the recording of the requested pair of satellite and station."""
    if not windows:
        raise TraceError(f"{name}, line 1: expected at least one contact")
    requested = (
        assumptions.satellite or "",
        assumptions.place.name if assumptions.place else assumptions.station or "",
    )
    pairs: dict[tuple[str, str], Window] = {}
    for window in windows:
        pairs.setdefault(window.pair, window)
    if len(pairs) > 1:
        pairs = {pair: window for pair, window in pairs.items() if _is_requested(window, requested)} or pairs
    if len(pairs) > 1:
        listed = "; ".join(sorted(_titles(window) for window in pairs.values())[:6])
        more = f" and {len(pairs) - 6} more" if len(pairs) > 6 else ""
        raise TraceError(
            f"{name}: expected one pair; found {listed}{more}; choose with --satellite and --station"
        )
    chosen = next(iter(pairs))
    mine = sorted(
        (window for window in windows if window.pair == chosen), key=lambda window: window.start_utc
    )
    return _of_windows(form, name, mine)


def _is_requested(window: Window, requested: tuple[str, str]) -> bool:
    own = ((window.satellite, window.satellite_number), (window.station, window.station_number))
    return all(
        not wanted or wanted.lower() == title.lower() or (number != "" and wanted.lstrip("0") == number)
        for wanted, (title, number) in zip(requested, own, strict=True)
    )


def _titles(window: Window) -> str:
    ends = ((window.satellite, window.satellite_number), (window.station, window.station_number))
    first, second = (f"{title} ({number})" if number and number != title else title for title, number in ends)
    return f"{first} over {second}"


def _of_windows(form: str, name: str, windows: list[Window]) -> Recording:
    first = windows[0]
    start_utc = first.start_utc
    spans: list[list[float]] = []
    orbits: list[Orbit] = []
    for window in windows:
        begin, end = ((moment - start_utc).total_seconds() for moment in (window.start_utc, window.end_utc))
        if spans and begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([begin, end])
        if window.elements and window.place:
            orbit = Orbit(begin, window.elements, window.place)
            if not orbits or (orbits[-1].elements, orbits[-1].place) != (orbit.elements, orbit.place):
                orbits.append(orbit)
    notes = ["the trace ends with the last contact window"]
    if len(spans) < len(windows):
        notes.append("overlapping contacts are merged")
    without = sum(not (window.elements and window.place) for window in windows)
    if orbits and without:
        notes.append(f"{without} contacts without an orbit or a station use those of the contact before")
    edges = np.array(spans).ravel()
    time_s, delay_s = _delays(name, windows, edges)
    values = {}
    if np.isfinite(delay_s).any():
        values = dict.fromkeys(DELAYS, delay_s)
        notes.append("delay computed from the ranges, each second in proportion between two of them")
    return Recording(
        form,
        name,
        time_s,
        spans[-1][1],
        values,
        **both_ways((np.searchsorted(edges, time_s, side="right") - 1) % 2 == 0),
        start_utc=start_utc,
        satellite=first.satellite,
        station=first.station,
        notes=notes,
        orbits=tuple(orbits),
    )


def _delays(name: str, windows: list[Window], edges_s: Floats) -> tuple[Floats, Floats]:
    """Return the times of rows, and the delay at each, which is NaN where no range is known."""
    with_ranges = [window for window in windows if window.ranges]
    starts_s = edges_s[:-1]
    if not with_ranges:
        return starts_s, np.full(len(starts_s), np.nan)
    from traces.radio.link_budget import one_way_delay_s  # slow to import

    start_utc = windows[0].start_utc
    total_s = sum((window.end_utc - window.start_utc).total_seconds() for window in with_ranges)
    if total_s / ORBIT_STEP_S > _MOST_ROWS:
        raise TraceError(f"{name}: expected contacts of at most {_MOST_ROWS} s in total; found {total_s:g} s")
    time_s, delay_s = [starts_s], [np.full(len(starts_s), np.nan)]
    for window in with_ranges:
        begin_s, end_s = (
            (moment - start_utc).total_seconds() for moment in (window.start_utc, window.end_utc)
        )
        seconds = np.arange(begin_s, end_s, ORBIT_STEP_S)
        moments, ranges_m = zip(*window.ranges, strict=True)
        known_s = np.array([(moment - start_utc).total_seconds() for moment in moments])
        time_s.append(seconds)
        delay_s.append(np.interp(seconds, known_s, one_way_delay_s(np.array(ranges_m))))
    times, delays = np.concatenate(time_s), np.round(np.concatenate(delay_s), 9)
    # At the start of a contact, the row with the delay is behind the one without.
    order = np.argsort(times, kind="stable")
    times, delays = times[order], delays[order]
    last = np.append(times[1:] != times[:-1], True)
    return times[last], delays[last]
