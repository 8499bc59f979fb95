"""Where a satellite is, seen from a ground station, and when it is above the mask.

skyfield is the face (its time scale without downloads, WGS 84 stations, ITRS, `EarthSatellite` objects
taken), SGP4 the engine under it (`traces.orbits.propagation`); `traces.orbits.passes` searches whole
constellations. Elevation is geometric: refraction would lift a satellite at 5 degrees by some 0.17
degrees, and no mask is known that well.  All times are seconds from a start in UTC, as in a trace.
"""

from __future__ import annotations

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

_FLATTENING_TURNS = 5  # each gains a factor of some 300; the first is good to 0.2 degrees


@dataclass(frozen=True)
class LookAngles:
    """A satellite as a station sees it; float64[n] each.

    Args:
        elevation_deg: above the horizontal, geometric.
        azimuth_deg: from north over east.
        slant_range_m: distance.
        range_rate_m_s: how fast the distance grows.
    """

    elevation_deg: Floats
    azimuth_deg: Floats
    slant_range_m: Floats
    range_rate_m_s: Floats

    @property
    def delay_s(self) -> Floats:
        """One-way delay in vacuum, seconds."""
        return self.slant_range_m / SPEED_OF_LIGHT_M_S

    def doppler_hz(self, carrier_hz: float) -> Floats:
        """Return how far above `carrier_hz` the station receives it, to first order in v/c (1e-10 of it)."""
        return -self.range_rate_m_s / SPEED_OF_LIGHT_M_S * carrier_hz


def look_angles(
    satellite: Satellite, station: GroundStation, start_utc: datetime, times_s: npt.ArrayLike
) -> LookAngles:
    """Return where the satellite stands in the station's sky at `start_utc` + `times_s`.

    Raises:
        OrbitError: SGP4 refuses the orbit at one of the times.
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
    """Return geodetic latitude and longitude (degrees, -180 to 180) below the satellite.

    Raises:
        OrbitError: SGP4 refuses the orbit at one of the times.
    """
    x, y, z = Fleet([satellite], start_utc).states(times_s)[0].position_m
    # Latitude by fixed-point turns: the vertical meets the axis e2 N sin(latitude) below the equator.
    radius_m, flattening = wgs84.radius.m, 1 / wgs84.inverse_flattening
    e2, across = flattening * (2 - flattening), np.hypot(x, y)
    latitude = np.arctan2(z, across * (1 - e2))
    for _ in range(_FLATTENING_TURNS):
        sine = np.sin(latitude)
        latitude = np.arctan2(z + e2 * radius_m / np.sqrt(1 - e2 * sine**2) * sine, across)
    return np.degrees(latitude), np.degrees(np.arctan2(y, x))
