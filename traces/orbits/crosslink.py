"""Links between satellites: windows of visibility past the Earth, distance and its rate of change.

Two satellites see each other if the straight line between them stays above a grazing altitude over the WGS 84
ellipsoid. The ellipsoid is made a sphere by stretching the z axis, which gives altitudes to 0.4 %. A link may
also be limited to a distance, and to the rate at which its terminals can turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from skyfield.api import wgs84

from traces.errors import OrbitError, TraceError
from traces.orbits.elements import Satellite, element_set_of
from traces.orbits.propagation import Fleet, Floats, check_window, warn_if_stale
from traces.orbits.station_geometry import dot
from traces.radio.link_budget import SPEED_OF_LIGHT_M_S, RadioLink
from traces.trace import Contact, Trace, TraceHeader

GRAZING_ALTITUDE_M = 100e3
"""Default minimum height of the line of sight: above weather and most of the atmosphere."""

_EARTH_RAD_S = 7.292115e-5  # WGS 84
_GRID_S = 20.0
_GOLDEN = (5**0.5 - 1) / 2
_TO_PEAK = 21  # 40 s * 0.618**21 = 2 ms; a shorter window may be missed
_TO_EDGE = 16  # 20 s / 2**16 = 0.3 ms
_MOST_ROWS = 20_000_000


@dataclass(frozen=True)
class Crosslink:
    """The geometry between two satellites; float64[n] each.

    Args:
        range_m: distance.
        range_rate_m_s: rate of change of the distance.
        line_altitude_m: minimum height of the straight line between them above the ellipsoid.
        slew_rad_s: rate at which the faster of the two terminals turns on a satellite that always has the
            same side down.
    """

    range_m: Floats
    range_rate_m_s: Floats
    line_altitude_m: Floats
    slew_rad_s: Floats

    @property
    def delay_s(self) -> Floats:
        """The one-way delay in seconds."""
        return self.range_m / SPEED_OF_LIGHT_M_S

    def doppler_hz(self, carrier_hz: float) -> Floats:
        """Return the Doppler shift of `carrier_hz` at each end, to first order in v/c."""
        return -self.range_rate_m_s / SPEED_OF_LIGHT_M_S * carrier_hz


def crosslink(first: Satellite, second: Satellite, start_utc: datetime, times_s: npt.ArrayLike) -> Crosslink:
    """Return the geometry between two satellites at `start_utc` + `times_s`.

    Raises:
        OrbitError: SGP4 cannot propagate an orbit to one of the times.
    """
    return _seen(Fleet([first, second], start_utc), times_s)


def _seen(fleet: Fleet, times_s: npt.ArrayLike) -> Crosslink:
    states = fleet.states(times_s)
    apart_m = states.position_m[:, 1] - states.position_m[:, 0]
    # Both velocities are in a rotating frame, whose contribution to their difference is across the line.
    away_m_s = states.velocity_m_s[:, 1] - states.velocity_m_s[:, 0]
    range_m = np.sqrt(dot(apart_m, apart_m))
    stretch = np.array([1.0, 1.0, 1 / (1 - 1 / wgs84.inverse_flattening)])[:, np.newaxis]
    near, line = states.position_m[:, 0] * stretch, apart_m * stretch
    share = np.clip(-dot(near, line) / np.maximum(dot(line, line), 1e-12), 0.0, 1.0)
    lowest = near + share * line
    far_m = np.maximum(range_m, 1e-6)
    slew_rad_s = [
        _slew_rad_s(states.position_m[:, end], states.velocity_m_s[:, end], apart_m / far_m, away_m_s / far_m)
        for end in (0, 1)
    ]
    return Crosslink(
        range_m,
        dot(apart_m, away_m_s) / far_m,
        np.sqrt(dot(lowest, lowest)) - wgs84.radius.m,
        np.maximum(*slew_rad_s),
    )


def _slew_rad_s(position_m: Floats, velocity_m_s: Floats, line: Floats, away_1_s: Floats) -> Floats:
    """Return how fast the line turns as seen from a satellite that turns once per orbit.

    Args:
        position_m: of the satellite, in a frame that turns with the Earth.
        velocity_m_s: likewise.
        line: unit vector of the line.
        away_1_s: difference of the two velocities over the distance.
    """
    spin = np.zeros_like(position_m)
    spin[2] = _EARTH_RAD_S
    orbit = np.cross(position_m, velocity_m_s + np.cross(spin, position_m, axis=0), axis=0)
    orbit /= dot(position_m, position_m)
    turning = away_1_s - line * dot(line, away_1_s) - np.cross(orbit - spin, line, axis=0)
    return np.asarray(np.sqrt(dot(turning, turning)))


def sight(
    first: Satellite,
    second: Satellite,
    start_utc: datetime,
    length_s: float,
    *,
    grazing_altitude_m: float = GRAZING_ALTITUDE_M,
    max_range_m: float | None = None,
    max_slew_deg_s: float | None = None,
) -> list[Contact]:
    """Find the intervals in which two satellites see each other, with begin and end to 1 ms.

    Intervals longer than 2 ms are never missed.

    Args:
        first: element set, or skyfield's EarthSatellite.
        second: likewise.
        start_utc: start of the window, with a time zone.
        length_s: length of the window.
        grazing_altitude_m: minimum height of the line of sight above the ellipsoid, -100 km to 10,000 km.
        max_range_m: largest distance; None for any.
        max_slew_deg_s: fastest turn of a terminal; None for any. See `Crosslink.slew_rad_s`.

    Raises:
        OrbitError: SGP4 cannot propagate an orbit over the whole window, or the window or a limit is out of
            range.
    """
    check_window(start_utc, length_s)
    if not -100e3 <= grazing_altitude_m <= 10_000e3:
        raise OrbitError(f"grazing altitude {grazing_altitude_m:g} m is out of range; expected -1e5 to 1e7")
    for name, limit in (("range", max_range_m), ("slew", max_slew_deg_s)):
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise OrbitError(f"the largest {name} is {limit}; expected a number above 0")
    fleet = Fleet([first, second], start_utc)

    def clear(times_s: Floats) -> Floats:
        """Return by how much the limit that is nearest is kept: metres, and micro-degrees a second."""
        seen = _seen(fleet, times_s)
        left = seen.line_altitude_m - grazing_altitude_m
        if max_range_m is not None:
            left = np.minimum(left, max_range_m - seen.range_m)
        if max_slew_deg_s is not None:
            left = np.minimum(left, (max_slew_deg_s - np.degrees(seen.slew_rad_s)) * 1e6)
        return left

    grid_s = np.linspace(0.0, length_s, max(2, math.ceil(length_s / _GRID_S)) + 1)
    on_grid = clear(grid_s)
    turns = [_turns(clear, grid_s, sign * on_grid, sign) for sign in (1, -1)]
    times_s = np.unique(np.concatenate([grid_s, *turns]))
    up = clear(times_s) > 0
    before = np.flatnonzero(up[1:] != up[:-1])
    low, high, up_before = times_s[before], times_s[before + 1], up[before]
    for _ in range(_TO_EDGE if len(before) else 0):
        middle = (low + high) / 2
        same = (clear(middle) > 0) == up_before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    edges = ((low + high) / 2).tolist()
    bounds = [*([0.0] if up[0] else []), *edges, *([float(length_s)] if up[-1] else [])]
    return [Contact(begin, end) for begin, end in zip(bounds[::2], bounds[1::2], strict=True)]


def _turns(clear: Callable[[Floats], Floats], grid_s: Floats, values: Floats, sign: int) -> Floats:
    """Find the maximum of `sign` * `clear` near each maximum of the grid by golden-section search."""
    tops = 1 + np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:]))
    tops = tops[values[tops] < 0]  # a maximum that is above hides no interval
    low, high = np.append(grid_s[tops - 1], grid_s[[0, -2]]), np.append(grid_s[tops + 1], grid_s[[1, -1]])
    for _ in range(_TO_PEAK):
        span = (high - low) * _GOLDEN
        left, right = high - span, low + span
        rising = sign * clear(left) < sign * clear(right)
        low, high = np.where(rising, left, low), np.where(rising, high, right)
    return (low + high) / 2


def make_crosslink_trace(  # noqa: PLR0913 - by name, all but the first four
    first: Satellite,
    second: Satellite,
    start_utc: datetime,
    length_s: float,
    *,
    forward: RadioLink | float,
    back: RadioLink | float,
    grazing_altitude_m: float = GRAZING_ALTITUDE_M,
    max_range_m: float | None = None,
    max_slew_deg_s: float | None = None,
    step_s: float = 1.0,
) -> Trace:
    """Compute the trace of a link between two satellites; `second` takes the place of the ground station.

    Args:
        first: element set, or skyfield's EarthSatellite.
        second: likewise.
        start_utc: second 0 of the trace, with a time zone.
        length_s: length of the trace, at most 31 days.
        forward: radio from first to second, the trace's downlink; or a fixed rate in bit/s, as of an optical
            terminal.
        back: from second to first, the trace's uplink.
        grazing_altitude_m: minimum height of the line of sight.
        max_range_m: as for `sight`.
        max_slew_deg_s: likewise.
        step_s: time between rows while the satellites see each other.

    Raises:
        OrbitError: SGP4 cannot propagate an orbit, or the window or a limit is out of range.
        TraceError: The step is below 1 ms, or so small that there would be too many rows.

    Warns:
        StaleElementsWarning: The window is more than 7 days from the epoch of an element set.
    """
    windows = sight(
        first,
        second,
        start_utc,
        length_s,
        grazing_altitude_m=grazing_altitude_m,
        max_range_m=max_range_m,
        max_slew_deg_s=max_slew_deg_s,
    )
    if not (np.isfinite(step_s) and step_s >= 1e-3 and length_s / step_s <= _MOST_ROWS):
        raise TraceError(f"step is {step_s} s; expected at least 0.001, for at most {_MOST_ROWS} rows")
    warn_if_stale([first, second], start_utc, length_s)
    ends = [element_set_of(satellite) for satellite in (first, second)]
    grid_s: Floats = np.arange(math.ceil(length_s / step_s), dtype=np.float64) * step_s
    begins = np.array([round(window.aos_s, 3) for window in windows])
    stops = np.array([round(window.los_s, 3) for window in windows])
    inside = ((grid_s[:, np.newaxis] >= begins) & (grid_s[:, np.newaxis] < stops)).any(1)
    time_s = np.unique(np.concatenate([[0.0], grid_s[inside].round(6), begins, stops]))
    time_s = time_s[time_s < length_s]
    up = np.searchsorted(begins, time_s, side="right") > np.searchsorted(stops, time_s, side="right")
    seen = crosslink(first, second, start_utc, time_s)
    rates = [
        np.where(up, radio.rate_bit_s(seen.range_m) if isinstance(radio, RadioLink) else radio, 0.0)
        for radio in (forward, back)
    ]
    limits = f"line of sight at least {grazing_altitude_m / 1e3:g} km above the Earth"
    limits += "" if max_range_m is None else f", at most {max_range_m / 1e3:g} km long"
    limits += "" if max_slew_deg_s is None else f", turning at most {max_slew_deg_s:g} degrees a second"
    delay_s = np.where((rates[0] > 0) | (rates[1] > 0), seen.delay_s.round(9), 0.0)
    return Trace(
        header=TraceHeader(
            satellite=ends[0].name,
            station=ends[1].name,
            start_utc=start_utc,
            made_by="spaceverse (SGP4, line of sight between satellites)",
            notes=(
                *(f"elements: {line}" for end in ends for line in end.text_lines()),
                limits,
                f"{ends[0].name} to {ends[1].name}: {_summary(forward)}",
                f"{ends[1].name} to {ends[0].name}: {_summary(back)}",
            ),
            element_epoch_utc=min(end.epoch_utc for end in ends),
        ),
        time_s=time_s,
        downlink_up=rates[0] > 0,
        uplink_up=rates[1] > 0,
        down_bit_s=rates[0],
        up_bit_s=rates[1],
        down_delay_s=delay_s,
        up_delay_s=delay_s,
        down_loss=np.zeros_like(time_s),
        up_loss=np.zeros_like(time_s),
        end_s=length_s,
        extra={"range_m": seen.range_m.round(1), "line_altitude_m": seen.line_altitude_m.round(1)},
    )


def _summary(radio: RadioLink | float) -> str:
    return radio.summary() if isinstance(radio, RadioLink) else f"fixed rate, {radio:g} bit/s"
