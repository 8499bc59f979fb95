"""Whole constellations at once, against skyfield's search, brahe's, and SGP4 itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skyfield.api import EarthSatellite, wgs84

from traces.errors import OrbitError, StationError
from traces.orbits import passes as passes_module
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import read_elements
from traces.orbits.orbit import look_angles
from traces.orbits.passes import PassTable, bracketed_roots, find_passes
from traces.orbits.propagation import Fleet, timescale
from traces.orbits.station_geometry import Sites
from traces.orbits.stations import STATIONS, GroundStation
from traces.orbits.tle import FLOCK_TLE, parse_tle

DAY_S = 86_400.0
SITES = STATIONS[:12]

# A geostationary satellite, one in a Molniya orbit, one in a transfer orbit: not only LEO.
HIGH = """GEO
1 41866U 16071A   18020.50000000  .00000000  00000-0  00000-0 0  9991
2 41866   0.0200  90.0000 0000800  20.0000 200.0000  1.00271000  4000
MOLNIYA
1 40296U 14069A   18020.50000000  .00000000  00000-0  00000-0 0  9995
2 40296  63.4000 150.0000 7200000 270.0000  10.0000  2.00600000 20001
TRANSFER
1 40883U 15042B   18020.50000000  .00010000  00000-0  20000-3 0  9995
2 40883   6.0000 200.0000 7250000 180.0000   5.0000  2.30000000 20000
"""


def checked(lines: str) -> list[ElementSet]:
    """Read elements whose last digits are wrong on purpose: nobody computes checksums by hand."""
    from traces.orbits.tle import checksum

    mended = [
        line[:68] + str(checksum(line)) if line[:2] in ("1 ", "2 ") else line for line in lines.splitlines()
    ]
    return parse_tle("\n".join(mended))


def skyfield_events(
    element_set: ElementSet, site: GroundStation, start: datetime, mask_deg: float
) -> tuple[list[float], list[float]]:
    """Rises and sets by find_events, which stops within half a second; then by skyfield's own altitude."""
    scale = timescale()
    satellite = EarthSatellite(element_set.line1, element_set.line2, "", scale)
    place = wgs84.latlon(site.latitude_deg, site.longitude_deg, elevation_m=site.altitude_m)
    begin = scale.from_datetime(start)
    moments, kinds = satellite.find_events(place, begin, begin + 1, altitude_degrees=mask_deg)
    times_s = np.array([float(moment - begin) * DAY_S for moment in moments])
    edges_s, rising = times_s[kinds != 1], kinds[kinds != 1] == 0
    if not len(edges_s):
        return [], []

    def height(seconds: np.ndarray) -> np.ndarray:
        at = scale.tt_jd(begin.whole, begin.tt_fraction + (edges_s + seconds) / DAY_S)
        return (satellite - place).at(at).altaz()[0].degrees - mask_deg

    exact_s = edges_s + bracketed_roots(height, -0.6, 0.6, len(edges_s))
    return exact_s[rising].tolist(), exact_s[~rising].tolist()


def of_pair(table: PassTable, satellite: int, station: int) -> PassTable:
    return table.taken(np.flatnonzero((table.satellite == satellite) & (table.station == station)))


def test_the_same_passes_as_skyfield(flock, day):
    chosen, sites = [flock[0], flock[63], flock[150]], SITES[::3]
    table = find_passes(chosen, sites, day, DAY_S)
    compared = 0
    for satellite, element_set in enumerate(chosen):
        for station, site in enumerate(sites):
            mine = of_pair(table, satellite, station)
            rises, sets = skyfield_events(element_set, site, day, 5.0)
            assert mine.aos_s[mine.aos_s > 0] == pytest.approx(rises, abs=0.01)
            assert mine.los_s[mine.los_s < DAY_S] == pytest.approx(sets, abs=0.01)
            compared += len(rises)
    assert compared > 40


