"""Stations as vectors: where they stand in ITRS, which way is up, how high satellites stand above them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skyfield.api import wgs84

from traces.errors import StationError
from traces.orbits.propagation import Floats, Indices, States
from traces.orbits.stations import GroundStation, check_mask


class Sites:
    """Several stations as arrays; `elevation_mask_deg` stands in for every station's own.

    Attributes:
        position_m: float64[3, n], ITRS.
        up: float64[3, n], the unit vector of WGS 84's vertical; east and north likewise.
        radius_m: float64[n], from the Earth's centre.
        mask_rad: float64[n]; mask_sine likewise.

    Raises:
        StationError: there is no station, or a mask is out of range.
    """

    def __init__(self, stations: Sequence[GroundStation], elevation_mask_deg: float | None = None) -> None:
        if not stations:
            raise StationError("no ground station is given; expected at least one")
        places = [wgs84.latlon(one.latitude_deg, one.longitude_deg, one.altitude_m) for one in stations]
        masks_deg = [
            check_mask(one.elevation_mask_deg if elevation_mask_deg is None else elevation_mask_deg)
            for one in stations
        ]
        self.position_m: Floats = np.array([place.itrs_xyz.m for place in places]).T
        self.radius_m: Floats = np.sqrt(dot(self.position_m, self.position_m))
        self.mask_rad: Floats = np.radians(masks_deg)
        latitude = np.radians([one.latitude_deg for one in stations])
        longitude = np.radians([one.longitude_deg for one in stations])
        cos, sin = np.cos(longitude), np.sin(longitude)
        self.up: Floats = np.array([np.cos(latitude) * cos, np.cos(latitude) * sin, np.sin(latitude)])
        self.east: Floats = np.array([-sin, cos, np.zeros_like(sin)])
        self.north: Floats = np.array([-np.sin(latitude) * cos, -np.sin(latitude) * sin, np.cos(latitude)])
        self.mask_sine = np.sin(self.mask_rad)

    def __len__(self) -> int:
        """Return the number of stations."""
        return len(self.radius_m)

    def above_mask(self, position_m: Floats) -> Floats:
        """Return the sine of elevation less that of the mask: positions [3, ...] to [stations, ...]."""
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
        """Return the sine of elevation of each position [3, n] above its own station (an index)."""
        line_m = position_m - self.position_m[:, station]
        return np.asarray(dot(line_m, self.up[:, station]) / np.sqrt(dot(line_m, line_m)))

    def above_mask_of(self, station: Indices, position_m: Floats) -> Floats:
        """Return the sine of elevation less that of the mask, likewise."""
        return self.sine_of(station, position_m) - self.mask_sine[station]

    def climb_of(self, station: Indices, states: States) -> Floats:
        """Return the rate at which that sine grows, 1/s."""
        line_m = states.position_m - self.position_m[:, station]
        up = self.up[:, station]
        square_m2 = dot(line_m, line_m)
        height_m, rise_m_s = dot(line_m, up), dot(states.velocity_m_s, up)
        away_m2_s = dot(line_m, states.velocity_m_s)
        return np.asarray((rise_m_s - height_m * away_m2_s / square_m2) / np.sqrt(square_m2))


def dot(first: Floats, second: Floats) -> Floats:
    """Return the scalar products of vectors [3, ...]; written out, since sums over a short axis are slow."""
    return np.asarray(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])
