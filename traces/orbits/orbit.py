"""The position of a satellite as seen from a ground station, and its ground track.

The orbit is propagated by SGP4 (`traces.orbits.propagation`); skyfield provides the time scale, without
downloads, and WGS 84. Elevation is geometric: refraction would raise a satellite at 5 degrees by some 0.17
degrees, and no elevation mask is known that precisely. Times are seconds from a start in UTC, as in a trace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from skyfield.api import wgs84

from traces.orbits.elements import Satellite
from traces.orbits.propagation import Fleet, Floats
from traces.orbits.station_geometry import Sites
from traces.orbits.stations import GroundStation
from traces.radio.link_budget import SPEED_OF_LIGHT_M_S
from traces.terrestrial import EARTH_RADIUS_M

CIRCLE_POINTS = 181  # a point every 2 degrees
_FLATTENING_TURNS = 5  # each reduces the error by a factor of some 300; that of the first is 0.2 degrees


@dataclass(frozen=True)
class LookAngles:
    """The direction and distance of a satellite as seen from a station; float64[n] each.

    Args:
        elevation_deg: geometric elevation above the horizontal.
        azimuth_deg: azimuth from north, east positive.
        slant_range_m: distance.
        range_rate_m_s: rate of change of the distance.
    """

    elevation_deg: Floats
    azimuth_deg: Floats
    slant_range_m: Floats
    range_rate_m_s: Floats

    @property
    def delay_s(self) -> Floats:
        """The one-way delay in vacuum, in seconds."""
        return self.slant_range_m / SPEED_OF_LIGHT_M_S

    def doppler_hz(self, carrier_hz: float) -> Floats:
        """Return the Doppler shift of `carrier_hz` at the station, to first order in v/c."""
        return -self.range_rate_m_s / SPEED_OF_LIGHT_M_S * carrier_hz


def look_angles(
    satellite: Satellite, station: GroundStation, start_utc: datetime, times_s: npt.ArrayLike
) -> LookAngles:
    """Return the direction and distance of a satellite at `start_utc` + `times_s`.

    Raises:
        OrbitError: SGP4 cannot propagate the orbit to one of the times.
    """
    states = Fleet([satellite], start_utc).states(times_s)[0]
    site = Sites([station])
    line_m = states.position_m - site.position_m
    slant_range_m = np.sqrt((line_m**2).sum(0))
    east_m, north_m, up_m = ((line_m * axis).sum(0) for axis in (site.east, site.north, site.up))
    return LookAngles(
        elevation_deg=np.degrees(np.arctan2(up_m, np.hypot(east_m, north_m))),
        azimuth_deg=np.degrees(np.arctan2(east_m, north_m)) % 360,
        slant_range_m=slant_range_m,
        range_rate_m_s=(line_m * states.velocity_m_s).sum(0) / slant_range_m,
    )


def ground_track(satellite: Satellite, start_utc: datetime, times_s: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the geodetic latitude and the longitude (-180 to 180) below the satellite, in degrees.

    Raises:
        OrbitError: SGP4 cannot propagate the orbit to one of the times.
    """
    x, y, z = Fleet([satellite], start_utc).states(times_s)[0].position_m
    # Fixed-point iteration: the vertical meets the axis e2 N sin(latitude) below the equatorial plane.
    radius_m, flattening = wgs84.radius.m, 1 / wgs84.inverse_flattening
    e2, across = flattening * (2 - flattening), np.hypot(x, y)
    latitude = np.arctan2(z, across * (1 - e2))
    for _ in range(_FLATTENING_TURNS):
        sine = np.sin(latitude)
        latitude = np.arctan2(z + e2 * radius_m / np.sqrt(1 - e2 * sine**2) * sine, across)
    return np.degrees(latitude), np.degrees(np.arctan2(y, x))


def mean_altitude_m(satellite: Satellite, start_utc: datetime, times_s: npt.ArrayLike) -> float:
    """Return the mean height of a satellite above the Earth's mean radius, in metres.

    Raises:
        OrbitError: SGP4 cannot propagate the orbit to one of the times.
    """
    position_m = Fleet([satellite], start_utc).states(times_s)[0].position_m
    return float(np.sqrt((position_m**2).sum(0)).mean()) - EARTH_RADIUS_M


def visibility_angle_rad(altitude_m: float, elevation_mask_deg: float) -> float:
    """Return the angle at the Earth's centre between a station and a satellite that is just at its mask.

    On a spherical Earth it is acos(R cos(mask) / (R + altitude)) - mask (Wertz, Space Mission Analysis and
    Design, section 5.2).
    """
    mask = math.radians(elevation_mask_deg)
    return math.acos(EARTH_RADIUS_M * math.cos(mask) / (EARTH_RADIUS_M + altitude_m)) - mask


def visibility_circle(
    station: GroundStation, altitude_m: float, elevation_mask_deg: float
) -> tuple[Floats, Floats]:
    """Return latitude and longitude of the points above which a satellite is just at a station's mask.

    Args:
        station: the station.
        altitude_m: height of the satellite, above 0.
        elevation_mask_deg: the mask.

    Returns:
        Latitude and longitude (-180 to 180) in degrees, float64[n] each; the circle is closed.
    """
    angle = visibility_angle_rad(altitude_m, elevation_mask_deg)
    bearing = np.linspace(0.0, 2 * np.pi, CIRCLE_POINTS)
    latitude = np.radians(station.latitude_deg)
    sine = np.sin(latitude) * np.cos(angle) + np.cos(latitude) * np.sin(angle) * np.cos(bearing)
    east = np.arctan2(
        np.sin(bearing) * np.sin(angle) * np.cos(latitude), np.cos(angle) - np.sin(latitude) * sine
    )
    longitude_deg = (station.longitude_deg + np.degrees(east) + 180) % 360 - 180
    return np.degrees(np.arcsin(sine)), longitude_deg
