"""Area coverage of things and lures, native or reduced, in the part of a window that they touch."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np

from nodes.lab.eo_mini_2.fields import Floats, Window
from nodes.lab.eo_mini_2.scene import FULL_CONTRAST, Family, Lure, Thing

COLOURS: dict[Family, tuple[float, float, float]] = {
    "vessel": (1.5, 0.75, 0.75),  # red lead
    "fixture": (1.2, 1.3, 0.5),  # safety yellow
}
"""Colour of a family by the brightness of a thing. It survives any reduction, shapes do not."""
COMPACT_ASPECT = 1.25  # of a barge and a platform, which have the area of a ship or jetty of their length
_POINTS = 64  # samples along the side of a thing's square, at least


@dataclass(frozen=True)
class Patch:
    """The part of a window that an object touches.

    Attributes:
        rows: Rows of the window.
        columns: Columns of the window.
        opacity: Share of each pixel that the object covers; float32[rows, columns].
        colour: Brightness above the water that it adds; float32[rows, columns, 3]. Already times the opacity.
    """

    rows: slice
    columns: slice
    opacity: Floats
    colour: Floats


def patch_of(thing: Thing | Lure, window: Window) -> Patch | None:
    """Return the coverage of an object in a window; None where it lies outside."""
    reach = thing.radius_px * (1.08 if isinstance(thing, Thing) else 1.9) + 1.5
    step = window.step
    left = max(0, math.floor((thing.x_px - reach - window.left_px) / step))
    top = max(0, math.floor((thing.y_px - reach - window.top_px) / step))
    right = min(window.width, math.ceil((thing.x_px + reach - window.left_px) / step))
    bottom = min(window.height, math.ceil((thing.y_px + reach - window.top_px) / step))
    if right <= left or bottom <= top:
        return None
    inner = _samples(step, 2 * reach, _POINTS if isinstance(thing, Thing) else _POINTS // 2)
    spacing = step / inner
    x = window.left_px + (left + (np.arange((right - left) * inner) + 0.5) / inner) * step - thing.x_px
    y = window.top_px + (top + (np.arange((bottom - top) * inner) + 0.5) / inner) * step - thing.y_px
    across, down = np.asarray(x, np.float32)[None, :], np.asarray(y, np.float32)[:, None]
    shape = (bottom - top, inner, right - left, inner)
    if isinstance(thing, Thing):
        opacity, shade = (_means(part, shape) for part in _thing(thing, across, down, spacing))
        tint, paint = (np.asarray(one, np.float32) for one in (thing.tint, COLOURS[thing.family]))
    else:
        opacity = _means(_lure(thing, across, down, spacing), shape)
        shade = opacity * np.float32(thing.contrast * FULL_CONTRAST)
        tint, paint = np.zeros(3, np.float32), np.ones(3, np.float32)
    colour = shade[..., None] * paint + opacity[..., None] * tint
    return Patch(slice(top, bottom), slice(left, right), opacity, np.asarray(colour, np.float32))


def _means(samples: Floats, shape: tuple[int, int, int, int]) -> Floats:
    """Return the mean of each pixel's samples; `shape` is (rows, samples, columns, samples)."""
    if shape[1] == 1:
        return samples
    return np.asarray(samples.reshape(shape).sum(3).sum(1) / (shape[1] * shape[3]), np.float32)


def _samples(step: int, side_px: float, points: int) -> int:
    """Return how many samples along a pixel's side average an object well enough: all for small objects."""
    for inner in (1, 2, 3, 4, 6, 12):
        if step % inner == 0 and side_px / step * inner >= points:
            return inner
    return step


def _thing(thing: Thing, x: Floats, y: Floats, spacing: float) -> tuple[Floats, Floats]:
    cosine, sine = np.float32(math.cos(thing.heading_rad)), np.float32(math.sin(thing.heading_rad))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    half = thing.length_px / 2
    light = np.float32(thing.contrast * FULL_CONTRAST)
    aspect = thing.aspect
    if thing.shape in ("barge", "platform"):
        half, aspect = half * math.sqrt(COMPACT_ASPECT / aspect), COMPACT_ASPECT
    if thing.family == "vessel":
        opacity = _hull(along, across, half, half / aspect, spacing)
    else:
        opacity = _inside(along, half, spacing) * _inside(across, half / aspect, spacing)
    slope = 1 + np.float32(thing.tilt / half) * along
    return np.asarray(opacity, np.float32), np.asarray(opacity * slope * light, np.float32)


def _inside(distance: Floats, half: float, spacing: float) -> Floats:
    return np.asarray(np.clip((half - np.abs(distance)) / spacing + 0.5, 0, 1), np.float32)


def _hull(along: Floats, across: Floats, half: float, width: float, spacing: float) -> Floats:
    """Return the coverage of an outline that is straight amidships and round at both ends."""
    a, b = np.abs(along) / half, np.abs(across) / width
    level = a**4 + b * b
    slope = np.sqrt((4 * a**3 / half) ** 2 + (2 * b / width) ** 2)
    return np.asarray(np.clip((1 - level) / np.maximum(slope * spacing, 1e-6) + 0.5, 0, 1), np.float32)


def _lure(lure: Lure, x: Floats, y: Floats, spacing: float) -> Floats:
    distance = np.hypot(x, y)
    direction = (x + 1j * y) / np.maximum(distance, 1e-6)
    outline = np.ones_like(distance)
    power = direction
    for size, phase in lure.lobes:
        power = power * direction
        outline = outline + np.float32(size) * (power * np.complex64(cmath.exp(1j * phase))).real
    edge = np.maximum(outline, 0.2) * lure.radius_px
    if lure.kind == "scrap":
        return np.asarray(np.clip(1.5 - distance / edge, 0, 1), np.float32)
    return np.asarray(np.clip((edge - distance) / spacing + 0.5, 0, 1), np.float32)
