"""Surfaces under frames: a synthetic sea with coasts, and imagery of one's own.

The synthetic surface is a model, not imagery. No package that was found ships sea or coast at one metre; a
test split of 128 frames that overlap by less than a fifth needs 740 megapixels.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.fields import Floats, Window, between, from_tile, nodes
from nodes.lab.eo_mini_2.scene import REDUCTION, Ground

_SHORE = 0.015  # half width of the shore, in units of the field whose zero is the coast
_SHORE_SAMPLES = 4
_SAND = np.array([164, 150, 122], np.float32)
_GREEN = np.array([74, 84, 56], np.float32)
_BROWN = np.array([122, 108, 82], np.float32)
_WAVE_TINT = np.array([0.85, 1.0, 1.05], np.float32)


class Background(Protocol):
    """A source of surfaces."""

    def surface(self, ground: Ground, window: Window) -> Floats:
        """Return the surface in a window, as area means; float32[height, width, 3], 0 to 255."""
        ...

    def land(self, ground: Ground, window: Window) -> Floats:
        """Return the share of land in each pixel of a window; float32[height, width]."""
        ...


class SyntheticSea:
    """Waves of a wind sea and a swell, water of changing colour, and land where the ground says so."""

    def surface(self, ground: Ground, window: Window) -> Floats:
        """Return the surface in a window."""
        rng = np.random.default_rng([13, ground.seed])
        turn = int(rng.integers(8))
        offsets = [tuple(int(n) * REDUCTION for n in rng.integers(0, 84, 2)) for _ in range(3)]
        share = float(rng.uniform(0.2, 0.8))
        waves = share**0.5 * from_tile("swell", window, (offsets[0][0], offsets[0][1]), turn)
        waves = waves + (1 - share) ** 0.5 * from_tile("chop", window, (offsets[1][0], offsets[1][1]), turn)
        slicks = between(nodes(ground.seed, 0.6), window)
        height = ground.roughness * (waves * (1 + 0.25 * np.tanh(slicks)) + 0.8 * slicks)
        colour = np.asarray(ground.water, np.float32) + height[..., None] * _WAVE_TINT
        if ground.land <= 0:
            return np.asarray(colour, np.float32)
        cover = self.land(ground, window)[..., None]
        if not cover.any():
            return np.asarray(colour, np.float32)
        inland = between(nodes(ground.seed + 1, 0.55), window)
        soil = from_tile("soil", window, (offsets[2][0], offsets[2][1]), turn + 1)
        green = np.clip(0.5 + 0.6 * slicks, 0, 1)[..., None]
        beach = np.clip(1.2 - 6 * (inland - _coast(ground.land)), 0, 1)[..., None]
        earth = (_GREEN * green + _BROWN * (1 - green)) * (1 - beach) + _SAND * beach
        return np.asarray(colour * (1 - cover) + (earth + 11 * soil[..., None]) * cover, np.float32)

    def land(self, ground: Ground, window: Window) -> Floats:
        """Return the share of land in each pixel of a window."""
        if ground.land <= 0:
            return np.zeros((window.height, window.width), np.float32)
        field = nodes(ground.seed + 1, 0.55) - np.float32(_coast(ground.land))
        cover = np.clip(between(field, window) / (2 * _SHORE) + 0.5, 0, 1)
        if window.step > 1:
            _refine(cover, field, window)
        return np.asarray(cover, np.float32)


def _coast(share: float) -> float:
    """Return the level of a field of deviation 1 above which about this share of it lies."""
    return float(np.interp(share, [0.0, 0.05, 0.16, 0.31, 0.5], [4.0, 1.64, 1.0, 0.5, 0.0]))


def _refine(cover: Floats, field: Floats, window: Window) -> None:
    """Replace the cover of pixels that the shore crosses by a mean over antialiased samples."""
    edge_y = (window.top_px + np.arange(window.height + 1) * window.step) / REDUCTION
    edge_x = (window.left_px + np.arange(window.width + 1) * window.step) / REDUCTION
    corners = _bilinear(field, edge_y[:, None], edge_x[None, :])
    four = np.stack([corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]])
    rows, columns = np.nonzero((four.min(0) < _SHORE) & (four.max(0) > -_SHORE))
    if not len(rows):
        return
    inner = (np.arange(_SHORE_SAMPLES) + 0.5) / _SHORE_SAMPLES * window.step
    edges = four[:, rows, columns]
    steepness = (
        np.hypot(edges[1] + edges[3] - edges[0] - edges[2], edges[2] + edges[3] - edges[0] - edges[1]) / 2
    )
    ramp = np.maximum(2 * _SHORE, steepness / _SHORE_SAMPLES)[:, None, None]
    y = (window.top_px + rows[:, None, None] * window.step + inner[None, :, None]) / REDUCTION
    x = (window.left_px + columns[:, None, None] * window.step + inner[None, None, :]) / REDUCTION
    cover[rows, columns] = np.clip(_bilinear(field, y, x) / ramp + 0.5, 0, 1).mean((1, 2))


def _bilinear(field: Floats, y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
    """Return a field of nodes at places given in nodes."""
    last = field.shape[0] - 2
    row, column = np.minimum(y.astype(np.intp), last), np.minimum(x.astype(np.intp), last)
    down, across = (y - row).astype(np.float32), (x - column).astype(np.float32)
    upper = field[row, column] * (1 - across) + field[row, column + 1] * across
    lower = field[row + 1, column] * (1 - across) + field[row + 1, column + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


class Imagery:
    """Surfaces cut from an image at its own scale, such as a mosaic of one's own; all of it counts as water.

    Args:
        pixels: The image; uint8[height, width, 3].
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def surface(self, ground: Ground, window: Window) -> Floats:
        """Return the surface in a window.

        Raises:
            ValueError: The window leaves the image.
        """
        top, left = ground.top_px + window.top_px, ground.left_px + window.left_px
        height, width = window.height * window.step, window.width * window.step
        cut = self._pixels[top : top + height, left : left + width]
        if cut.shape[:2] != (height, width):
            raise ValueError(
                f"{window} leaves the image of {self._pixels.shape[1]} x {self._pixels.shape[0]} px"
            )
        blocks = cut.reshape(window.height, window.step, window.width, window.step, 3)
        return np.asarray(blocks.mean((1, 3)), np.float32)

    def land(self, ground: Ground, window: Window) -> Floats:
        """Return zeros."""
        return np.zeros((window.height, window.width), np.float32)


BACKGROUNDS: dict[str, Background] = {"synthetic": SyntheticSea()}
"""Sources of surfaces by name; add one here to draw scenes over it."""
