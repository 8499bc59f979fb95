"""Grid of regions over a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
MAX_REGIONS = 4096


@dataclass(frozen=True)
class Grid:
    """Rows and columns of regions that tile a frame exactly.

    Region i is in row i // columns and column i % columns. Sides differ by at most one pixel if the frame's
    size is not a multiple of the grid's.

    Attributes:
        width_px: Width of the frame.
        height_px: Height of the frame.
        rows: Number of rows.
        columns: Number of columns.

    Raises:
        ValueError: The frame has too few pixels for the grid, or there are more than MAX_REGIONS regions.
    """

    width_px: int
    height_px: int
    rows: int = 4
    columns: int = 4

    def __post_init__(self) -> None:
        fits = 1 <= self.rows <= self.height_px and 1 <= self.columns <= self.width_px
        if not fits or self.rows * self.columns > MAX_REGIONS:
            raise ValueError(
                f"no grid of {self.rows} x {self.columns} regions in {self.width_px} x {self.height_px} px: "
                f"each region needs at least one pixel, and at most {MAX_REGIONS} regions are allowed"
            )

    def __len__(self) -> int:
        """Return the number of regions."""
        return self.rows * self.columns

    def box(self, index: int) -> Box:
        """Return left, upper, right and lower of a region in pixels; right and lower are exclusive."""
        if not 0 <= index < len(self):
            raise IndexError(f"no region {index}: the grid has {len(self)} regions")
        row, column = divmod(index, self.columns)
        return (
            column * self.width_px // self.columns,
            row * self.height_px // self.rows,
            (column + 1) * self.width_px // self.columns,
            (row + 1) * self.height_px // self.rows,
        )


def scores_from_map(over_frame: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.float64]:
    """Sum a map over the frame within each region.

    Args:
        over_frame: Map of any size [height, width], such as attention per image token. A cell that several
            regions share is divided among them by area.
        rows: Number of rows of regions.
        columns: Number of columns of regions.

    Returns:
        float64[rows * columns] with the same sum as the map.
    """
    down = _shares(over_frame.shape[0], rows)
    across = _shares(over_frame.shape[1], columns)
    return np.asarray(down @ np.asarray(over_frame, dtype=np.float64) @ across.T, dtype=np.float64).ravel()


def _shares(cells: int, parts: int) -> NDArray[np.float64]:
    """Return [parts, cells]: the share of each cell in each of the equal parts."""
    edges = np.arange(parts + 1) * cells / parts
    low = np.maximum(edges[:-1, None], np.arange(cells)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, cells + 1)[None, :])
    return np.asarray(np.clip(high - low, 0.0, 1.0), dtype=np.float64)
