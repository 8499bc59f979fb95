r"""Passes of satellites over ground stations, for whole constellations at once.

    sine of elevation minus sine of mask
         |            _____                          refined maximum: a pass shorter than the grid's step
       0 +--------o-/-------\-o--------------------------------------^-----------------------
         |       / |         | \                                 o         o
         |      o  AOS      LOS  o                         o                   o

1. SGP4 gives states on a grid of 60 s.
2. Between two grid points the orbit is interpolated by a cubic through positions and velocities
   (Hermite), whose error is (w h)^4 r / 384, at most 0.4 m for any orbit above the ground.
3. On the cubic, maxima and crossings of the mask are found for all satellites and stations together,
   wherever the grid brackets them.
4. One Newton step with SGP4's own states removes the remaining error.

A maximum that is below the mask on the grid is refined if it could exceed the mask within one step, so no
pass is missed, however short. A gap between two passes can be missed if it is shorter than the grid step;
this takes a satellite that hardly moves in the sky and dips below the mask by some 0.0001 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from traces.orbits.elements import Satellite
from traces.orbits.propagation import Fleet, Floats, Indices, States, check_window
from traces.orbits.station_geometry import Sites, dot
from traces.orbits.stations import GroundStation

Bools = npt.NDArray[np.bool_]

_GRID_S = 60.0
_ROOT_STEPS = 20  # most converge within 6
_ROOT_WITHIN = 1e-7  # in cells: 6 us
_BLOCK = 3_000_000  # satellites * stations * times in memory at once: 24 MB per array
_PARABOLA_S = 0.5
_SLACK_RAD = 0.015  # the Earth's flattening tilts the vertical by up to 0.0034 rad


@dataclass(frozen=True)
class Pass:
    """An interval in which a satellite is above a station's mask, in seconds from the window's start.

    Args:
        aos_s: acquisition of signal, or the window's start if the satellite is already above the mask.
        tca_s: time of the greatest elevation within the window.
        los_s: loss of signal, or the window's end.
        max_elevation_deg: elevation at `tca_s`.
        whole: True if the window contains the whole pass.
    """

    aos_s: float
    tca_s: float
    los_s: float
    max_elevation_deg: float
    whole: bool

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.los_s - self.aos_s


@dataclass(frozen=True)
class PassTable:
    """Passes of many satellites over many stations, sorted by satellite, station and time.

    Args:
        satellite: intp[n], index into the requested satellites.
        station: intp[n], index into the requested stations.
        aos_s: float64[n], as in `Pass`.
        tca_s: float64[n], as in `Pass`.
        los_s: float64[n], as in `Pass`.
        max_elevation_deg: float64[n], as in `Pass`.
        whole: bool[n], as in `Pass`.
    """

    satellite: Indices
    station: Indices
    aos_s: Floats
    tca_s: Floats
    los_s: Floats
    max_elevation_deg: Floats
    whole: Bools

    def __len__(self) -> int:
        """Return the number of passes."""
        return len(self.aos_s)

    def __iter__(self) -> Iterator[tuple[int, int, Pass]]:
        """Yield (satellite index, station index, pass)."""
        columns = (getattr(self, field.name).tolist() for field in fields(self))
        return ((satellite, station, Pass(*rest)) for satellite, station, *rest in zip(*columns, strict=True))

    def by_time(self) -> PassTable:
        """Return the passes sorted by AOS."""
        return self.taken(np.argsort(self.aos_s, kind="stable"))

    def taken(self, rows: Indices) -> PassTable:
        """Return the passes at the given rows."""
        return PassTable(*(getattr(self, field.name)[rows] for field in fields(self)))


def find_passes(
    satellites: Sequence[Satellite],
    stations: Sequence[GroundStation],
    start_utc: datetime,
    length_s: float,
    *,
    elevation_mask_deg: float | None = None,
) -> PassTable:
    """Find every pass of every satellite over every station, with AOS, TCA and LOS to better than 10 ms.

    Args:
        satellites: element sets or skyfield's EarthSatellite objects.
        stations: ground stations, each with its own mask.
        start_utc: start of the window, with a time zone.
        length_s: length of the window.
        elevation_mask_deg: replaces every station's own mask.

    Raises:
        OrbitError: SGP4 cannot propagate an orbit over the whole window, there is no satellite, or the window
            is empty or longer than 31 days.
        StationError: A mask is out of range, or there is no station.
    """
    check_window(start_utc, length_s)
    fleet, sites = Fleet(satellites, start_utc), Sites(stations, elevation_mask_deg)
    steps = max(1, math.ceil(length_s / _GRID_S))
    # One more point on each side, so that a maximum at the window's edge is bracketed too.
    grid_s = np.linspace(0.0, length_s, steps + 1)
    grid_s = np.concatenate([[-grid_s[1]], grid_s, [length_s + grid_s[1]]])
    block = max(1, _BLOCK // (len(sites) * len(grid_s)))
    parts = [
        _Search(Fleet(fleet.element_sets[first : first + block], start_utc), sites, grid_s, first).passes()
        for first in range(0, len(fleet), block)
    ]
    return PassTable(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(PassTable)))


def passes_over(
    satellite: Satellite,
    station: GroundStation,
    start_utc: datetime,
    length_s: float,
    *,
    elevation_mask_deg: float | None = None,
) -> list[Pass]:
    """Find every pass of one satellite over one station, with AOS, TCA and LOS to better than 10 ms.

    Args:
        satellite: element set, or skyfield's EarthSatellite.
        station: the ground station.
        start_utc: start of the window, with a time zone.
        length_s: length of the window.
        elevation_mask_deg: replaces the station's own mask.

    Raises:
        OrbitError: SGP4 cannot propagate the orbit over the whole window, or the window is empty or longer
            than 31 days.
        StationError: The mask is out of range.
    """
    table = find_passes([satellite], [station], start_utc, length_s, elevation_mask_deg=elevation_mask_deg)
    return [pass_ for _, _, pass_ in table]


@dataclass(frozen=True)
class _Events:
    """Events (maxima, crossings of the mask) of pairs of satellite and station; arrays of length n.

    Args:
        satellite: index within the block.
        station: index of the station.
        cell: index of the grid point before the event.
        share: position of the event within the cell, 0 to 1.
    """

    satellite: Indices
    station: Indices
    cell: Indices
    share: Floats

    def __len__(self) -> int:
        return len(self.cell)

    def __getitem__(self, rows: Bools | Indices | slice) -> _Events:
        return _Events(self.satellite[rows], self.station[rows], self.cell[rows], self.share[rows])


class _Search:
    """The search in one block of satellites; `first` is the index of the block's first satellite."""

    def __init__(self, fleet: Fleet, sites: Sites, grid_s: Floats, first: int) -> None:
        self.fleet, self.sites, self.grid_s, self.first = fleet, sites, grid_s, first
        self.step_s = float(grid_s[1] - grid_s[0])
        self.end_s = float(grid_s[-2])
        self.states = fleet.states(grid_s)
        self.height = sites.above_mask(self.states.position_m)  # [station, satellite, time]
        self.up = self.height > 0

    def passes(self) -> PassTable:
        """Return the block's passes."""
        tops = self._tops()
        station, satellite, cell = tops.station, tops.satellite, tops.cell
        hidden = tops[~self.up[station, satellite, cell] & ~self.up[station, satellite, cell + 1]]
        parts = [
            self._crossings(self.up[..., 1:-2] < self.up[..., 2:-1]),
            self._slopes(hidden, 0.0),
            self._crossings(self.up[..., 1:-2] > self.up[..., 2:-1]),
            self._slopes(hidden, 1.0),
            tops,
        ]
        rise, set_, top = np.cumsum([0, *(len(part) for part in parts)])[[2, 4, 5]]
        events = _joined(parts)
        times_s, sine = self._polished(events, crossings=set_)
        keys = self._keys(events)
        rises = self._in_order(keys[:rise], times_s[:rise], edge=1)
        sets = self._in_order(keys[rise:set_], times_s[rise:set_], edge=len(self.grid_s) - 2)
        return self._table(rises, sets, (keys[set_:top], times_s[set_:top], sine[set_:top]))

    def _where(self, flags: Bools) -> _Events:
        """Return the cells in which flags [station, satellite, cell - 1] are True."""
        station, satellite, cell = np.unravel_index(np.flatnonzero(flags), flags.shape)
        return _Events(satellite, station, cell + 1, np.zeros(len(cell)))

    def _crossings(self, flags: Bools) -> _Events:
        """Return the crossings of the mask in the cells whose ends are on different sides of it."""
        events = self._where(flags)
        return replace(events, share=bracketed_roots(self._height_in(events), 0.0, 1.0, len(events)))

    def _slopes(self, hidden: _Events, end: float) -> _Events:
        """Return the crossings between one end of each cell and the maximum in the cell."""
        return replace(hidden, share=bracketed_roots(self._height_in(hidden), end, hidden.share, len(hidden)))

    def _tops(self) -> _Events:
        """Return the maxima in the window that are above the mask."""
        climbing = self.height[..., 1:] > self.height[..., :-1]
        events = self._where(climbing[..., :-1] > climbing[..., 1:])
        events = events[self._may_reach_mask(events)]
        # If the elevation already decreases at the highest grid point, the maximum is in the cell before it.
        sinking = self.sites.climb_of(events.station, self.states[events.satellite, events.cell]) <= 0
        events = replace(events, cell=events.cell - sinking)
        events = events[(events.cell >= 1) & (events.cell < len(self.grid_s) - 2)]
        cubic = _Cubic(self.states, events, self.step_s)
        share = bracketed_roots(
            lambda share: self.sites.climb_of(events.station, cubic.at(share)), 0.0, 1.0, len(events)
        )
        high = self.sites.above_mask_of(events.station, cubic.at(share).position_m) > 0
        return replace(events, share=share)[high]

    def _may_reach_mask(self, events: _Events) -> Bools:
        """Tell which maxima of the grid could be above the mask within one step.

        A satellite at radius R is above the mask of a station at radius r if the angle between them at the
        Earth's centre is below acos(r cos(mask) / R) - mask. In one step the angle decreases by at most speed
        / R.
        """
        states = self.states[events.satellite, events.cell]
        radius_m = np.sqrt(dot(states.position_m, states.position_m))
        way_m = 1.3 * self.step_s * np.sqrt(dot(states.velocity_m_s, states.velocity_m_s))
        site_m, mask = self.sites.radius_m[events.station], self.sites.mask_rad[events.station]
        cosine = dot(states.position_m, self.sites.up[:, events.station]) / radius_m
        reach = np.arccos(np.minimum(site_m * np.cos(mask) / (radius_m + way_m), 1.0)) - mask
        apart = np.arccos(np.clip(cosine, -1, 1)) - way_m / np.maximum(radius_m - way_m, 1e6) - _SLACK_RAD
        return np.asarray(apart <= reach)

    def _height_in(self, events: _Events) -> Callable[[Floats], Floats]:
        cubic = _Cubic(self.states, events, self.step_s)
        return lambda share: self.sites.above_mask_of(events.station, cubic.at(share).position_m)

    def _polished(self, events: _Events, crossings: int) -> tuple[Floats, Floats]:
        """Take one Newton step with SGP4's own states; return times and sines of elevation.

        The first `crossings` events are crossings of the mask, the others maxima. Maxima are refined by a
        parabola through three positions, since SGP4's velocities are not exactly the derivatives of its
        positions, which would move the maximum of a slow satellite by a second.
        """
        times_s = self.grid_s[events.cell] + events.share * self.step_s
        tops, top_s = events[crossings:], times_s[crossings:]
        satellite = np.concatenate([events.satellite, tops.satellite, tops.satellite])
        station = np.concatenate([events.station, tops.station, tops.station])
        states = self.fleet.states_of(
            satellite, np.concatenate([times_s, top_s - _PARABOLA_S, top_s + _PARABOLA_S])
        )
        sine, before, after = np.split(
            self.sites.sine_of(station, states.position_m), [len(events), len(events) + len(tops)]
        )
        first = slice(0, crossings)
        above = sine[first] - self.sites.mask_sine[station[first]]
        wrong = np.concatenate([above, (after - before) / (2 * _PARABOLA_S)])
        bend = (before - 2 * sine[crossings:] + after) / _PARABOLA_S**2
        climb = self.sites.climb_of(station[first], states[first])
        slope = np.concatenate([climb, bend])
        step_s = np.divide(wrong, slope, out=np.zeros_like(wrong), where=slope != 0)
        step_s = np.clip(step_s, -2, 2)
        sine[crossings:] -= 0.5 * (wrong * step_s)[crossings:]
        return np.clip(times_s - step_s, 0.0, self.end_s), sine

    def _keys(self, events: _Events) -> Indices:
        return events.satellite * len(self.sites) + events.station

    def _in_order(self, keys: Indices, times_s: Floats, edge: int) -> tuple[Indices, Floats]:
        """Add the edge of the window for passes that it cuts; sort all by pair and time."""
        station, satellite = np.nonzero(self.up[..., edge])
        keys = np.concatenate([keys, satellite * len(self.sites) + station])
        times_s = np.concatenate([times_s, np.full(len(station), self.grid_s[edge])])
        order = np.lexsort((times_s, keys))
        return keys[order], times_s[order]

    def _table(
        self,
        rises: tuple[Indices, Floats],
        sets: tuple[Indices, Floats],
        tops: tuple[Indices, Floats, Floats],
    ) -> PassTable:
        key = rises[0]
        if not np.array_equal(key, sets[0]):
            raise AssertionError("rises and sets do not alternate; this is a bug in the search")
        # Rounding may swap AOS and LOS of a pass that hardly exceeds the mask.
        aos_s, los_s = np.minimum(rises[1], sets[1]), np.maximum(rises[1], sets[1])
        tca_s, sine = self._greatest(key, aos_s, los_s, tops)
        satellite, station = np.divmod(key, len(self.sites))
        return PassTable(
            satellite=satellite + self.first,
            station=station,
            aos_s=aos_s,
            tca_s=tca_s,
            los_s=los_s,
            max_elevation_deg=np.degrees(np.arcsin(np.clip(sine, -1, 1))),
            whole=(aos_s > 0) & (los_s < self.end_s),
        )

    def _greatest(
        self, key: Indices, aos_s: Floats, los_s: Floats, tops: tuple[Indices, Floats, Floats]
    ) -> tuple[Floats, Floats]:
        """Return time and sine of each pass's greatest elevation, which is at a maximum or at an edge."""
        satellite, station = np.divmod(key, len(self.sites))
        tca_s, sine = (aos_s + los_s) / 2, self.sites.mask_sine[station]
        # Passes are sorted by key and time, so a maximum belongs to the last pass that begins before it.
        top_key, top_s, top_sine = tops
        span_s = self.end_s + 1.0
        holder = np.searchsorted(key * span_s + aos_s, top_key * span_s + top_s, side="right") - 1
        held = np.flatnonzero((holder >= 0) & (key[holder] == top_key) & (top_s <= los_s[holder]))
        rows = held[
            np.argsort(top_sine[held], kind="stable")
        ]  # of several maxima, the greatest is written last
        tca_s[holder[rows]], sine[holder[rows]] = top_s[rows], top_sine[rows]
        for edge_s, at_edge in ((aos_s, aos_s <= 0), (los_s, los_s >= self.end_s)):
            cut = np.flatnonzero(at_edge)
            states = self.fleet.states_of(satellite[cut], edge_s[cut])
            there = self.sites.sine_of(station[cut], states.position_m)
            better = there > sine[cut]
            tca_s[cut[better]], sine[cut[better]] = edge_s[cut[better]], there[better]
        return tca_s, sine


