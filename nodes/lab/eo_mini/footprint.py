"""Position and extent of a frame on Earth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MAX_EDGE_LATITUDE_DEG = 68.0


@dataclass(frozen=True)
class Footprint:
    """Centre and extent of a frame; its width grows with 1/cos(latitude), so pixels are square."""

    latitude_deg: float
    longitude_deg: float
    height_deg: float

    @property
    def half_width_deg(self) -> float:
        """Half the extent in longitude."""
        return self.height_deg / 2 / math.cos(math.radians(self.latitude_deg))

    def box(self, px_per_deg: float) -> tuple[float, float, float, float]:
        """Return left, upper, right, lower edge in pixels of a global raster that starts at 180 W, 90 N."""
        half = self.height_deg / 2
        return (
            (self.longitude_deg - self.half_width_deg + 180) * px_per_deg,
            (90 - self.latitude_deg - half) * px_per_deg,
            (self.longitude_deg + self.half_width_deg + 180) * px_per_deg,
            (90 - self.latitude_deg + half) * px_per_deg,
        )


def draw_footprint(
    bands: Sequence[tuple[float, float]], height_deg: float, rng: np.random.Generator
) -> Footprint:
    """Draw a footprint within one band and within 68 S to 68 N, uniformly over the sphere.

    Args:
        bands: West and east longitude of each band, in degrees.
        height_deg: Extent in latitude.
        rng: Source of randomness.
    """
    limit_deg = _MAX_EDGE_LATITUDE_DEG - height_deg / 2
    limit = math.sin(math.radians(limit_deg))
    widths = np.array([east - west for west, east in bands])
    while True:
        latitude_deg = math.degrees(math.asin(rng.uniform(-limit, limit)))
        west, east = bands[rng.choice(len(bands), p=widths / widths.sum())]
        place = Footprint(latitude_deg, float(rng.uniform(west, east)), height_deg)
        half = place.half_width_deg
        if west <= place.longitude_deg - half and place.longitude_deg + half <= east:
            return place
