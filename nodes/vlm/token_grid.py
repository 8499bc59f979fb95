"""Position of each image token in the frame: grids of a prompt's image tokens, and maps over the frame."""

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
    """Consecutive image tokens that cover a box of the frame, row by row.

    Attributes:
        box: Left, top, right and bottom, in frame pixels.
        rows: Number of rows of tokens.
        columns: Number of columns of tokens.
    """

    box: Box
    rows: int
    columns: int


def frame_map(
    weights: NDArray[Any], grids: Sequence[TokenGrid], width: int, height: int
) -> NDArray[np.float64]:
    """Spread the weights of image tokens over a frame.

    Args:
        weights: One weight per image token, in prompt order.
        grids: The grids of these tokens, from `Session.grids`.
        width: Width of the map; boxes are in its pixels.
        height: Height of the map.

    Returns:
        float64[height, width], weight per pixel. Its sum is that of the weights if every token's cell
        contains the centre of a pixel and no box extends beyond the frame.

    Raises:
        ValueError: The number of weights differs from the number of tokens.
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
    """Return the pixels whose centre lies in [start, end), each with its cell (cells first)."""
    centres = np.arange(size) + 0.5
    inside = np.flatnonzero((centres >= start) & (centres < end))
    cells = ((centres[inside] - start) / (end - start) * count).astype(np.int64)
    return np.minimum(cells, count - 1), inside


def token_grids(
    inputs: Any, names: Sequence[str], where: NDArray[Any], boxes: Sequence[Box], merge: int
) -> list[TokenGrid]:
    """Return the grids of a prompt's image tokens, by the family's own layout.

    Args:
        inputs: The processor's output; its `image_grid_thw` is used if present (Qwen-VL).
        names: The prompt's tokens as text; `<row_R_col_C>` before a run of image tokens marks a tile
            (Idefics3).
        where: bool per prompt token: whether it is an image token.
        boxes: The box of each image in the frame.
        merge: Patches per side that form one token, for `image_grid_thw`.

    Raises:
        ValueError: The layout is unknown.
    """
    if "image_grid_thw" in inputs:
        sizes = [(int(high) // merge, int(wide) // merge) for _, high, wide in inputs["image_grid_thw"]]
        grids = [TokenGrid(box, *size) for box, size in zip(boxes, sizes, strict=True)]
    else:
        grids = _grids_of_runs(names, where, boxes)
    if sum(grid.rows * grid.columns for grid in grids) != int(where.sum()):
        raise ValueError("the image tokens of this model's prompt form no known layout of grids")
    return grids


def _grids_of_runs(names: Sequence[str], where: NDArray[Any], boxes: Sequence[Box]) -> list[TokenGrid]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    tiles = [_TILE.search(names[start - 1]) if start else None for start, _ in runs]
    if not any(tiles):
        return _equal_squares(int(where.sum()), boxes)
    grids: list[TokenGrid] = []
    pending: list[tuple[int, int, int]] = []  # an image's tiles precede its overview
    image = 0
    for (start, end), tile in zip(runs, tiles, strict=True):
        side = _square(end - start)
        if tile:
            pending.append((int(tile[1]) - 1, int(tile[2]) - 1, side))
            continue
        grids += _tiles(pending, boxes[image])
        grids.append(TokenGrid(boxes[image], side, side))
        pending, image = [], image + 1
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
        raise ValueError(f"{tokens} image tokens for {len(boxes)} images: this model's layout is unknown")
    side = _square(tokens // len(boxes))
    return [TokenGrid(box, side, side) for box in boxes]


def _square(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f"{tokens} image tokens do not form a square: this model's layout is unknown")
    return side