def _joined(parts: Sequence[_Events]) -> _Events:
    return _Events(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Events)))


class _Cubic:
    """The Hermite cubic through the states at both ends of each event's cell."""

    def __init__(self, states: States, events: _Events, step_s: float) -> None:
        before = states[events.satellite, events.cell]
        after = states[events.satellite, events.cell + 1]
        rise = after.position_m - before.position_m
        start, end = before.velocity_m_s * step_s, after.velocity_m_s * step_s
        self._parts = (before.position_m, start, 3 * rise - 2 * start - end, start + end - 2 * rise)
        self._step_s = step_s

    def at(self, share: Floats) -> States:
        """Return the states at a position (0 to 1) within each cell."""
        a, b, c, d = self._parts
        return States(
            ((d * share + c) * share + b) * share + a, ((3 * d * share + 2 * c) * share + b) / self._step_s
        )


def bracketed_roots(
    function: Callable[[Floats], Floats], low: float | Floats, high: float | Floats, count: int
) -> Floats:
    """Find one root of each of `count` functions between `low` and `high`, all at once.

    This is the Illinois variant of regula falsi (Dowell and Jarratt, BIT 11, 1971), which does not get stuck
    at one end. If both ends have the same sign, the result is an arbitrary point of the interval.
    """
    low, high = np.full(count, low), np.full(count, high)
    if not count:
        return low
    at_low, at_high = function(low), function(high)
    for _ in range(_ROOT_STEPS):
        fall = at_high - at_low
        share = np.divide(at_high, fall, out=np.full_like(fall, 0.5), where=fall != 0)
        middle = high - np.clip(share, 0.0, 1.0) * (high - low)
        if np.abs(middle - high).max() < _ROOT_WITHIN:
            break
        at_middle = function(middle)
        same = (at_middle < 0) == (at_high < 0)
        low, at_low = np.where(same, low, high), np.where(same, 0.5 * at_low, at_high)
        high, at_high = middle, at_middle
    return middle
