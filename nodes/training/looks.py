"""What a model is shown of training frames: native crops, tiles, overviews; each with its truths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.eo_mini.places import FRAME_PX
from nodes.training.architecture import TILE_PX, TOKEN_PX
from nodes.training.frames import OVERVIEW_PX, TrainingFrame
from nodes.training.targets import Truths, in_box, truths_of
from nodes.training.turns import turned

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
TILES_A_SIDE = FRAME_PX // TILE_PX


@dataclass(frozen=True)
class Look:
    """One view: its pixels after the turn, and the truths under its tokens."""

    pixels: Pixels
    truths: Truths


def overview(frame: TrainingFrame, turn: int) -> Look:
    """The whole frame at OVERVIEW_PX."""
    whole = (0, 0, FRAME_PX, FRAME_PX)
    ground = (frame.cover, frame.cloud[..., None])
    truths = truths_of(frame.contents, whole, OVERVIEW_PX // TOKEN_PX, turn, ground)
    return Look(turned(frame.small, turn), truths)


def crop(frame: TrainingFrame, pixels: Pixels, box: Box, turn: int) -> Look:
    """A square of the frame's own pixels."""
    left, upper, right, lower = box
    truths = truths_of(frame.contents, box, (right - left) // TOKEN_PX, turn)
    return Look(turned(pixels[upper:lower, left:right], turn), truths)


def crop_boxes(frame: TrainingFrame, side_px: int, rng: np.random.Generator) -> list[Box]:
    """A square around each fine content: anywhere if it shows all of it, or the tile that it is in."""
    if side_px == TILE_PX:
        return [tile_box(n) for n in sorted(_needed(frame))]
    boxes = []
    for content in frame.contents:
        left, upper, right, lower = content.box_px
        x, y = (_start(low, high, side_px, rng) for low, high in ((left, right), (upper, lower)))
        boxes.append((x, y, x + side_px, y + side_px))
    return boxes


def _start(low_px: float, high_px: float, side_px: int, rng: np.random.Generator) -> int:
    first = max(0, int(np.ceil(high_px)) - side_px)
    last = min(int(low_px), FRAME_PX - side_px)
    return int(rng.integers(first, max(first, last) + 1))


def tile_box(index: int) -> Box:
    """A tile of the frame as it lies, row by row."""
    row, column = divmod(index, TILES_A_SIDE)
    return column * TILE_PX, row * TILE_PX, (column + 1) * TILE_PX, (row + 1) * TILE_PX


def some_tiles(frame: TrainingFrame, count: int, rng: np.random.Generator) -> list[int]:
    """`count` tiles in order, at random: of those that show fine content first, then of the others."""
    needed = [int(n) for n in rng.permutation(sorted(_needed(frame)))][:count]
    others = [int(n) for n in rng.permutation(TILES_A_SIDE**2) if n not in _needed(frame)]
    return sorted([*needed, *others[: count - len(needed)]])


def shown_kinds(frame: TrainingFrame, tiles: Sequence[int]) -> set[str]:
    """The fine kinds that these tiles show."""
    return {one.kind for one in frame.contents if any(in_box(one, tile_box(n)) for n in tiles)}


def _needed(frame: TrainingFrame) -> set[int]:
    """The tiles that show fine content."""
    return {n for n in range(TILES_A_SIDE**2) if any(in_box(one, tile_box(n)) for one in frame.contents)}


def turned_tile(index: int, turn: int) -> int:
    """Where a tile lies in the turned frame."""
    numbers = np.arange(TILES_A_SIDE**2).reshape(TILES_A_SIDE, TILES_A_SIDE)
    return int(np.flatnonzero(turned(numbers, turn).ravel() == index)[0])