def test_the_same_passes_as_brahe(flock, day):
    """Its frames are IAU 2006 with UT1 given; its step must be short, or it misses short passes."""
    brahe = pytest.importorskip("brahe")
    chosen, sites = flock[5:7], SITES[::4]
    dut1 = float(timescale().from_datetime(day).dut1)
    brahe.set_global_eop_provider_from_static_provider(
        brahe.StaticEOPProvider.from_values(0.0, 0.0, dut1, 0.0, 0.0, 0.0)
    )
    start = brahe.Epoch(day.year, day.month, day.day, 0, 0, 0.0)
    windows = brahe.location_accesses(
        [brahe.PointLocation(s.longitude_deg, s.latitude_deg, s.altitude_m).with_name(s.name) for s in sites],
        [brahe.SGPPropagator.from_tle(one.line1, one.line2).with_name(one.name) for one in chosen],
        start,
        start + DAY_S,
        brahe.ElevationConstraint(5.0),
        config=brahe.AccessSearchConfig(initial_time_step=10.0),
    )
    theirs = sorted(
        (
            [one.name for one in chosen].index(window.satellite_name),
            [site.name for site in sites].index(window.location_name),
            window.window_open - start,
            window.window_close - start,
        )
        for window in windows
    )
    table = find_passes(chosen, sites, day, DAY_S)
    assert [row[:2] for row in theirs] == list(zip(table.satellite, table.station, strict=True))
    allowed_s = np.where(table.max_elevation_deg < 5.5, 2.0, 0.1)
    assert (np.abs([row[2] for row in theirs] - table.aos_s) < allowed_s).all()
    assert (np.abs([row[3] for row in theirs] - table.los_s) < allowed_s).all()


def look_at(
    element_set: ElementSet, site: GroundStation, day: datetime, times_s: Sequence[float]
) -> np.ndarray:
    return look_angles(element_set, site, day, times_s).elevation_deg


@pytest.mark.parametrize("index", range(3))
def test_high_orbits_cross_their_masks_where_sgp4_says(index: int, day):
    element_set = checked(HIGH)[index]
    table = find_passes([element_set], SITES, day, 2 * DAY_S)
    assert len(table) >= 3
    for _, station, one in table:
        site = SITES[station]
        inside = np.linspace(one.aos_s, one.los_s, 200)[1:-1]
        elevation_deg = look_at(element_set, site, day, [one.tca_s, *inside])
        assert elevation_deg.min() > 5
        assert elevation_deg[0] >= elevation_deg.max() - 1e-6
        assert elevation_deg[0] == pytest.approx(one.max_elevation_deg, abs=1e-6)
    # Nothing above the mask is left out.
    grid_s = np.arange(0, 2 * DAY_S, 97.0)
    for station, site in enumerate(SITES):
        mine = of_pair(table, 0, station)
        inside = ((grid_s[:, None] >= mine.aos_s) & (grid_s[:, None] <= mine.los_s)).any(1)
        assert np.array_equal(look_at(element_set, site, day, grid_s) > 5, inside)


@settings(max_examples=15, deadline=None)
@given(
    index=st.integers(0, 187),
    site=st.sampled_from(SITES),
    mask_deg=st.floats(-2, 85),
    offset_s=st.floats(0, DAY_S),
    length_s=st.floats(1, 30_000),
)
def test_up_is_inside_a_pass_and_down_is_not(index, site, mask_deg, offset_s, length_s):
    element_set = read_elements(FLOCK_TLE)[index]
    start = datetime.fromisoformat("2018-01-20T00:00:00+00:00") + timedelta(seconds=offset_s)
    table = find_passes([element_set], [site], start, length_s, elevation_mask_deg=mask_deg)
    times_s = np.linspace(0, length_s, 4001)
    above_deg = look_at(element_set, site, start, times_s) - mask_deg
    inside = ((times_s[:, None] >= table.aos_s) & (times_s[:, None] <= table.los_s)).any(1)
    clear = np.abs(above_deg) > 1e-6
    assert np.array_equal(inside[clear], above_deg[clear] > 0)


