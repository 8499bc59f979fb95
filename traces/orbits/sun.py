"""The direction and distance of the sun, and where it stands for a satellite's camera.

The low-precision formulae of the Astronomical Almanac (section C, "Low precision formulas for the Sun") are
better than 0.02 degrees from 1950 to 2050; the sun is 0.5 degrees across.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from traces.orbits.elements import Satellite
from traces.orbits.propagation import Fleet, moments_at

Floats = npt.NDArray[np.float64]
_J2000_JD = 2_451_545.0


def sun_direction(start_utc: datetime, times_s: npt.ArrayLike) -> Floats:
    """Return the unit vector from the Earth's centre to the sun in the Earth-fixed frame, float64[3, n].

    Args:
        start_utc: the origin of the times, with a time zone.
        times_s: float64[n].
    """
    moments = moments_at(start_utc, times_s)
    days = np.asarray(moments.tt) - _J2000_JD
    anomaly = np.radians(357.528 + 0.9856003 * days)
    longitude = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(longitude), np.cos(longitude))
    declination = np.arcsin(np.sin(obliquity) * np.sin(longitude))
    east = right_ascension - np.asarray(moments.gmst) * np.pi / 12  # longitude of the subsolar point
    return np.stack(
        [np.cos(declination) * np.cos(east), np.cos(declination) * np.sin(east), np.sin(declination)]
    )


def sun_distance_au(start_utc: datetime, times_s: npt.ArrayLike) -> Floats:
    """Return the distance of the sun in astronomical units, float64[n]; better than 0.0002.

    Args:
        start_utc: the origin of the times, with a time zone.
        times_s: float64[n].
    """
    days = np.asarray(moments_at(start_utc, times_s).tt) - _J2000_JD
    anomaly = np.radians(357.528 + 0.9856003 * days)
    distance: Floats = 1.00014 - 0.01671 * np.cos(anomaly) - 0.00014 * np.cos(2 * anomaly)
    return distance


def sun_elevation_below(
    satellites: Sequence[Satellite], start_utc: datetime, times_s: npt.ArrayLike
) -> Floats:
    """Return the sun's elevation at the points below satellites, float64[satellites, n] in degrees.

    The Earth is taken for a sphere, which costs up to 0.2 degrees.

    Args:
        satellites: element sets or skyfield's EarthSatellite objects.
        start_utc: the origin of the times, with a time zone.
        times_s: float64[n].

    Raises:
        OrbitError: SGP4 cannot propagate a satellite to one of the times.
    """
    position_m = Fleet(satellites, start_utc).states(times_s).position_m
    up = position_m / np.linalg.norm(position_m, axis=0)
    height: Floats = np.einsum("cst,ct->st", up, sun_direction(start_utc, times_s))
    return np.degrees(np.arcsin(np.clip(height, -1, 1)))
