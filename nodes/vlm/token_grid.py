"""Where in a frame each image token looks: the grids of image tokens of a prompt, and maps over the frame."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")


@dataclass(frozen=True)
class TokenGrid:
    """`rows` x `columns` consecutive image tokens over `box` (left, top, right, bottom), frame pixels."""

    box: Box
    rows: int
    columns: int


def frame_map(
    weights: NDArray[Any], grids: Sequence[TokenGrid], width: int, height: int
) -> NDArray[np.float64]:
    """Spread the weights of image tokens over a frame.

    Args:
        weights: one per image token, in prompt order.
        grids: as `Session.grids` gives them; their tokens together are `weights`.
        width, height: of the map; boxes are in its pixels.

    Returns float64[height, width], weight per pixel: it sums to the weights' sum when every token's cell
    holds a pixel's centre and no box leaves the frame.
    Raises ValueError when tokens and grids do not fit.
    """
    expected = sum(grid.rows * grid.columns for grid in grids)
    if len(weights) != expected:
        raise ValueError(f"{len(weights)} weights for {expected} image tokens")
    total = np.zeros((height, width))
    start = 0
    for grid in grids:
        count = grid.rows * grid.columns
        cells = np.asarray(weights[start : start + count], dtype=np.float64).reshape(grid.rows, grid.columns)
        start += count
        left, top, right, bottom = grid.box
        row, inside_y = _cells(height, top, bottom, grid.rows)
        column, inside_x = _cells(width, left, right, grid.columns)
        pixels = np.outer(np.bincount(row, minlength=grid.rows), np.bincount(column, minlength=grid.columns))
        density = cells / np.maximum(pixels, 1)
        total[np.ix_(inside_y, inside_x)] += density[np.ix_(row, column)]
    return total


def _cells(size: int, start: float, end: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cell of each pixel whose centre lies in [start, end), and those pixels."""
    centres = np.arange(size) + 0.5
    inside = np.flatnonzero((centres >= start) & (centres < end))
    cells = ((centres[inside] - start) / (end - start) * count).astype(np.int64)
    return np.minimum(cells, count - 1), inside


def token_grids(
    inputs: Any, names: Sequence[str], where: NDArray[Any], boxes: Sequence[Box], merge: int
) -> list[TokenGrid]:
    """Find the grids of a prompt's image tokens, by the family's own layout.

    Args:
        inputs: what the processor gave; `image_grid_thw` is used where there is one (Qwen-VL).
        names: the prompt's tokens as text; `<row_R_col_C>` before a run of image tokens is a tile (Idefics3).
        where: bool, one per prompt token: it is an image token.
        boxes: one per image.
        merge: patches a side that make one token, for `image_grid_thw`.

    Raises ValueError when the layout is not known here.
    """
    if "image_grid_thw" in inputs:
        sizes = [(int(high) // merge, int(wide) // merge) for _, high, wide in inputs["image_grid_thw"]]
        grids = [TokenGrid(box, *size) for box, size in zip(boxes, sizes, strict=True)]
    else:
        grids = _grids_of_runs(names, where, boxes)
    if sum(grid.rows * grid.columns for grid in grids) != int(where.sum()):
        raise ValueError("the image tokens of this model's prompt do not form the grids that are known here")
    return grids


def _grids_of_runs(names: Sequence[str], where: NDArray[Any], boxes: Sequence[Box]) -> list[TokenGrid]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    tiles = [_TILE.search(names[start - 1]) if start else None for start, _ in runs]
    if not any(tiles):
        return _equal_squares(int(where.sum()), boxes)
    grids: list[TokenGrid] = []
    waiting: list[tuple[int, int, int]] = []  # tiles of an image come before its overview
    image = 0
    for (start, end), tile in zip(runs, tiles, strict=True):
        side = _square(end - start)
        if tile:
            waiting.append((int(tile[1]) - 1, int(tile[2]) - 1, side))
            continue
        grids += _tiles(waiting, boxes[image])
        grids.append(TokenGrid(boxes[image], side, side))
        waiting, image = [], image + 1
    return grids


def _tiles(tiles: Sequence[tuple[int, int, int]], box: Box) -> list[TokenGrid]:
    if not tiles:
        return []
    left, top, right, bottom = box
    high = (bottom - top) / (1 + max(row for row, _, _ in tiles))
    wide = (right - left) / (1 + max(column for _, column, _ in tiles))
    return [
        TokenGrid((left + c * wide, top + r * high, left + (c + 1) * wide, top + (r + 1) * high), side, side)
        for r, c, side in tiles
    ]


def _equal_squares(tokens: int, boxes: Sequence[Box]) -> list[TokenGrid]:
    if tokens % len(boxes):
        raise ValueError(f"{tokens} image tokens for {len(boxes)} images: this model's layout is not known")
    side = _square(tokens // len(boxes))
    return [TokenGrid(box, side, side) for box in boxes]


def _square(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f"{tokens} image tokens are no square: this model's layout is not known")
    return side
