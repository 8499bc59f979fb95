"""Longitudes of the splits for training, validation and testing.

A frame lies entirely within one band, so no two splits share a pixel:

    -180     -100     -60     -20     5      35    60      85     110   135     180
      |  train  | TEST  | train | TEST | train | val | train | TEST  | val | train |

Train and test each contain forest, grassland, desert and sea; val contains hardly any forest.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "val", "test"]

BANDS_DEG: dict[Split, tuple[tuple[float, float], ...]] = {
    "train": ((-180.0, -100.0), (-60.0, -20.0), (5.0, 35.0), (60.0, 85.0), (135.0, 180.0)),
    "val": ((35.0, 60.0), (110.0, 135.0)),
    "test": ((-100.0, -60.0), (-20.0, 5.0), (85.0, 110.0)),
}
FRAME_PX = 1344
CELL_PX = 336  # a frame is 4 x 4 cells
FRAME_HEIGHT_DEG = 16.0
