"""Composites bright vessels, and islets that look like them but are round, on open water.

The targets are drawn, not photographed, and not to scale (a ship is not 40 km long); only the water under
them is real. Vessel and islet are drawn from one distribution of area and brightness, so only their shape
tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

MAX_VESSELS = 3
_MAX_ISLETS = 4
_AREA_PX = (28.0, 48.0)
_ELONGATION = (2.8, 4.0)
_ROUNDNESS = (1.0, 1.3)
_SPACING_PX = 26.0
_OVERSAMPLING = 4
_HALF_PX = 12


@dataclass(frozen=True)
class Vessel:
    """Where a vessel's centre is, in pixels of the frame."""

    x_px: float
    y_px: float


def composite(
    pixels: NDArray[np.uint8], water: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Vessel, ...]:
    """Draw 0 to 3 vessels and 0 to 4 islets into `pixels` (height, width, 3), in place, where `water` is
    true.

    The number of vessels is uniform. Fewer islets are drawn where there is no room.
    Raises ValueError when the vessels themselves find no room; `pixels` may then hold some of them.
    """
    vessels = int(rng.integers(0, MAX_VESSELS + 1))
    islets = int(rng.integers(0, _MAX_ISLETS + 1))
    centres = _spread(water, vessels + islets, rng)
    if len(centres) < vessels:
        raise ValueError(f"room for {len(centres)} of {vessels} vessels")
    for index, (x_px, y_px) in enumerate(centres):
        elongation = rng.uniform(*(_ELONGATION if index < vessels else _ROUNDNESS))
        _draw(pixels, x_px, y_px, float(elongation), rng)
    return tuple(Vessel(x, y) for x, y in centres[:vessels])


def _spread(water: NDArray[np.bool_], count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Pick up to `count` points on water, away from the edges and from each other."""
    rows, columns = np.nonzero(water[_HALF_PX + 1 : -_HALF_PX - 1, _HALF_PX + 1 : -_HALF_PX - 1])
    centres: list[tuple[float, float]] = []
    if not len(rows):
        return centres
    for pick in rng.integers(0, len(rows), size=40 * max(count, 1)):
        x_px, y_px = float(columns[pick] + _HALF_PX + 1), float(rows[pick] + _HALF_PX + 1)
        if len(centres) < count and all(math.dist((x_px, y_px), other) >= _SPACING_PX for other in centres):
            centres.append((x_px, y_px))
    return centres


def _draw(
    pixels: NDArray[np.uint8], x_px: float, y_px: float, elongation: float, rng: np.random.Generator
) -> None:
    area_px = rng.uniform(*_AREA_PX)
    half_length = math.sqrt(area_px * elongation / math.pi)
    half_width = half_length / elongation
    heading = rng.uniform(0, math.pi)
    offset_x, offset_y = rng.uniform(-0.5, 0.5, size=2)
    turns = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    along, across = half_length * np.cos(turns), half_width * np.sin(turns)
    outline_x = _HALF_PX + offset_x + along * math.cos(heading) - across * math.sin(heading)
    outline_y = _HALF_PX + offset_y + along * math.sin(heading) + across * math.cos(heading)
    side = 2 * _HALF_PX
    mask = Image.new("L", (side * _OVERSAMPLING, side * _OVERSAMPLING))
    corners = np.stack([outline_x, outline_y], axis=1) * _OVERSAMPLING
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in corners], fill=255)
    cover = np.asarray(mask.resize((side, side), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    colour = rng.uniform(185, 250) + rng.uniform(-8, 8, size=3)
    top, left = int(y_px) - _HALF_PX, int(x_px) - _HALF_PX
    window = pixels[top : top + side, left : left + side]
    window[:] = np.clip(window * (1 - cover) + colour * cover, 0, 255).astype(np.uint8)
