"""Relevance of regions without a model: the detail in each, whatever the question is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nodes.regions.grid import scores_from_map

if TYPE_CHECKING:
    from PIL.Image import Image

_MAP_PX = 512  # longest side of the image that is looked at


def detail_scores(image: Image, rows: int, columns: int) -> list[float]:
    """Return the sum of each region's brightness steps between neighbouring pixels.

    The image is reduced to 512 px first, so that noise of single pixels counts little. A region of one
    brightness has 0.

    Args:
        image: The frame.
        rows: Number of rows of regions.
        columns: Number of columns of regions.

    Returns:
        The scores row by row, which sum to 1; equal ones for an image without any detail.
    """
    small = image.convert("L")
    small.thumbnail((_MAP_PX, _MAP_PX))
    grey = np.asarray(small, dtype=np.float64)
    steps = np.zeros_like(grey)
    steps[:, 1:] += np.abs(np.diff(grey, axis=1))
    steps[1:] += np.abs(np.diff(grey, axis=0))
    scores = scores_from_map(steps, rows, columns)
    total = float(scores.sum())
    return [float(score) for score in (scores / total if total else np.full(len(scores), 1 / len(scores)))]
