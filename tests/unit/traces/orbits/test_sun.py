"""The sun's place at times for which it is well known."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.propagation import Fleet
from traces.orbits.sun import sun_direction, sun_elevation_below
from traces.orbits.tle import FLOCK_TLE


def subsolar(when: str) -> tuple[float, float]:
    """Latitude and longitude in degrees."""
    x, y, z = sun_direction(datetime.fromisoformat(when).replace(tzinfo=timezone.utc), [0.0])[:, 0]
    return float(np.degrees(np.arcsin(z))), float(np.degrees(np.arctan2(y, x)))


@pytest.mark.parametrize(
    ("when", "declination_deg"),
    [
        ("2018-03-20T16:15", 0.0),  # equinoxes and solstices as almanacs give them
        ("2018-06-21T10:07", 23.44),
        ("2018-09-23T01:54", 0.0),
        ("2018-12-21T22:23", -23.44),
    ],
)
def test_declination_at_equinoxes_and_solstices(when: str, declination_deg: float) -> None:
    assert subsolar(when)[0] == pytest.approx(declination_deg, abs=0.02)


@pytest.mark.parametrize(
    ("when", "equation_of_time_min"),
    [("2018-02-11T12:00", -14.2), ("2018-04-15T12:00", 0.0), ("2018-11-03T12:00", 16.4)],
)
def test_the_sun_is_south_of_greenwich_at_noon_less_the_equation_of_time(
    when: str, equation_of_time_min: float
) -> None:
    assert subsolar(when)[1] == pytest.approx(-equation_of_time_min / 4, abs=0.08)


def test_half_of_an_orbit_is_in_daylight() -> None:
    dove = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    start = datetime(2018, 1, 20, tzinfo=timezone.utc)
    times_s = np.arange(0.0, 5660.0, 10.0)
    elevation_deg = sun_elevation_below([dove], start, times_s)[0]
    assert 0.45 < np.mean(elevation_deg > 0) < 0.55
    # A morning orbit: below it, it is about half past nine where it crosses the equator by day.
    z_m = Fleet([dove], start).states(times_s).position_m[2, 0]
    crosses = np.flatnonzero((z_m[:-1] * z_m[1:] < 0) & (elevation_deg[:-1] > 0))
    assert elevation_deg[crosses] == pytest.approx(50.0, abs=12.0)
