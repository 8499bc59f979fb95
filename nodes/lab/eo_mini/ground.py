"""A frame before windows are composited into it: the Earth, and clouds over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.lab.eo_mini.footprint import Footprint, draw_footprint
from nodes.lab.eo_mini.packages import SourceError
from nodes.lab.eo_mini.places import BANDS_DEG, FRAME_HEIGHT_DEG, FRAME_PX, Split
from nodes.lab.eo_mini.sources import Sources

Floats = NDArray[np.float32]

COVERS = ("water", "forest", "grassland", "desert", "ice", "other")
# IGBP classes 0..16. Open shrubland may look like desert or tundra, so it counts as "other".
_IGBP_TO_COVER = np.array([0, 1, 1, 1, 1, 1, 5, 5, 1, 2, 2, 5, 2, 5, 2, 4, 3], dtype=np.uint8)
COVER_CELLS = 112  # per side of the frame
_MARBLE_PX_PER_DEG, _COVER_PX_PER_DEG, _CLOUD_PX_PER_DEG = 15.0, 20.0, 4096 / 360

# Share of the frame under cloud of more than half opacity.
CLOUD_SHARES = {"none": (0.0, 0.0), "some": (0.12, 0.3), "half": (0.42, 0.58), "most": (0.72, 0.9)}
_MAIN_SHARE, _MAIN_LEAD = 0.45, 0.15
_MOST_TRIES = 3000
_EDGE = 0.1  # range of the cloud field's alpha from clear to opaque
_LEAST_CONTRAST = 0.12  # standard deviation of the cloud field's alpha within a frame
_WHITE = np.array([243, 245, 248], dtype=np.float32)


@dataclass(frozen=True)
class Ground:
    """One frame's ground and clouds.

    Attributes:
        place: Position and extent on Earth.
        pixels: The ground without clouds, 0 to 255; float32[FRAME_PX, FRAME_PX, 3].
        cover: Index into COVERS; uint8[COVER_CELLS, COVER_CELLS].
        cloud: Opacity of the clouds, 0 to 1; float32[FRAME_PX, FRAME_PX].
    """

    place: Footprint
    pixels: Floats
    cover: NDArray[np.uint8]
    cloud: Floats

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each of COVERS; the sum is 1."""
        return np.bincount(self.cover.ravel(), minlength=len(COVERS)) / self.cover.size

    def seen(self, cloud: Floats) -> Floats:
        """Return the pixels under clouds of this opacity."""
        return np.asarray(self.pixels * (1 - cloud[..., None]) + _WHITE * cloud[..., None], dtype=np.float32)


def draw_ground(
    sources: Sources, split: Split, main: str | None, amount: str, rng: np.random.Generator
) -> Ground:
    """Draw a frame's ground and clouds.

    Args:
        sources: Source material.
        split: Split whose longitudes are used.
        main: Cover of the largest part of the frame if the split has such places; None for any.
        amount: Amount of clouds, a key of CLOUD_SHARES.
        rng: Source of randomness.
    """
    place, cover = _draw_place(sources, split, main, rng)
    box = place.box(_MARBLE_PX_PER_DEG)
    marble = sources.maps.marble.resize((FRAME_PX, FRAME_PX), Image.Resampling.BICUBIC, box=box)
    return Ground(
        place, np.asarray(marble, dtype=np.float32), cover, _draw_cloud(sources, split, amount, rng)
    )


def _draw_place(
    sources: Sources, split: Split, main: str | None, rng: np.random.Generator
) -> tuple[Footprint, NDArray[np.uint8]]:
    for _ in range(_MOST_TRIES):
        place = draw_footprint(BANDS_DEG[split], FRAME_HEIGHT_DEG, rng)
        cover = _cut_cover(sources, place)
        shares = np.bincount(cover.ravel(), minlength=len(COVERS)) / cover.size
        if main is None or shares[COVERS.index(main)] >= max(_MAIN_SHARE, np.sort(shares)[-2] + _MAIN_LEAD):
            break
    return place, cover  # the last one if the split has no such place


def _cut_cover(sources: Sources, place: Footprint) -> NDArray[np.uint8]:
    size = (COVER_CELLS, COVER_CELLS)
    box = place.box(_COVER_PX_PER_DEG)
    igbp = np.asarray(sources.maps.land_cover.resize(size, Image.Resampling.NEAREST, box=box))
    return np.asarray(_IGBP_TO_COVER[igbp], dtype=np.uint8)


def _draw_cloud(sources: Sources, split: Split, amount: str, rng: np.random.Generator) -> Floats:
    """Cut the real cloud field at the split's longitudes, thresholded to the amount of clouds."""
    low, high = CLOUD_SHARES[amount]
    if high == 0:
        return np.zeros((FRAME_PX, FRAME_PX), dtype=np.float32)
    field = Image.fromarray(sources.cloud_alpha)
    for _ in range(_MOST_TRIES):
        place = draw_footprint(BANDS_DEG[split], FRAME_HEIGHT_DEG, rng)
        box = place.box(_CLOUD_PX_PER_DEG)
        alpha = np.asarray(field.resize((FRAME_PX, FRAME_PX), Image.Resampling.BICUBIC, box=box))
        if alpha.std() >= _LEAST_CONTRAST:
            break
    else:
        raise SourceError(f"no clouds with contrast in {_MOST_TRIES} tries: use another cloud field")
    middle = np.quantile(alpha[::8, ::8], 1 - rng.uniform(low, high))
    return np.asarray(np.clip((alpha - middle) / _EDGE + 0.5, 0, 1), dtype=np.float32)
