"""Passes and look angles, against skyfield's own search and a calculation that shares only SGP4."""

from __future__ import annotations

import math
import warnings
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgp4.api import Satrec, jday
from skyfield.api import EarthSatellite, load, wgs84

from traces.errors import OrbitError, StaleElementsWarning, StationError
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import read_elements
from traces.orbits.orbit import ground_track, look_angles, visibility_circle
from traces.orbits.passes import passes_over
from traces.orbits.propagation import age_days, warn_if_stale
from traces.orbits.stations import STATIONS, GroundStation, station
from traces.orbits.tle import FLOCK_TLE

DAY_S = 86_400.0


def own_position(element_set: ElementSet, moment: datetime) -> np.ndarray:
    """SGP4's TEME position turned by Greenwich mean sidereal time (IAU 1982): Earth-fixed km.

    Leaves out polar motion (15 m) and UT1-UTC (0.2 s in January 2018, 93 m at the equator).
    """
    seconds = moment.second + moment.microsecond * 1e-6
    whole, part = jday(moment.year, moment.month, moment.day, moment.hour, moment.minute, seconds)
    error, position, _ = Satrec.twoline2rv(element_set.line1, element_set.line2).sgp4(whole, part)
    assert error == 0
    centuries = (whole - 2451545.0 + part) / 36525
    gmst_s = 67310.54841 + (876600 * 3600 + 8640184.812866) * centuries + 0.093104 * centuries**2
    angle = math.radians(gmst_s / 240 % 360)
    turn = np.array(
        [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    return turn @ np.array(position)


def own_station(place: GroundStation) -> tuple[np.ndarray, np.ndarray]:
    """Earth-fixed km of a place on WGS 84, and its vertical."""
    latitude, longitude = math.radians(place.latitude_deg), math.radians(place.longitude_deg)
    flattening = 1 / 298.257223563
    e2 = flattening * (2 - flattening)
    normal_km = 6378.137 / math.sqrt(1 - e2 * math.sin(latitude) ** 2)
    height_km = place.altitude_m / 1000
    up = np.array(
        [
            math.cos(latitude) * math.cos(longitude),
            math.cos(latitude) * math.sin(longitude),
            math.sin(latitude),
        ]
    )
    return up * np.array([normal_km + height_km] * 2 + [normal_km * (1 - e2) + height_km]), up


@settings(max_examples=40, deadline=None)
@given(
    index=st.integers(0, 187),
    place=st.sampled_from(STATIONS),
    second=st.floats(0, DAY_S, allow_subnormal=False),
)
def test_look_angles_agree_with_a_calculation_of_our_own(index: int, place: GroundStation, second: float):
    element_set = read_elements(FLOCK_TLE)[index]
    start = datetime.fromisoformat("2018-01-20T00:00:00+00:00")
    look = look_angles(element_set, place, start, [second])
    here, up = own_station(place)
    sight_km = own_position(element_set, start + timedelta(seconds=second)) - here
    range_km = float(np.linalg.norm(sight_km))
    assert look.slant_range_m[0] / 1000 == pytest.approx(range_km, abs=1.0)
    elevation_deg = math.degrees(math.asin(sight_km @ up / range_km))
    assert look.elevation_deg[0] == pytest.approx(elevation_deg, abs=0.02)


def test_every_second_of_a_pass_is_where_skyfield_says(dove, svalbard, day):
    one = max(passes_over(dove, svalbard, day, 43_200), key=lambda found: found.max_elevation_deg)
    times_s = np.arange(math.ceil(one.aos_s), one.los_s)
    look = look_angles(dove, svalbard, day, times_s)
    scale = load.timescale(builtin=True)
    there = wgs84.latlon(svalbard.latitude_deg, svalbard.longitude_deg, elevation_m=svalbard.altitude_m)
    moments = scale.utc(2018, 1, 20, 0, 0, times_s)
    seen = (EarthSatellite(dove.line1, dove.line2, "", scale) - there).at(moments)
    elevation, azimuth, distance, _, _, rate = seen.frame_latlon_and_rates(there)
    assert look.slant_range_m == pytest.approx(distance.m, abs=0.01)
    assert look.delay_s == pytest.approx(distance.m / 299_792_458, abs=1e-10)
    assert look.elevation_deg == pytest.approx(elevation.degrees, abs=1e-6)
    assert look.azimuth_deg == pytest.approx(azimuth.degrees, abs=1e-5)
    assert look.range_rate_m_s == pytest.approx(rate.m_per_s, abs=0.01)
    shift_hz = look.doppler_hz(8.2e9)
    assert shift_hz[0] > 150e3 > -150e3 > shift_hz[-1]


def test_seconds_count_through_a_leap_second(dove, svalbard):
    """Through 23:59:60 of 31 December 2016, as skyfield's own time scale counts."""
    start = datetime(2016, 12, 31, 23, 59, 50, tzinfo=timezone.utc)
    times_s = np.array([0.0, 9.5, 10.5, 11.5, 300.25])
    look = look_angles(dove, svalbard, start, times_s)
    scale = load.timescale(builtin=True)
    there = wgs84.latlon(svalbard.latitude_deg, svalbard.longitude_deg, elevation_m=svalbard.altitude_m)
    moments = scale.utc(2016, 12, 31, 23, 59, 50 + times_s)
    seen = (EarthSatellite(dove.line1, dove.line2, "", scale) - there).at(moments)
    assert look.slant_range_m == pytest.approx(seen.distance().m, abs=0.01)


def test_earth_satellites_of_skyfield_are_taken(dove, svalbard, day):
    scale = load.timescale(builtin=True)
    theirs = EarthSatellite(dove.line1, dove.line2, dove.name, scale)
    ours, same = (look_angles(one, svalbard, day, [0.0, 40_000.0]) for one in (dove, theirs))
    assert same.slant_range_m == pytest.approx(ours.slant_range_m, abs=0.05)  # the epoch is kept to 1 us
    assert len(passes_over(theirs, svalbard, day, 43_200)) == len(passes_over(dove, svalbard, day, 43_200))


def test_elevation_crosses_the_mask_at_aos_and_los_and_peaks_at_tca(dove, svalbard, day):
    found = passes_over(dove, svalbard, day, DAY_S, elevation_mask_deg=10)
    assert len(found) == 11
    for one in found:
        assert one.whole
        edges = np.array([one.aos_s - 0.01, one.aos_s + 0.01, one.los_s - 0.01, one.los_s + 0.01])
        elevation = look_angles(dove, svalbard, day, edges).elevation_deg
        assert elevation[0] < 10 < elevation[1]
        assert elevation[2] > 10 > elevation[3]
        around = look_angles(dove, svalbard, day, one.tca_s + np.array([-1.0, 0.0, 1.0])).elevation_deg
        assert around[1] == pytest.approx(one.max_elevation_deg, abs=1e-9)
        assert around[1] > max(around[0], around[2])


def test_a_pass_shorter_than_the_grid_is_found(dove, svalbard, day):
    (high,) = passes_over(dove, svalbard, day + timedelta(hours=11), 3600)
    for below_deg in (1e-2, 1e-4):
        found = passes_over(
            dove,
            svalbard,
            day + timedelta(hours=11),
            3600,
            elevation_mask_deg=high.max_elevation_deg - below_deg,
        )
        assert len(found) == 1
        assert found[0].duration_s < 3
        assert found[0].aos_s < high.tca_s < found[0].los_s


def test_a_window_cuts_passes_and_says_so(dove, svalbard, day):
    (one,) = passes_over(dove, svalbard, day + timedelta(hours=11), 3600)
    (late,) = passes_over(dove, svalbard, day + timedelta(hours=11, seconds=one.tca_s), 3000)
    assert late.aos_s == 0
    assert not late.whole
    assert late.los_s == pytest.approx(one.los_s - one.tca_s, abs=0.01)
    (middle,) = passes_over(dove, svalbard, day + timedelta(hours=11, seconds=one.tca_s + 60), 10)
    assert (middle.aos_s, middle.los_s, middle.whole) == (0, 10, False)


@settings(max_examples=6, deadline=None)
@given(offset_s=st.floats(0, 5400), mask=st.floats(0, 60))
def test_a_window_that_begins_later_has_the_same_whole_passes(offset_s: float, mask: float):
    dove = read_elements(FLOCK_TLE)[0]
    site = station("Svalbard")
    start = datetime.fromisoformat("2018-01-20T09:00:00+00:00")
    found = [one for one in passes_over(dove, site, start, 14_400, elevation_mask_deg=mask) if one.whole]
    later = start + timedelta(seconds=offset_s)
    again = passes_over(dove, site, later, 14_400 - offset_s, elevation_mask_deg=mask)
    expected = [one.aos_s for one in found if one.aos_s > offset_s]
    assert [one.aos_s + offset_s for one in again if one.whole] == pytest.approx(expected, abs=0.01)


def test_the_ground_track_is_below_the_satellite(dove, day):
    times_s = np.arange(0, 5700, 300.0)
    latitude, longitude = ground_track(dove, day, times_s)
    assert latitude.shape == longitude.shape == times_s.shape
    assert abs(latitude).max() <= 83  # inclination 97.4 degrees reaches 82.6
    assert np.abs(longitude).max() <= 180
    for index in (0, 7, 18):
        below = GroundStation("below", latitude[index], longitude[index], 0)
        assert look_angles(dove, below, day, times_s[index : index + 1]).elevation_deg[0] > 89.99


def test_stale_elements_are_told_with_their_age(dove, day):
    with pytest.warns(StaleElementsWarning, match=r"FLOCK 2P-1 are 30\.\d days from their epoch"):
        warn_if_stale(dove, day + timedelta(days=31), 3600)
    with pytest.warns(StaleElementsWarning, match=r"20\.9 days"):
        warn_if_stale(dove, day - timedelta(days=20), 3600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_stale(dove, day - timedelta(days=6), DAY_S)
    assert age_days(dove, day, DAY_S) == pytest.approx(22.143 / 24, abs=1e-3)


def test_what_cannot_be_is_refused(flock, dove, svalbard, day):
    with pytest.raises(OrbitError, match=r"FLOCK 2E'-6 cannot be propagated to 2035"):
        look_angles(flock[1], svalbard, day.replace(year=2035), [0.0, 1.0])
    with pytest.raises(OrbitError, match="FLOCK 2E'-6 cannot"):
        ground_track(flock[1], day.replace(year=2035), [0.0])
    for length_s in (0, -1, math.nan, 32 * DAY_S):
        with pytest.raises(OrbitError, match="at most 31 days"):
            passes_over(dove, svalbard, day, length_s)
    with pytest.raises(OrbitError, match="leaves the calendar"):
        passes_over(dove, svalbard, day.replace(year=9999, month=12, day=31), 2 * DAY_S)
    with pytest.raises(StationError, match="elevation mask"):
        passes_over(dove, svalbard, day, 3600, elevation_mask_deg=91)


@pytest.mark.parametrize(("name", "mask_deg"), [("Svalbard", 10), ("Awarua", 30), ("1.35,103.8,15", 0)])
def test_the_circle_of_a_station_bounds_where_satellites_are_above_its_mask(name, mask_deg):
    place = station(name)
    altitude_m = 500e3
    latitude_deg, longitude_deg = visibility_circle(place, altitude_m, mask_deg)
    site = wgs84.latlon(place.latitude_deg, place.longitude_deg, place.altitude_m)
    for latitude, longitude in zip(latitude_deg[::20], longitude_deg[::20], strict=True):
        above = wgs84.latlon(latitude, longitude, altitude_m)
        line = above.itrs_xyz.m - site.itrs_xyz.m
        up = site.itrs_xyz.m / np.linalg.norm(site.itrs_xyz.m)
        elevation_deg = np.degrees(np.arcsin(line @ up / np.linalg.norm(line)))
        assert elevation_deg == pytest.approx(mask_deg, abs=0.6)  # the Earth is flatter than the circle's