def test_passes_shorter_than_the_step_are_found(flock, day):
    """Set the mask just below the top of passes, wherever the top falls between two points of the grid."""
    whole = find_passes(flock[:40], SITES[:1], day, DAY_S)
    lengths_s = []
    for satellite, _, one in list(whole)[::20]:
        mask_deg = one.max_elevation_deg - 0.002
        found = find_passes([flock[satellite]], SITES[:1], day, DAY_S, elevation_mask_deg=mask_deg)
        (same,) = [each for _, _, each in found if abs(each.tca_s - one.tca_s) < 1]
        assert same.aos_s < one.tca_s < same.los_s
        lengths_s.append(same.duration_s)
    assert len(lengths_s) > 10
    assert max(lengths_s) < 60


def test_each_station_has_its_own_mask(flock, day):
    low, high = (GroundStation("x", 69.66, 18.94, 130, elevation_mask_deg=mask) for mask in (0, 40))
    table = find_passes(flock[:3], [low, high], day, DAY_S)
    assert (table.station == 0).sum() > 2 * (table.station == 1).sum() > 0
    assert table.max_elevation_deg[table.station == 1].min() > 40
    same = find_passes(flock[:3], [low, high], day, DAY_S, elevation_mask_deg=10)
    assert np.array_equal(same.aos_s[same.station == 0], same.aos_s[same.station == 1])


def test_blocks_make_no_difference(flock, day, monkeypatch):
    table = find_passes(flock[:7], SITES[:2], day, 20_000)
    monkeypatch.setattr(passes_module, "_BLOCK", 2000)
    again = find_passes(flock[:7], SITES[:2], day, 20_000)
    assert np.array_equal(again.satellite, table.satellite)
    assert again.aos_s == pytest.approx(table.aos_s, abs=1e-6)
    assert sorted(one.aos_s for _, _, one in table) == [one.aos_s for _, _, one in table.by_time()]


def test_a_constellation_without_passes_or_members(flock, day):
    assert len(find_passes(flock[:2], SITES[:2], day, 60, elevation_mask_deg=89)) == 0
    with pytest.raises(OrbitError, match="no satellite"):
        find_passes([], SITES, day, 60)
    with pytest.raises(StationError, match="no ground station"):
        find_passes(flock[:1], [], day, 60)
    with pytest.raises(OrbitError, match="FLOCK 2E'-6 cannot be propagated to 2035"):
        find_passes(flock[:3], SITES, day.replace(year=2035), 60)


def test_states_of_many_are_the_states_of_each(flock, day):
    fleet = Fleet(flock[:5], day)
    times_s = np.array([0.0, 1234.5, 80_000.0])
    together = fleet.states(times_s)
    satellite = np.array([3, 0, 3])
    alone = fleet.states_of(satellite, times_s)
    assert np.allclose(together[satellite, np.arange(3)].position_m, alone.position_m, rtol=0, atol=1e-5)
    # The velocity is the change of the position, Earth's turning included.
    later = fleet.states(times_s + 0.5).position_m - fleet.states(times_s - 0.5).position_m
    assert later == pytest.approx(together.velocity_m_s, abs=0.02)


def test_every_aos_tca_and_los_is_right_to_a_millisecond(flock, day):
    table = find_passes(flock[:40], SITES, day, DAY_S)
    whole = table.taken(np.flatnonzero(table.whole))
    fleet, sites = Fleet(flock[:40], day), Sites(SITES)

    def sine(times_s: np.ndarray) -> np.ndarray:
        return sites.sine_of(whole.station, fleet.states_of(whole.satellite, times_s).position_m)

    mask, short_s = np.sin(np.radians(5)), 1e-3
    assert len(whole) > 2000
    assert (sine(whole.aos_s - short_s) < mask).all()
    assert (sine(whole.aos_s + short_s) > mask).all()
    assert (sine(whole.los_s - short_s) > mask).all()
    assert (sine(whole.los_s + short_s) < mask).all()
    top = sine(whole.tca_s)
    assert (top > sine(whole.tca_s - short_s)).all()
    assert (top > sine(whole.tca_s + short_s)).all()
