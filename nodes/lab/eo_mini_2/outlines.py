"""Area coverage of things and lures, native or reduced, in the part of a window that they touch."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np

from nodes.lab.eo_mini_2.fields import Floats, Window
from nodes.lab.eo_mini_2.scene import FIXTURE_SPAN, FULL_CONTRAST, Lure, Thing

GAP = 0.14  # of a tow, as a share of its length: the water between its two barges
HOLD, HOLD_DEPTH = 0.35, 0.40  # of a ship: a darker deck with the flux that the gap takes away
_DISC_RADIUS = 1.3904 / 3  # of an islet, by the span of a platform with the same second moments
_DISC_LIGHT = 5 / (math.pi * 1.3904**2)  # its brightness, for the same flux
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
        tint = np.asarray(thing.tint, np.float32)
    else:
        opacity = _means(_lure(thing, across, down, spacing), shape)
        shade = opacity * np.float32(thing.contrast * FULL_CONTRAST)
        tint = np.zeros(3, np.float32)
    colour = shade[..., None] + opacity[..., None] * tint
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
    if thing.family == "vessel":
        opacity = _hull(along, across, half, half / thing.aspect, spacing)
        middle = GAP if thing.shape == "tow" else HOLD
        inside = _inside(along, middle * half, spacing)
        if thing.shape == "tow":
            opacity = opacity * (1 - inside)
            bright = opacity
        else:
            bright = opacity * (1 - np.float32(HOLD_DEPTH) * inside)
    else:
        span = FIXTURE_SPAN * thing.length_px
        if thing.shape == "platform":
            arm, third = span / 2, span / 6
            bars = [
                _inside(along, a, spacing) * _inside(across, b, spacing)
                for a, b in ((arm, third), (third, arm))
            ]
            opacity = np.maximum(*bars)
            bright = opacity
        else:
            distance = np.hypot(along, across)
            opacity = np.clip((_DISC_RADIUS * span - distance) / spacing + 0.5, 0, 1)
            bright = opacity * np.float32(_DISC_LIGHT)
    slope = 1 + np.float32(thing.tilt / half) * along
    return np.asarray(opacity, np.float32), np.asarray(bright * slope * light, np.float32)


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
