"""Satellites that see each other past the Earth, against geometry of our own and skyfield."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, load

from traces.errors import OrbitError, TraceError
from traces.orbits.crosslink import crosslink, make_crosslink_trace, sight
from traces.orbits.elements import read_elements
from traces.orbits.tle import FLOCK_TLE
from traces.orbits.walker import walker
from traces.radio.link_budget import DOVE_X_BAND
from traces.trace_file import format_trace, parse_trace

DAY = datetime(2018, 1, 20, tzinfo=timezone.utc)


def test_distance_and_speed_are_skyfields(flock, day):
    first, second = flock[0], flock[120]
    times_s = np.arange(0, 6000, 250.0)
    seen = crosslink(first, second, day, times_s)
    scale = load.timescale(builtin=True)
    moments = scale.utc(2018, 1, 20, 0, 0, times_s)
    ends = [EarthSatellite(one.line1, one.line2, "", scale).at(moments) for one in (first, second)]
    apart_m = ends[1].xyz.m - ends[0].xyz.m
    assert seen.range_m == pytest.approx(np.linalg.norm(apart_m, axis=0), abs=0.01)
    away_m_s = ends[1].velocity.m_per_s - ends[0].velocity.m_per_s
    rate_m_s = (apart_m * away_m_s).sum(0) / np.linalg.norm(apart_m, axis=0)
    assert seen.range_rate_m_s == pytest.approx(rate_m_s, abs=0.02)
    assert seen.delay_s == pytest.approx(seen.range_m / 299_792_458)
    assert np.sign(seen.doppler_hz(26e9)).tolist() == (-np.sign(seen.range_rate_m_s)).tolist()


@settings(max_examples=15, deadline=None)
@given(pair=st.tuples(st.integers(0, 187), st.integers(0, 187)), grazing_m=st.floats(0, 400e3))
def test_the_line_is_clear_inside_a_window_and_not_outside(pair: tuple[int, int], grazing_m: float):
    flock = read_elements(FLOCK_TLE)
    first, second = (flock[index] for index in pair)
    windows = sight(first, second, DAY, 20_000, grazing_altitude_m=grazing_m)
    times_s = np.linspace(0, 20_000, 5001)
    clear_m = crosslink(first, second, DAY, times_s).line_altitude_m - grazing_m
    inside = np.zeros(len(times_s), bool)
    for window in windows:
        inside |= (times_s >= window.aos_s) & (times_s <= window.los_s)
    sure = np.abs(clear_m) > 30
    assert np.array_equal(inside[sure], clear_m[sure] > 0)


def test_neighbours_of_one_plane_always_see_each_other_and_opposites_never():
    ring = walker(12, 1, 0, inclination_deg=97, altitude_m=600e3, epoch_utc=DAY)
    ((begin_s, end_s),) = [(one.aos_s, one.los_s) for one in sight(ring[0], ring[1], DAY, 20_000)]
    assert (begin_s, end_s) == (0, 20_000)
    assert sight(ring[0], ring[6], DAY, 20_000) == []
    # A chord of 30 degrees at 6978 km comes down to 6978 cos(15 deg) = 6740 km.
    altitude_m = crosslink(ring[0], ring[1], DAY, np.arange(0, 6000, 60.0)).line_altitude_m
    assert 350e3 < altitude_m.min() < altitude_m.max() < 395e3


def test_satellites_of_one_circular_orbit_keep_their_distance_and_need_not_turn():
    ring = walker(12, 1, 0, inclination_deg=97, altitude_m=600e3, epoch_utc=DAY)
    seen = crosslink(ring[0], ring[1], DAY, np.arange(0, 6000, 60.0))
    chord_m = 2 * 6978e3 * np.sin(np.radians(15))
    assert seen.range_m == pytest.approx(chord_m, rel=0.005)  # the elements are mean ones
    assert np.degrees(seen.slew_rad_s).max() < 0.002


def test_perpendicular_planes_see_each_other_while_the_line_clears_the_earth():
    # Both at the argument u of latitude: the angle between them has the cosine sin(u)^2.
    first, second = walker(2, 2, 0, inclination_deg=90, altitude_m=1500e3, epoch_utc=DAY, star=True)
    radius_m, earth_m = 7878e3, 6367e3  # at 46 degrees, where the line is lowest as it clears the Earth
    widest = 2 * np.arccos((earth_m + 100e3) / radius_m)
    share = 1 - 2 * np.arcsin(np.sqrt(np.cos(widest))) / np.pi
    half_orbit_s = np.pi * np.sqrt(radius_m**3 / 3.986e14)
    windows = sight(first, second, DAY, 4 * half_orbit_s)
    whole = [window for window in windows if window.aos_s > 0 and window.los_s < 4 * half_orbit_s]
    assert len(whole) >= 3
    for window in whole:
        assert window.duration_s == pytest.approx(share * half_orbit_s, rel=0.02)
        assert (window.aos_s + window.los_s) / 2 % half_orbit_s == pytest.approx(half_orbit_s / 2, abs=30)


def test_a_terminal_turns_as_seen_from_a_satellite_with_one_side_down(flock):
    ends = flock[0], flock[150]
    times_s = np.arange(0, 6000, 1.0)
    seen = crosslink(*ends, DAY, times_s)
    moments = load.timescale(builtin=True).utc(2018, 1, 20, 0, 0, times_s)
    states = [
        EarthSatellite(one.line1, one.line2, "", load.timescale(builtin=True)).at(moments) for one in ends
    ]
    rates = []
    for own, other in (states, states[::-1]):
        line = other.xyz.m - own.xyz.m
        line /= np.linalg.norm(line, axis=0)
        radial = own.xyz.m / np.linalg.norm(own.xyz.m, axis=0)
        across = np.cross(own.xyz.m, own.velocity.m_per_s, axis=0)
        across /= np.linalg.norm(across, axis=0)
        axes = np.stack([radial, across, np.cross(across, radial, axis=0)])
        rates.append(np.linalg.norm(np.gradient(np.einsum("axt,xt->at", axes, line), axis=1), axis=0))
    expected = np.maximum(*rates)[1:-1]
    assert seen.slew_rad_s[1:-1] == pytest.approx(expected, rel=1e-3, abs=2e-6)
    assert np.degrees(expected).max() > 0.1


def test_limits_of_range_and_slew_hold_inside_and_not_outside(flock):
    first, second = flock[0], flock[150]
    limits = {"max_range_m": 3000e3, "max_slew_deg_s": 0.12}
    windows = sight(first, second, DAY, 20_000, **limits)
    times_s = np.arange(0, 20_000, 2.0)
    seen = crosslink(first, second, DAY, times_s)
    slew_deg_s = np.degrees(seen.slew_rad_s)
    allowed = (seen.line_altitude_m > 100e3) & (seen.range_m < 3000e3) & (slew_deg_s < 0.12)
    inside = np.zeros(len(times_s), bool)
    for window in windows:
        inside |= (times_s > window.aos_s) & (times_s < window.los_s)
    sure = (np.abs(seen.range_m - 3000e3) > 100) & (np.abs(slew_deg_s - 0.12) > 1e-4)
    assert np.array_equal(inside[sure], allowed[sure])
    assert len(windows) >= 2
    trace = make_crosslink_trace(first, second, DAY, 20_000, forward=1e8, back=2e6, **limits)
    assert len(trace.contacts("both")) == len(windows)
    assert (set(trace.down_bit_s[trace.up]), set(trace.up_bit_s[trace.up])) == ({1e8}, {2e6})


def test_a_window_shorter_than_the_grid_is_found(flock):
    # Two rings that cross: the line between these two is highest for a moment, four times a day and more.
    first, second = flock[0], flock[150]
    times_s = np.arange(0, 20_000, 1.0)
    altitude_m = crosslink(first, second, DAY, times_s).line_altitude_m
    tops = 1 + np.flatnonzero((altitude_m[1:-1] > altitude_m[:-2]) & (altitude_m[1:-1] >= altitude_m[2:]))
    assert len(tops) >= 2
    for top in tops:
        # At 0.01 m below the top of a curve that bends by metres per s^2 the window lasts a moment.
        lowered_m = float(altitude_m[top]) - 0.01
        found = sight(first, second, DAY, 20_000, grazing_altitude_m=lowered_m)
        near = [window for window in found if window.aos_s - 1 <= times_s[top] <= window.los_s + 1]
        assert len(near) == 1
        assert near[0].duration_s < 20


def test_the_trace_of_a_relay_follows_the_distance(flock):
    first, second = flock[0], flock[150]
    strong = replace(DOVE_X_BAND, eirp_dbw=35.0)
    trace = make_crosslink_trace(first, second, DAY, 6000, forward=strong, back=strong.capped(1e6), step_s=5)
    weak = make_crosslink_trace(first, second, DAY, 6000, forward=DOVE_X_BAND, back=strong, step_s=5)
    assert 0 < weak.downlink_up.sum() < trace.downlink_up.sum()
    assert weak.contacts("up") == weak.contacts() == trace.contacts("both")
    windows = sight(first, second, DAY, 6000)
    assert [one.aos_s for one in trace.contacts()] == pytest.approx([one.aos_s for one in windows], abs=1e-3)
    assert [one.los_s for one in trace.contacts()] == pytest.approx([one.los_s for one in windows], abs=1e-3)
    seen = crosslink(first, second, DAY, trace.time_s[trace.up])
    assert trace.down_delay_s[trace.up] == pytest.approx(seen.delay_s, abs=1e-9)
    assert set(trace.up_bit_s[trace.up]) <= {1e6}
    assert (trace.header.satellite, trace.header.station) == (first.name, second.name)
    assert parse_trace(format_trace(trace)) == trace


def test_what_cannot_be_is_refused(flock):
    with pytest.raises(OrbitError, match="grazing altitude"):
        sight(flock[0], flock[1], DAY, 60, grazing_altitude_m=2e7)
    with pytest.raises(OrbitError, match="largest range is -1"):
        sight(flock[0], flock[1], DAY, 60, max_range_m=-1)
    with pytest.raises(OrbitError, match="31 days"):
        sight(flock[0], flock[1], DAY, 0)
    with pytest.raises(TraceError, match="step is"):
        make_crosslink_trace(flock[0], flock[1], DAY, 60, forward=DOVE_X_BAND, back=DOVE_X_BAND, step_s=0)
