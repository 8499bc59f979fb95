"""Cuts scenes out of the rasters: a frame, its land cover, and what was composited into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.training.places import BANDS_DEG, FRAME_HEIGHT_DEG, FRAME_PX, Footprint, Split, draw_footprint
from nodes.training.sources import Rasters
from nodes.training.vessels import Vessel, composite

COVERS = ("water", "forest", "shrubland", "savanna", "grassland", "cropland", "ice", "desert", "other")

# IGBP classes 0..16 -> COVERS. Wetlands (11) and cities (13) are too rare at this scale to ask about.
_IGBP_TO_COVER = np.array([0, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 8, 5, 8, 5, 6, 7], dtype=np.uint8)

COVER_CELL_PX = 4
_MARBLE_PX_PER_DEG = 15.0
_COVER_PX_PER_DEG = 20.0
_NOISE_SIGMA = 2.0
_OPEN_OCEAN_SHARE = 0.15
_WATER_FOR_VESSELS = 0.25
_DARK_WATER = 75


@dataclass(frozen=True)
class Scene:
    """One frame and what is known about it.

    `pixels` is uint8 (side, side, 3); `cover` holds an index into COVERS for each cell of 4 x 4 px.
    `vessels` is None where the frame has too little open water to ask about vessels.
    """

    place: Footprint
    pixels: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    vessels: tuple[Vessel, ...] | None

    @property
    def fractions(self) -> NDArray[np.float64]:
        """Share of each of COVERS in the frame, summing to 1."""
        return np.bincount(self.cover.ravel(), minlength=len(COVERS)) / self.cover.size


def draw_scene(
    rasters: Rasters, split: Split, rng: np.random.Generator, *, side_px: int = FRAME_PX, noise: bool = True
) -> Scene:
    """Draw one scene of the split at random; every scene has the same scale, so a smaller one shows less
    ground.

    15 % of scenes are open ocean, in the others at least a tenth is land. All scenes with a quarter or more
    of dark open water get 0 to 3 vessels among 0 to 4 islets.
    """
    want_ocean = rng.random() < _OPEN_OCEAN_SHARE
    while True:
        place = draw_footprint(BANDS_DEG[split], FRAME_HEIGHT_DEG * side_px / FRAME_PX, rng)
        cover = _cut_cover(rasters, place, side_px)
        land = float(np.mean(cover != 0))
        if (land < 0.02) if want_ocean else (land >= 0.1):
            break
    pixels = _cut_pixels(rasters, place, side_px)
    vessels = _add_vessels(pixels, cover, rng)
    if noise:
        grain = rng.standard_normal(pixels.shape, dtype=np.float32) * _NOISE_SIGMA
        pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return Scene(place, pixels, cover, vessels)


def _cut_cover(rasters: Rasters, place: Footprint, side_px: int) -> NDArray[np.uint8]:
    side = side_px // COVER_CELL_PX
    box = place.box(_COVER_PX_PER_DEG)
    igbp = np.asarray(rasters.land_cover.resize((side, side), Image.Resampling.NEAREST, box=box))
    return np.asarray(_IGBP_TO_COVER[igbp], dtype=np.uint8)


def _cut_pixels(rasters: Rasters, place: Footprint, side_px: int) -> NDArray[np.uint8]:
    box = place.box(_MARBLE_PX_PER_DEG)
    return np.array(rasters.marble.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))


def _add_vessels(
    pixels: NDArray[np.uint8], cover: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Vessel, ...] | None:
    # Shallow and coastal water is bright in the imagery, and the two maps disagree there: use dark water
    # only.
    water = np.kron(cover == 0, np.ones((COVER_CELL_PX, COVER_CELL_PX), dtype=bool)) & (
        pixels.max(axis=2) < _DARK_WATER
    )
    if water.mean() < _WATER_FOR_VESSELS:
        return None
    try:
        return composite(pixels, water, rng)
    except ValueError:
        return None
