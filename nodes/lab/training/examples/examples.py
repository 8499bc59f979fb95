"""What a model is shown of a frame in training: some of its native tiles, then the overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nodes.lab.eo_mini.places import FRAME_PX
from nodes.lab.training.examples.augmentation import TURNS, turned, turned_questions
from nodes.lab.training.examples.frames import GRID, TOKEN_PX, Asked, Content, TrainingFrame
from nodes.lab.training.examples.packing import Room
from nodes.lab.training.examples.targets import Truths, truths_of

_WHOLE = (0, 0, FRAME_PX, FRAME_PX)


@dataclass(frozen=True)
class Shown:
    """A frame as it is shown, turned.

    `tiles`: uint8[tiles, tile_px, tile_px, 3], None without pixels; `small`: uint8[OVERVIEW_PX, OVERVIEW_PX,
    3]; `native`: truths of the tiles, None without tiles; `ground`: truths of the overview; `rooms` in the
    order of the prompt.
    """

    tiles: NDArray[np.uint8] | None
    small: NDArray[np.uint8]
    native: Truths | None
    ground: Truths
    rooms: tuple[Room, ...]
    asked: tuple[Asked, ...]


def show(frame: TrainingFrame, tile_px: int | None, tiles: int, rng: np.random.Generator) -> Shown:
    """Show `tiles` tiles of a frame, those of whole contents first, each behind the room of those left out.

    Every second time no room is left: a prompt may hold a few tiles only.
    """
    turn = int(rng.integers(TURNS))
    if tile_px is None or not tiles:
        asked, ground = tuple(turned_questions(frame.asked, turn)), overview_truths(frame).turned(turn)
        return Shown(None, turned(frame.small, turn), None, ground, (Room(GRID, GRID),), asked)
    chosen = some_tiles(frame.contents, tile_px, tiles, rng)
    return show_tiles(frame, tile_px, chosen, turn, leave=bool(rng.random() < 0.5))


def show_tiles(
    frame: TrainingFrame,
    tile_px: int,
    chosen: Sequence[int],
    turn: int,
    *,
    leave: bool,
    pixels: bool = True,
) -> Shown:
    """Show some tiles of a turned frame; a fine prompt is asked only where all of its content is shown.

    Args:
        chosen: tiles of the frame as it lies.
        leave: with the room of those before each that are left out.
        pixels: cut the tiles out; else they are only placed.
    """
    in_part = {one.kind for one in frame.contents if not tiles_with(one, tile_px) <= set(chosen)}
    asked = tuple(turned_questions([one for one in frame.asked if one.kind not in in_part], turn))
    small, ground = turned(frame.small, turn), overview_truths(frame).turned(turn)
    a_side = FRAME_PX // tile_px
    placed = place_tiles(chosen, tile_px, turn)
    cut = _cut(frame.pixels(), [tile_box(index, tile_px) for _, index in placed], turn) if pixels else None
    whole = truths_of(frame.contents, _WHOLE, FRAME_PX // TOKEN_PX).turned(turn)
    native = tiles_of(whole, a_side).picked(torch.tensor([place for place, _ in placed]))
    side = tile_px // TOKEN_PX
    rooms, before = [], -1
    for place, _ in placed:
        rooms.append(Room(side, side, skipped_rooms=(place - before - 1) * leave))
        before = place
    rest = Room(GRID, GRID, skipped_rooms=(a_side**2 - before - 1) * leave, of_positions=side + 2)
    return Shown(cut, small, native, ground, (*rooms, rest), asked)


def place_tiles(chosen: Sequence[int], tile_px: int, turn: int) -> list[tuple[int, int]]:
    """Where each of some tiles lies in the turned frame, and which it is; in the order of their places."""
    return sorted((turned_tile(index, FRAME_PX // tile_px, turn), index) for index in chosen)


def _cut(
    pixels: NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]], turn: int
) -> NDArray[np.uint8]:
    return np.stack([turned(pixels[upper:lower, left:right], turn) for left, upper, right, lower in boxes])


def overview_truths(frame: TrainingFrame) -> Truths:
    """What lies under the tokens of the frame's overview, as it is."""
    return truths_of(frame.contents, _WHOLE, GRID, (frame.cover, frame.cloud[..., None]))


def tiles_of(whole: Truths, a_side: int) -> Truths:
    """Truths of all tiles, row by row, from those of the frame at native size as one view."""

    def cut(values: torch.Tensor) -> torch.Tensor:
        side = values.shape[1] // a_side
        blocks = values.view(a_side, side, a_side, side, -1).transpose(1, 2)
        return blocks.reshape(a_side**2, side, side, -1)

    return Truths(cut(whole.kinds), cut(whole.centres), cut(whole.rows))


def some_tiles(
    contents: Sequence[Content],
    tile_px: int,
    count: int,
    rng: np.random.Generator,
    among: Sequence[int] | None = None,
) -> list[int]:
    """`count` tiles in order, at random: those of whole contents first, then others.

    among: choose from these; None: from all of a frame.
    """
    every = range((FRAME_PX // tile_px) ** 2) if among is None else among
    first: set[int] = set()
    for number in rng.permutation(len(contents)):
        with_this = first | tiles_with(contents[number], tile_px)
        if len(with_this) <= count and with_this <= set(every):
            first = with_this
    others = [int(n) for n in rng.permutation([n for n in every if n not in first])]
    return sorted([*first, *others[: count - len(first)]])


def tiles_with(content: Content, tile_px: int) -> set[int]:
    """The tiles in which a content lies."""
    return {n for n in range((FRAME_PX // tile_px) ** 2) if _overlap(content, tile_box(n, tile_px))}


def _overlap(content: Content, box_px: tuple[int, int, int, int]) -> bool:
    left, upper, right, lower = content.box_px
    return left < box_px[2] and right > box_px[0] and upper < box_px[3] and lower > box_px[1]


def tile_box(index: int, tile_px: int) -> tuple[int, int, int, int]:
    """A tile of the frame as it lies, row by row: left, upper, right, lower."""
    row, column = divmod(index, FRAME_PX // tile_px)
    return column * tile_px, row * tile_px, (column + 1) * tile_px, (row + 1) * tile_px


def turned_tile(index: int, a_side: int, turn: int) -> int:
    """Where a tile of a grid of `a_side` x `a_side` lies in the turned frame."""
    numbers = np.arange(a_side**2).reshape(a_side, a_side)
    return int(np.flatnonzero(turned(numbers, turn).ravel() == index)[0])
