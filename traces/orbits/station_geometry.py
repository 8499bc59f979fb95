"""Ground stations as vectors in ITRS: position, vertical, and the elevation of satellites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skyfield.api import wgs84

from traces.errors import StationError
from traces.orbits.propagation import Floats, Indices, States
from traces.orbits.stations import GroundStation, check_mask


class Sites:
    """Several stations as arrays.

    Args:
        stations: the stations.
        elevation_mask_deg: replaces every station's own mask.

    Attributes:
        position_m: float64[3, n], position in ITRS.
        up: float64[3, n], unit vector of the WGS 84 vertical; `east` and `north` likewise.
        radius_m: float64[n], distance from the Earth's centre.
        mask_rad: float64[n], elevation mask; `mask_sine` is its sine.

    Raises:
        StationError: There is no station, or a mask is out of range.
    """

    def __init__(self, stations: Sequence[GroundStation], elevation_mask_deg: float | None = None) -> None:
        if not stations:
            raise StationError("no ground station was given; expected at least one")
        places = [wgs84.latlon(site.latitude_deg, site.longitude_deg, site.altitude_m) for site in stations]
        masks_deg = [
            check_mask(site.elevation_mask_deg if elevation_mask_deg is None else elevation_mask_deg)
            for site in stations
        ]
        self.position_m: Floats = np.array([place.itrs_xyz.m for place in places]).T
        self.radius_m: Floats = np.sqrt(dot(self.position_m, self.position_m))
        self.mask_rad: Floats = np.radians(masks_deg)
        latitude = np.radians([site.latitude_deg for site in stations])
        longitude = np.radians([site.longitude_deg for site in stations])
        cos, sin = np.cos(longitude), np.sin(longitude)
        self.up: Floats = np.array([np.cos(latitude) * cos, np.cos(latitude) * sin, np.sin(latitude)])
        self.east: Floats = np.array([-sin, cos, np.zeros_like(sin)])
        self.north: Floats = np.array([-np.sin(latitude) * cos, -np.sin(latitude) * sin, np.cos(latitude)])
        self.mask_sine = np.sin(self.mask_rad)

    def __len__(self) -> int:
        """Return the number of stations."""
        return len(self.radius_m)

    def above_mask(self, position_m: Floats) -> Floats:
        """Return sine of elevation minus sine of mask for positions [3, ...] as [stations, ...]."""
        points = position_m.reshape(3, -1)
        height_m = self.up.T @ points
        height_m -= dot(self.up, self.position_m)[:, np.newaxis]
        square_m2 = self.position_m.T @ points
        square_m2 *= -2
        square_m2 += dot(points, points)
        square_m2 += (self.radius_m**2)[:, np.newaxis]
        height_m /= np.sqrt(square_m2, out=square_m2)
        height_m -= self.mask_sine[:, np.newaxis]
        return np.asarray(height_m.reshape(-1, *position_m.shape[1:]))

    def sine_of(self, station: Indices, position_m: Floats) -> Floats:
        """Return the sine of elevation of each position [3, n] at its own station (an index)."""
        line_m = position_m - self.position_m[:, station]
        return np.asarray(dot(line_m, self.up[:, station]) / np.sqrt(dot(line_m, line_m)))

    def above_mask_of(self, station: Indices, position_m: Floats) -> Floats:
        """Return sine of elevation minus sine of mask of each position at its own station (an index)."""
        return self.sine_of(station, position_m) - self.mask_sine[station]

    def climb_of(self, station: Indices, states: States) -> Floats:
        """Return the time derivative of the sine of elevation at each state's own station, in 1/s."""
        line_m = states.position_m - self.position_m[:, station]
        up = self.up[:, station]
        square_m2 = dot(line_m, line_m)
        height_m, rise_m_s = dot(line_m, up), dot(states.velocity_m_s, up)
        away_m2_s = dot(line_m, states.velocity_m_s)
        return np.asarray((rise_m_s - height_m * away_m2_s / square_m2) / np.sqrt(square_m2))


def dot(first: Floats, second: Floats) -> Floats:
    """Return the scalar products of vectors [3, ...]; written out, since a sum over a short axis is slow."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])
