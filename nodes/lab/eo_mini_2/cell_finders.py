"""Cell finders without a model: where in a frame something is bright, uneven or sharp.

If one of them found the cells that an answer needs, attention would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.questions import REGION_CELLS, REGION_PX
from nodes.lab.eo_mini_2.render import render
from nodes.lab.eo_mini_2.scene import REDUCTION, Scene

Numbers = NDArray[np.float64]

TOP = 4  # cells that a finder names
STEPS = (REDUCTION, 3)  # native pixels per drawn one


def peak(cell: Numbers) -> float:
    """Return how far the brightest pixels of a cell are above its middle."""
    return float(np.percentile(cell, 99.8) - np.median(cell))


def deviation(cell: Numbers) -> float:
    """Return the deviation of a cell's brightness."""
    return float(cell.std())


def edges(cell: Numbers) -> float:
    """Return the mean steepness of a cell, beyond that of its waves and noise."""
    steep = np.abs(np.diff(cell, axis=0))[:, :-1] + np.abs(np.diff(cell, axis=1))[:-1]
    return float(np.maximum(steep - 3 * np.median(steep), 0).mean())


def bright_area(cell: Numbers) -> float:
    """Return the share of a cell that is clearly brighter than its middle."""
    above = cell - np.median(cell)
    return float((above > 20).mean())


def small_marks(cell: Numbers) -> float:
    """Return the strength of marks that are smaller than a tenth of the cell."""
    width = max(3, cell.shape[0] // 10)
    sums = np.pad(cell, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    blurred = (
        sums[width:, width:] - sums[:-width, width:] - sums[width:, :-width] + sums[:-width, :-width]
    ) / width**2
    half = width // 2
    inner = cell[half : half + blurred.shape[0], half : half + blurred.shape[1]]
    return float(np.percentile(np.abs(inner - blurred), 99))


FINDERS: dict[str, Callable[[Numbers], float]] = {
    finder.__name__: finder for finder in (peak, deviation, edges, bright_area, small_marks)
}


def rankings(scene: Scene, steps: Sequence[int] = STEPS) -> dict[str, list[int]]:
    """Return, for each finder at each scale, all cells of a scene, the most suspicious first."""
    found = {}
    for step in steps:
        side = REGION_PX // step
        pixels = render(scene, Window(0, 0, side * REGION_CELLS, side * REGION_CELLS, step)).mean(2)
        cells = pixels.reshape(REGION_CELLS, side, REGION_CELLS, side).swapaxes(1, 2).reshape(-1, side, side)
        for name, finder in FINDERS.items():
            order = np.argsort([-finder(cell) for cell in cells], kind="stable")
            found[f"{name.replace('_', ' ')} at 1/{step}"] = [int(cell) for cell in order]
    return found


def share_found(ranking: list[int], needed: tuple[int, ...]) -> float:
    """Return the share of the needed cells among the first TOP of a ranking."""
    return len(set(ranking[:TOP]) & set(needed)) / len(needed)
