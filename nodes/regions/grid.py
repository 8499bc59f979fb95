"""A frame's grid of regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
MOST_REGIONS = 4096


@dataclass(frozen=True)
class Grid:
    """Rows and columns of regions over a frame of `width_px` by `height_px`; they tile it exactly.

    Region i lies in row i // columns, column i % columns. Sides differ by at most a pixel where the frame is
    no multiple of the grid. Raises ValueError for a grid that the frame has too few pixels for.
    """

    width_px: int
    height_px: int
    rows: int = 4
    columns: int = 4

    def __post_init__(self) -> None:
        fits = 1 <= self.rows <= self.height_px and 1 <= self.columns <= self.width_px
        if not fits or self.rows * self.columns > MOST_REGIONS:
            raise ValueError(
                f"no grid of {self.rows} x {self.columns} regions in {self.width_px} x {self.height_px} px: "
                f"give at least a pixel to each region, and at most {MOST_REGIONS} regions"
            )

    def __len__(self) -> int:
        """Number of regions."""
        return self.rows * self.columns

    def box(self, index: int) -> Box:
        """Left, upper, right, lower of a region, pixels of the frame; right and lower are outside."""
        if not 0 <= index < len(self):
            raise IndexError(f"region {index} of {len(self)}")
        row, column = divmod(index, self.columns)
        return (
            column * self.width_px // self.columns,
            row * self.height_px // self.rows,
            (column + 1) * self.width_px // self.columns,
            (row + 1) * self.height_px // self.rows,
        )


def scores_from_map(over_frame: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.float64]:
    """Add up a map over the frame within each region.

    Args:
        over_frame: [height, width] of any size, such as attention per image token; a cell that two regions
            share is divided between them by area.
        rows, columns: of the grid.

    Returns float64[rows * columns]; its sum is that of the map.
    """
    down = _shares(over_frame.shape[0], rows)
    across = _shares(over_frame.shape[1], columns)
    return np.asarray(down @ np.asarray(over_frame, dtype=np.float64) @ across.T, dtype=np.float64).ravel()


def _shares(cells: int, parts: int) -> NDArray[np.float64]:
    """[parts, cells]: how much of each cell lies in each of the equal parts."""
    edges = np.arange(parts + 1) * cells / parts
    low = np.maximum(edges[:-1, None], np.arange(cells)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, cells + 1)[None, :])
    return np.asarray(np.clip(high - low, 0.0, 1.0), dtype=np.float64)
