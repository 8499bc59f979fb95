"""Tiles of a frame at native scale and of its overview, and what each part of a tile shows.

A tile of 168 px has 2 x 2 tokens. Each token is asked about its 3 x 3 cells of 28 px: which classes have a
centre there, and how much is hidden by cloud, haze or darkness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.learning.scenes import CLASSES, Floats, class_of, cover
from nodes.lab.eo_mini_2.render import Pixels, opacity_of, render
from nodes.lab.eo_mini_2.scene import FRAME_PX, Scene

TILE_PX, TOKEN_PX, CELL_PX, PATCH_PX = 168, 84, 28, 14
OVERVIEW_STEP = 4
OVERVIEW_PX = FRAME_PX // OVERVIEW_STEP
SIDE = FRAME_PX // TILE_PX  # native tiles of a frame
OVERVIEW_SIDE = OVERVIEW_PX // TILE_PX
TOKENS = TILE_PX // TOKEN_PX
CELLS = TILE_PX // CELL_PX
OUTPUTS = CLASSES + 1  # of a cell; the last one is what is hidden


@dataclass(frozen=True)
class Tile:
    """A tile of training.

    Attributes:
        pixels: uint8[TILE_PX, TILE_PX, 3].
        targets: float32[CELLS, CELLS, OUTPUTS].
        cover: Share of each patch that each shape covers; float32[patches, patches, SHAPE_COUNT].
    """

    pixels: Pixels
    targets: Floats
    cover: Floats


def window_of(row: int, column: int, step: int = 1) -> Window:
    """Return the window of a tile of the grid; native, or of the overview with OVERVIEW_STEP."""
    return Window(column * TILE_PX * step, row * TILE_PX * step, TILE_PX, TILE_PX, step)


def drawn(scene: Scene, window: Window) -> Tile:
    """Draw a tile and its targets."""
    return Tile(render(scene, window), _targets(scene, window), cover(scene, window, PATCH_PX))


def rendered(scene: Scene, windows: Sequence[Window]) -> Pixels:
    """Draw tiles; uint8[tiles, TILE_PX, TILE_PX, 3]."""
    return np.stack([render(scene, window) for window in windows])


def _targets(scene: Scene, window: Window) -> Floats:
    targets = np.zeros((CELLS, CELLS, OUTPUTS), np.float32)
    targets[..., -1] = _hidden(scene, window)
    if scene.condition != "usable":
        return targets
    side_px = CELL_PX * window.step
    for thing in scene.things:
        row = int((thing.y_px - window.top_px) // side_px)
        column = int((thing.x_px - window.left_px) // side_px)
        if 0 <= row < CELLS and 0 <= column < CELLS:
            targets[row, column, class_of(thing)] = 1
    return targets


def _hidden(scene: Scene, window: Window) -> Floats:
    """Return the share of light that does not come from the surface, in each cell."""
    seen = np.full((TILE_PX, TILE_PX), scene.light, np.float32)
    for veil in (scene.haze, scene.cloud):
        if veil:
            seen *= 1 - opacity_of(veil, window)
    return np.asarray(1 - seen.reshape(CELLS, CELL_PX, CELLS, CELL_PX).mean((1, 3)), np.float32)
