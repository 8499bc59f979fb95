"""Detectors that know everything about a thing but its shape, at native or reduced scale.

They know where each thing is, its heading, length, contrast and haze, and read how bright it is along its
axes. A logistic regression on these profiles, fitted on other scenes of similar sizes at one scale, gives
the odds of the family's first shape. So what a detector cannot tell at reduced scale is not in the pixels, as
far as profiles go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.answers import GOOD_F1
from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.render import Pixels, opacity_of, render
from nodes.lab.eo_mini_2.scene import (
    FRAME_PX,
    FULL_CONTRAST,
    LENGTH_PX,
    REDUCTION,
    SHAPES,
    Family,
    Scene,
    Thing,
)

Numbers = NDArray[np.float64]

_ALONG = np.linspace(-1.25, 1.25, 31)  # samples along the axis, in half lengths
_ACROSS = np.array([-0.35, 0.0, 0.35])  # and across, in half widths
_BINS = 8  # of the logarithm of the length, each with a regression of its own
_RIDGE = 1.0


@dataclass(frozen=True)
class Reading:
    """What a detector measured of one thing.

    Attributes:
        profile: Brightness above the water, as a share of what the thing has; float64[n].
        length_px: Its length.
        first: Whether it has the first shape of its family.
    """

    profile: Numbers
    length_px: float
    first: bool


def read(scene: Scene, family: Family, step: int) -> list[Reading]:
    """Measure every thing of a family, in pixels of `step` native ones."""
    whole = render(scene) if step == REDUCTION else None
    found = []
    for thing in scene.of(family):
        if whole is None:
            pixels, left, top = _cut(scene, thing, step)
        else:
            pixels, left, top = whole, 0, 0
        found.append(_reading(scene, thing, pixels, (left, top, step)))
    return found


def _cut(scene: Scene, thing: Thing, step: int) -> tuple[Pixels, int, int]:
    reach = 1.4 * thing.radius_px + 4 * step
    left, top = (max(0, int(at - reach)) // step * step for at in (thing.x_px, thing.y_px))
    right, bottom = (min(FRAME_PX, int(at + reach)) // step * step for at in (thing.x_px, thing.y_px))
    window = Window(left, top, (right - left) // step, (bottom - top) // step, step)
    return render(scene, window), left, top


def _reading(scene: Scene, thing: Thing, pixels: Pixels, place: tuple[int, int, int]) -> Reading:
    half = thing.length_px / 2
    cosine, sine = math.cos(thing.heading_rad), math.sin(thing.heading_rad)
    along, across = np.meshgrid(_ALONG * half, _ACROSS * half / thing.aspect)
    x = thing.x_px + along * cosine - across * sine
    y = thing.y_px + along * sine + across * cosine
    grey = _at(pixels.mean(2), x, y, place)
    water = sum(scene.ground.water) / 3
    opacity = opacity_over(scene, thing)
    scale = thing.contrast * FULL_CONTRAST * (1 - opacity)
    share = (grey - (water * (1 - opacity) + 230 * opacity)) / max(scale, 1.0)
    mean = share.mean(0)
    profile = (mean + mean[::-1])[len(mean) // 2 :] / 2
    return Reading(profile, thing.length_px, thing.shape == SHAPES[thing.family][0])


def opacity_over(scene: Scene, thing: Thing) -> float:
    """Return the opacity of haze and cloud over the centre of a thing."""
    clear = 1.0
    spot = Window(int(thing.x_px), int(thing.y_px), 1, 1)
    for veil in (scene.haze, scene.cloud):
        if veil:
            clear *= 1 - float(opacity_of(veil, spot)[0, 0])
    return 1 - clear


def _at(grey: Numbers, x_px: Numbers, y_px: Numbers, place: tuple[int, int, int]) -> Numbers:
    """Return bilinear samples of an image at native places."""
    left, top, step = place
    column = np.clip((x_px - left) / step - 0.5, 0, grey.shape[1] - 1.001)
    row = np.clip((y_px - top) / step - 0.5, 0, grey.shape[0] - 1.001)
    c, r = column.astype(int), row.astype(int)
    across, down = column - c, row - r
    upper = grey[r, c] * (1 - across) + grey[r, c + 1] * across
    lower = grey[r + 1, c] * (1 - across) + grey[r + 1, c + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float64)


class Detector:
    """Odds of a family's first shape, by a regression for each range of sizes.

    Args:
        readings: Readings to fit on, of one family at one scale.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        bins = np.array([_bin(reading.length_px) for reading in readings])
        profiles = np.stack([reading.profile for reading in readings])
        firsts = np.array([reading.first for reading in readings])
        self._centre, self._scale = profiles.mean(0), profiles.std(0) + 1e-9
        rows = (profiles - self._centre) / self._scale
        self._weights = {
            number: _fitted(rows[np.abs(bins - number) <= 1], firsts[np.abs(bins - number) <= 1])
            for number in range(_BINS)
            if (np.abs(bins - number) <= 1).sum() >= 20
        }

    def odds(self, reading: Reading) -> float:
        """Return the logarithm of the odds that a thing has the first shape; 0 where nothing was fitted."""
        weights = self._weights.get(_bin(reading.length_px))
        if weights is None:
            return 0.0
        row = (reading.profile - self._centre) / self._scale
        return float(np.clip(row @ weights[:-1] + weights[-1], -12, 12))


def _bin(length_px: float) -> int:
    low, high = (math.log(length) for length in LENGTH_PX)
    return min(_BINS - 1, max(0, int((math.log(length_px) - low) / (high - low) * _BINS)))


def _fitted(rows: Numbers, firsts: NDArray[np.bool_]) -> Numbers:
    """Return the weights of a ridge logistic regression, the constant last, by Newton's method."""
    x = np.hstack([rows, np.ones((len(rows), 1))])
    penalty = _RIDGE * np.eye(x.shape[1])
    penalty[-1, -1] = 1e-3
    weights = np.zeros(x.shape[1])
    for _ in range(15):
        chance = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (chance - firsts) + penalty @ weights
        weights -= np.linalg.solve((x.T * (chance * (1 - chance) + 1e-6)) @ x + penalty, slope)
    return weights


def likeliest_count(odds: Sequence[float], most: int = 3) -> int:
    """Return the likeliest number of first shapes, when each number from 0 to `most` is as likely before."""
    ways = np.zeros(len(odds) + 1)
    ways[0] = 1.0
    for one in odds:
        ways[1:] += ways[:-1] * math.exp(one)
    likelihood = [ways[k] / math.comb(len(odds), k) for k in range(min(most, len(odds)) + 1)]
    return int(np.argmax(likelihood))


def list_is_good(odds: Sequence[float], firsts: Sequence[bool]) -> bool:
    """Return whether a list that names each thing by its likelier shape has a good item F1.

    The detector knows the cells and sizes, so that the item F1 is the share of right shapes.
    """
    return float(np.mean([(one > 0) == first for one, first in zip(odds, firsts, strict=True)])) >= GOOD_F1
