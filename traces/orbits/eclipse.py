"""When a satellite is in the Earth's shadow.

The Earth is a sphere of its equatorial radius and the sun a point at its centre, so that the shadow is a
cylinder: an eclipse begins when the sun's centre is hidden. The penumbra, some 8 s in a low orbit, begins
half of that earlier and ends half of it later. Refraction and the flattening of the Earth are left out; the
latter moves an edge over high latitudes by up to 3 s.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import numpy.typing as npt

from traces.orbits.elements import Satellite
from traces.orbits.propagation import Fleet, check_window
from traces.orbits.sun import sun_direction

Floats = npt.NDArray[np.float64]

EARTH_RADIUS_M = 6_378_136.6  # IERS Conventions (2010), table 1.1
STEP_S = 10.0  # a shorter eclipse, or a shorter gap between two, is not found
_HALVINGS = 20  # of a step, to 10 microseconds


def eclipses(satellite: Satellite, start_utc: datetime, length_s: float) -> list[tuple[float, float]]:
    """Return the eclipses of a satellite in a window, in order.

    Args:
        satellite: an element set or skyfield's EarthSatellite object.
        start_utc: begin of the window, with a time zone.
        length_s: its length.

    Returns:
        (begin, end) of each in seconds from `start_utc`, cut off at the ends of the window.

    Raises:
        OrbitError: SGP4 cannot propagate the satellite, or the window is empty or longer than 31 days.
    """
    check_window(start_utc, length_s)
    fleet = Fleet([satellite], start_utc)

    def clearance_m(times_s: Floats) -> Floats:
        position_m = fleet.states(times_s).position_m[:, 0]
        return shadow_clearance_m(position_m, sun_direction(start_utc, times_s))

    times_s = np.linspace(0.0, length_s, max(2, round(length_s / STEP_S) + 1))
    dark = clearance_m(times_s) < 0
    changes = np.flatnonzero(dark[1:] != dark[:-1])
    edges_s = _crossings(clearance_m, times_s[changes], times_s[changes + 1])
    bounds_s = [*([0.0] if dark[0] else []), *map(float, edges_s), *([length_s] if dark[-1] else [])]
    return list(zip(bounds_s[::2], bounds_s[1::2], strict=True))


def shadow_clearance_m(position_m: Floats, to_sun: Floats) -> Floats:
    """Return the distance to the surface of the Earth's shadow, float64[n]; negative inside of it.

    Over the lit half of the Earth it is the height above the sphere, so that it is continuous.

    Args:
        position_m: of the satellite, from the Earth's centre, float64[3, n].
        to_sun: unit vector to the sun in the same frame, float64[3, n].
    """
    distance_m = np.linalg.norm(position_m, axis=0)
    towards_m = np.einsum("cn,cn->n", position_m, to_sun)
    from_axis_m = np.sqrt(np.maximum(distance_m**2 - towards_m**2, 0.0))
    clearance: Floats = np.where(towards_m < 0, from_axis_m, distance_m) - EARTH_RADIUS_M
    return clearance


def _crossings(function: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Return a zero of a function between each two points with different signs, by bisection."""
    if not len(low):
        return low
    sign = np.sign(function(low))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        before = np.sign(function(middle)) == sign
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return (low + high) / 2
