"""Eclipses and solar input: against JPL's ephemeris by skyfield, and against closed forms."""

from __future__ import annotations

from datetime import datetime, timezone
from math import asin, pi
from pathlib import Path

import numpy as np
import pytest
import skyfield_data
from skyfield.api import EarthSatellite, load_file

from traces.orbits.eclipse import EARTH_RADIUS_M, eclipses, shadow_clearance_m
from traces.orbits.element_set import ElementSet
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.propagation import Fleet, moments_at, timescale
from traces.orbits.sun import sun_distance_au
from traces.orbits.sunlight import SOLAR_CONSTANT_W_M2, Panel, SolarInput, body_axes, solar_inputs
from traces.orbits.tle import FLOCK_TLE
from traces.orbits.walker import parse_walker

START = datetime(2018, 1, 20, tzinfo=timezone.utc)
EQUINOX = datetime(2018, 3, 20, 16, 15, tzinfo=timezone.utc)
DAY_S = 86_400.0
EPHEMERIS = Path(skyfield_data.__file__).parent / "data" / "de421.bsp"
AREA_M2, EFFICIENCY = 0.06, 0.3


@pytest.fixture(scope="module")
def dove() -> ElementSet:
    found = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    assert isinstance(found, ElementSet)
    return found


@pytest.fixture(scope="module")
def equatorial() -> ElementSet:
    """A circular orbit over the equator at 550 km."""
    return parse_walker("0:1/1/0@550", EQUINOX)[0]


def test_a_days_eclipses_begin_and_end_within_two_seconds_of_an_ephemeris(dove: ElementSet) -> None:
    edges_s = np.array([edge for span in eclipses(dove, START, DAY_S) for edge in span if 0 < edge < DAY_S])
    assert len(edges_s) == 30  # two in each of fifteen orbits
    jpl = load_file(str(EPHEMERIS))
    satellite = EarthSatellite(dove.line1, dove.line2, dove.name, timescale())
    before, after = (
        satellite.at(moments_at(START, edges_s + offset_s)).is_sunlit(jpl) for offset_s in (-2.0, 2.0)
    )
    assert (before != after).all()


def test_the_suns_distance_is_that_of_an_ephemeris() -> None:
    times_s = np.arange(0, 365 * DAY_S, 7 * DAY_S)
    jpl = load_file(str(EPHEMERIS))
    distance_au = jpl["earth"].at(moments_at(START, times_s)).observe(jpl["sun"]).distance().au
    assert sun_distance_au(START, times_s) == pytest.approx(distance_au, abs=2e-4)


def test_an_eclipse_over_the_equator_at_an_equinox_lasts_as_a_circle_behind_a_disc(
    equatorial: ElementSet,
) -> None:
    position_m = Fleet([equatorial], EQUINOX).states([0.0]).position_m[:, 0, 0]
    period_s = 95.65 * 60  # of SGP4's orbit at 550 km
    expected_s = period_s / pi * asin(EARTH_RADIUS_M / np.linalg.norm(position_m))
    begin_s, end_s = next(span for span in eclipses(equatorial, EQUINOX, 3 * period_s) if span[0] > 0)
    assert end_s - begin_s == pytest.approx(expected_s, abs=5.0)


def test_clearance_is_the_height_by_day_and_the_distance_to_the_shadow_by_night() -> None:
    to_sun = np.array([[1.0, 1.0, 1.0], [0.0] * 3, [0.0] * 3])
    position_m = np.array([[7e6, -7e6, -7e6], [0.0, 0.0, 7e6], [0.0] * 3])
    expected_m = [7e6 - EARTH_RADIUS_M, -EARTH_RADIUS_M, 7e6 - EARTH_RADIUS_M]
    assert shadow_clearance_m(position_m, to_sun) == pytest.approx(expected_m)


def mean_w(inputs: list[SolarInput], end_s: float) -> float:
    times_s = [row.time_s for row in inputs]
    return float(np.dot(np.diff(times_s, append=end_s), [row.input_w for row in inputs]) / end_s)


def test_a_panel_that_turns_to_the_sun_yields_all_in_sunlight_and_nothing_in_eclipse(
    dove: ElementSet,
) -> None:
    full_w = SOLAR_CONSTANT_W_M2 / float(sun_distance_au(START, [0.0])[0]) ** 2 * AREA_M2 * EFFICIENCY
    inputs = solar_inputs(dove, [Panel(AREA_M2, EFFICIENCY)], START, DAY_S)
    assert all(row.input_w == pytest.approx(full_w if row.sunlit else 0.0, rel=1e-3) for row in inputs)
    dark_s = sum(end_s - begin_s for begin_s, end_s in eclipses(dove, START, DAY_S))
    assert mean_w(inputs, DAY_S) == pytest.approx(full_w * (1 - dark_s / DAY_S), rel=1e-3)


def test_a_panel_on_top_at_an_equinox_yields_the_mean_of_a_cosine_over_the_day_side(
    equatorial: ElementSet,
) -> None:
    full_w = SOLAR_CONSTANT_W_M2 / float(sun_distance_au(EQUINOX, [0.0])[0]) ** 2 * AREA_M2 * EFFICIENCY
    orbits_s = 10 * 95.65 * 60
    top = solar_inputs(equatorial, [Panel(AREA_M2, EFFICIENCY, (0, 0, -1))], EQUINOX, orbits_s)
    assert mean_w(top, orbits_s) == pytest.approx(full_w / pi, rel=0.01)
    side = solar_inputs(equatorial, [Panel(AREA_M2, EFFICIENCY, (0, 1, 0))], EQUINOX, orbits_s)
    assert mean_w(side, orbits_s) == pytest.approx(0.0, abs=0.01 * full_w)


def test_the_axes_are_orthogonal_and_the_first_leads_along_the_flight(dove: ElementSet) -> None:
    states = Fleet([dove], START).states(np.arange(0.0, 6000.0, 500.0))[0]
    axes = body_axes(states)
    assert np.einsum("acn,bcn->abn", axes, axes) == pytest.approx(
        np.broadcast_to(np.eye(3)[..., None], (3, 3, 12)), abs=1e-12
    )
    speed_m_s = np.einsum("cn,cn->n", axes[0], states.velocity_m_s)
    assert (speed_m_s > 0.99 * np.linalg.norm(states.velocity_m_s, axis=0)).all()
