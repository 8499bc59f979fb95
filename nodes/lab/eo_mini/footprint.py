"""Where on Earth a frame lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MAX_EDGE_LATITUDE_DEG = 68.0


@dataclass(frozen=True)
class Footprint:
    """The centre of a frame and its extent; width grows with 1/cos(latitude), so pixels are square."""

    latitude_deg: float
    longitude_deg: float
    height_deg: float

    @property
    def half_width_deg(self) -> float:
        """Half the extent in longitude."""
        return self.height_deg / 2 / math.cos(math.radians(self.latitude_deg))

    def box(self, px_per_deg: float) -> tuple[float, float, float, float]:
        """Left, upper, right, lower in pixels of a global raster that starts at 180 W, 90 N."""
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
    """Draw a place of the bands (west, east; degrees), uniform over the sphere, that fits in 68 S to 68 N."""
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
