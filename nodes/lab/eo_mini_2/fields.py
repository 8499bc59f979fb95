"""Random fields that can be read anywhere in a frame, at any scale, with exact area means.

Two kinds make up every surface, haze, cloud and noise:

* `nodes` gives a smooth field at the corners of blocks of REDUCTION native pixels, bilinear between them. The
  mean of a bilinear patch over a rectangle is its value at the centre, so a reduced pixel needs one value.
* `from_tile` gives a periodic pattern of finer detail, which is averaged over blocks once for each scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCED_PX, REDUCTION

Floats = NDArray[np.float32]
Pattern = Literal["swell", "chop", "soil", "noise"]

TILE_PX = 1008
_COARSEST = 2  # cells of the coarsest octave along a side
_OCTAVES = 7  # the finest has cells of 21 px
_LEAST_WEIGHT = 0.03  # of an octave that is drawn
_PATTERNS: tuple[Pattern, ...] = ("swell", "chop", "soil", "noise")


@dataclass(frozen=True)
class Window:
    """A rectangle of a frame, and the scale at which it is drawn.

    Attributes:
        left_px: Left edge, native pixels; a multiple of `step`.
        top_px: Upper edge.
        width: Width in drawn pixels.
        height: Height in drawn pixels.
        step: Side of a drawn pixel in native pixels; a divisor of REDUCTION.
    """

    left_px: int
    top_px: int
    width: int
    height: int
    step: int = 1

    def __post_init__(self) -> None:
        if REDUCTION % self.step or self.left_px % self.step or self.top_px % self.step:
            raise ValueError(f"{self}: the step must divide {REDUCTION} and both edges")
        right_px, bottom_px = self.left_px + self.width * self.step, self.top_px + self.height * self.step
        if min(self.left_px, self.top_px) < 0 or max(right_px, bottom_px) > FRAME_PX:
            raise ValueError(f"{self}: the window leaves the frame of {FRAME_PX} px")


WHOLE_REDUCED = Window(0, 0, REDUCED_PX, REDUCED_PX, REDUCTION)


@lru_cache(maxsize=64)
def nodes(seed: int, detail: float) -> Floats:
    """Return a smooth random field at the corners of blocks; float32[REDUCED_PX + 1, REDUCED_PX + 1].

    Args:
        seed: Seed of the field.
        detail: Weight of each octave relative to the next coarser one; 0.5 is smooth, 0.7 is ragged.
    """
    rng = np.random.default_rng([7, seed])
    total = np.zeros((REDUCED_PX + 1, REDUCED_PX + 1), np.float32)
    variance = 0.0
    for octave, (first, weights) in enumerate(_octaves()):
        count = _COARSEST * 2**octave + 3
        knots = rng.standard_normal((count, count), dtype=np.float32)
        weight = np.float32(detail**octave)
        if weight < _LEAST_WEIGHT:
            break
        total += weight * _blended(_blended(knots, first, weights).T, first, weights).T
        variance += float(weight) ** 2 * float((weights**2).sum(1).mean()) ** 2
    total /= np.float32(variance**0.5)
    total.setflags(write=False)
    return total


def _blended(knots: Floats, first: NDArray[np.intp], weights: Floats) -> Floats:
    """Return a spline's rows at the nodes, each from four knots.

    As a product of matrices, BLAS would share it among threads, which takes ten times as long where the other
    processors are busy.
    """
    rows = [weights[:, n, None] * knots[first + n] for n in range(4)]
    return np.asarray(sum(rows[1:], rows[0]), np.float32)


@lru_cache(maxsize=1)
def _octaves() -> tuple[tuple[NDArray[np.intp], Floats], ...]:
    """Return, for each octave, the first of four knots of each node, and their cubic B-spline weights."""
    found = []
    for octave in range(_OCTAVES):
        cells = _COARSEST * 2**octave
        at = np.linspace(0, cells, REDUCED_PX + 1)
        first = np.minimum(at.astype(np.intp), cells - 1)
        t = at - first
        weights = np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
        )
        found.append((first, np.asarray(weights / 6, np.float32)))
    return tuple(found)


def between(field: Floats, window: Window, shift_px: tuple[int, int] = (0, 0)) -> Floats:
    """Return a field of nodes in a window: its value at the centre of each pixel, which is the pixel's mean.

    Args:
        field: Values at the nodes.
        window: What to draw.
        shift_px: Offset to the right and down that the field has; its edge is continued.
    """
    rows, down = _places(window.top_px - shift_px[1], window.height, window.step)
    columns, across = _places(window.left_px - shift_px[0], window.width, window.step)
    last = field.shape[0] - 1
    upper, lower = field[np.clip(rows, 0, last)], field[np.clip(rows + 1, 0, last)]
    lines = upper + (lower - upper) * down[:, None]
    left, right = lines[:, np.clip(columns, 0, last)], lines[:, np.clip(columns + 1, 0, last)]
    return np.asarray(left + (right - left) * across[None, :], np.float32)


def _places(edge_px: int, count: int, step: int) -> tuple[NDArray[np.intp], Floats]:
    at = (edge_px + (np.arange(count) + 0.5) * step) / REDUCTION
    first = np.floor(at).astype(np.intp)
    return first, (at - first).astype(np.float32)


def from_tile(pattern: Pattern, window: Window, offset_px: tuple[int, int], turn: int = 0) -> Floats:
    """Return a pattern in a window; float32[height, width], native deviation 1.

    Args:
        pattern: Which one.
        window: What to draw.
        offset_px: Place of the frame's corner in the tile, in multiples of REDUCTION.
        turn: Quarter turns of the tile, plus 4 for its mirror image.
    """
    tile = _tile(pattern, window.step, turn % 8)
    side = tile.shape[0]
    rows = ((window.top_px + offset_px[1]) // window.step + np.arange(window.height)) % side
    columns = ((window.left_px + offset_px[0]) // window.step + np.arange(window.width)) % side
    return np.asarray(tile[rows][:, columns], np.float32)


@lru_cache(maxsize=64)
def _tile(pattern: Pattern, step: int, turn: int) -> Floats:
    if turn:
        tile = _tile(pattern, step, 0)
        return np.ascontiguousarray(np.rot90(tile[:, ::-1] if turn >= 4 else tile, turn % 4))
    if step > 1:
        side = TILE_PX // step
        native = _tile(pattern, 1, 0)
        return np.asarray(native.reshape(side, step, side, step).mean((1, 3)), np.float32)
    rng = np.random.default_rng([11, _PATTERNS.index(pattern)])
    white = rng.standard_normal((TILE_PX, TILE_PX), dtype=np.float32)
    if pattern == "noise":
        return white
    rows = np.asarray(np.fft.fftfreq(TILE_PX)[:, None], np.float64)
    columns = np.asarray(np.fft.rfftfreq(TILE_PX)[None, :], np.float64)
    shaped = np.fft.irfft2(np.fft.rfft2(white) * _amplitude(pattern, rows, columns), (TILE_PX, TILE_PX))
    return np.asarray((shaped - shaped.mean()) / shaped.std(), np.float32)


def _amplitude(
    pattern: Pattern, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the amplitude of each wave of a pattern; frequencies are in cycles per pixel, which is a metre.

    The sea follows the spectrum of Pierson and Moskowitz (1964) by wavenumber, k^-4 exp(-1.25 (kp/k)^2), with
    cos^4 spreading for swell of 90 m and cos^2 for a local sea of 22 m. Glint shows slopes, hence k^-2 here.
    Land has a power law; its waves above 80 m are left to the smooth fields.
    """
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0
    if pattern == "soil":
        power = frequency**-2.4 * np.exp(-((0.0125 / frequency) ** 2))
    else:
        peak, spread = (1 / 90, 4) if pattern == "swell" else (1 / 22, 2)
        towards = np.abs(rows * 0.94 + columns * 0.34) / frequency
        power = frequency**-2.0 * np.exp(-1.25 * (peak / frequency) ** 2) * (0.08 + towards**spread)
    power *= np.exp(-((frequency / 0.30) ** 2))  # the modulation transfer function of the optics
    power[0, 0] = 0.0
    return np.asarray(np.sqrt(power))
