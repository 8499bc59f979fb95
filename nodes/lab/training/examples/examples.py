"""Training examples: some full-resolution tiles of a frame, then its overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nodes.lab.eo_mini.places import FRAME_PX
from nodes.lab.training.examples.augmentation import AUGMENTATIONS, augment, augment_questions
from nodes.lab.training.examples.frames import GRID, TOKEN_PX, Content, Question, TrainingFrame
from nodes.lab.training.examples.packing import ImageSlot
from nodes.lab.training.examples.targets import DenseTargets, dense_targets

_WHOLE = (0, 0, FRAME_PX, FRAME_PX)


@dataclass(frozen=True)
class Example:
    """An augmented frame as model input, with its dense targets and questions.

    Attributes:
        tiles: uint8[tiles, tile_px, tile_px, 3]; None without pixels.
        overview: uint8[OVERVIEW_PX, OVERVIEW_PX, 3].
        native_targets: Dense targets of the tiles; None without tiles.
        overview_targets: Dense targets of the overview.
        slots: Image slots in the order of the prompt.
        questions: Questions that the shown parts can answer.
    """

    tiles: NDArray[np.uint8] | None
    overview: NDArray[np.uint8]
    native_targets: DenseTargets | None
    overview_targets: DenseTargets
    slots: tuple[ImageSlot, ...]
    questions: tuple[Question, ...]


def make_example(frame: TrainingFrame, tile_px: int | None, tiles: int, rng: np.random.Generator) -> Example:
    """Return a random example of a frame.

    Args:
        frame: The frame.
        tile_px: Side of a tile; None for a model without tiles.
        tiles: Number of tiles; those with complete contents come first.
        rng: Source of randomness. In half of the examples, omitted tiles leave no gap in positions.
    """
    augmentation = int(rng.integers(AUGMENTATIONS))
    if tile_px is None or not tiles:
        return Example(
            tiles=None,
            overview=augment(frame.overview, augmentation),
            native_targets=None,
            overview_targets=targets_of_overview(frame).augment(augmentation),
            slots=(ImageSlot(GRID, GRID),),
            questions=tuple(augment_questions(frame.questions, augmentation)),
        )
    tiles_shown = sample_tiles(frame.contents, tile_px, tiles, rng)
    return make_tiled_example(
        frame, tile_px, tiles_shown, augmentation, keep_positions=bool(rng.random() < 0.5)
    )


def make_tiled_example(
    frame: TrainingFrame,
    tile_px: int,
    tiles_shown: Sequence[int],
    augmentation: int,
    *,
    keep_positions: bool,
    pixels: bool = True,
) -> Example:
    """Return the example with some tiles of a frame; fine questions need all of their content shown.

    Args:
        frame: The frame.
        tile_px: Side of a tile.
        tiles_shown: Indices of tiles before augmentation.
        augmentation: The augmentation.
        keep_positions: Omitted tiles leave a gap in positions.
        pixels: Include the pixels of tiles.
    """
    shown = set(tiles_shown)
    incomplete = {
        content.kind for content in frame.contents if not tiles_overlapping(content, tile_px) <= shown
    }
    answerable = [question for question in frame.questions if question.kind not in incomplete]
    a_side = FRAME_PX // tile_px
    placed = placed_tiles(tiles_shown, tile_px, augmentation)
    boxes_px = [tile_box(index, tile_px) for _, index in placed]
    whole = dense_targets(frame.contents, _WHOLE, FRAME_PX // TOKEN_PX).augment(augmentation)
    native_targets = split_into_tiles(whole, a_side).picked(torch.tensor([place for place, _ in placed]))
    side = tile_px // TOKEN_PX
    slots, before = [], -1
    for place, _ in placed:
        slots.append(ImageSlot(side, side, skipped_tiles=(place - before - 1) * keep_positions))
        before = place
    rest = ImageSlot(
        GRID, GRID, skipped_tiles=(a_side**2 - before - 1) * keep_positions, skipped_positions=side + 2
    )
    return Example(
        tiles=_cut(frame.pixels(), boxes_px, augmentation) if pixels else None,
        overview=augment(frame.overview, augmentation),
        native_targets=native_targets,
        overview_targets=targets_of_overview(frame).augment(augmentation),
        slots=(*slots, rest),
        questions=tuple(augment_questions(answerable, augmentation)),
    )


def placed_tiles(tiles_shown: Sequence[int], tile_px: int, augmentation: int) -> list[tuple[int, int]]:
    """Return (place after augmentation, index) of each tile, in the order of places."""
    return sorted((augmented_tile(index, FRAME_PX // tile_px, augmentation), index) for index in tiles_shown)


def _cut(
    pixels: NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]], augmentation: int
) -> NDArray[np.uint8]:
    return np.stack(
        [augment(pixels[upper:lower, left:right], augmentation) for left, upper, right, lower in boxes]
    )


def targets_of_overview(frame: TrainingFrame) -> DenseTargets:
    """Return the dense targets of a frame's overview before augmentation."""
    return dense_targets(frame.contents, _WHOLE, GRID, (frame.cover, frame.cloud[..., None]))


def split_into_tiles(whole: DenseTargets, a_side: int) -> DenseTargets:
    """Return the targets of all tiles, row by row, from those of the full-resolution frame as one view."""

    def cut(values: torch.Tensor) -> torch.Tensor:
        side = values.shape[1] // a_side
        blocks = values.view(a_side, side, a_side, side, -1).transpose(1, 2)
        return blocks.reshape(a_side**2, side, side, -1)

    return DenseTargets(cut(whole.kinds), cut(whole.centres), cut(whole.rows))


def sample_tiles(
    contents: Sequence[Content],
    tile_px: int,
    count: int,
    rng: np.random.Generator,
    among: Sequence[int] | None = None,
) -> list[int]:
    """Return `count` random tiles in order; tiles with complete contents come first.

    Args:
        contents: Fine contents of the frame.
        tile_px: Side of a tile.
        count: Number of tiles.
        rng: Source of randomness.
        among: Tiles to sample from; None for all tiles of a frame.
    """
    every = range((FRAME_PX // tile_px) ** 2) if among is None else among
    first: set[int] = set()
    for number in rng.permutation(len(contents)):
        with_this = first | tiles_overlapping(contents[number], tile_px)
        if len(with_this) <= count and with_this <= set(every):
            first = with_this
    others = [int(n) for n in rng.permutation([n for n in every if n not in first])]
    return sorted([*first, *others[: count - len(first)]])


def tiles_overlapping(content: Content, tile_px: int) -> set[int]:
    """Return the tiles that a content overlaps."""
    return {n for n in range((FRAME_PX // tile_px) ** 2) if _overlap(content, tile_box(n, tile_px))}


def _overlap(content: Content, box_px: tuple[int, int, int, int]) -> bool:
    left, upper, right, lower = content.box_px
    return left < box_px[2] and right > box_px[0] and upper < box_px[3] and lower > box_px[1]


def tile_box(index: int, tile_px: int) -> tuple[int, int, int, int]:
    """Return a tile's box before augmentation: left, upper, right, lower. Tiles are numbered row by row."""
    row, column = divmod(index, FRAME_PX // tile_px)
    return column * tile_px, row * tile_px, (column + 1) * tile_px, (row + 1) * tile_px


def augmented_tile(index: int, a_side: int, augmentation: int) -> int:
    """Return the place of a tile, in a grid of `a_side` x `a_side`, after augmentation."""
    numbers = np.arange(a_side**2).reshape(a_side, a_side)
    return int(np.flatnonzero(augment(numbers, augmentation).ravel() == index)[0])
