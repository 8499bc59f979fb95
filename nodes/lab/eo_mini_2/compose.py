"""Draws the descriptions of a split's scenes from a seed.

Difficulty varies within every kind of prompt: size and contrast are log-uniform, haze lies over two frames in
five, and there are up to ten objects and thirteen lures. None of them depends on an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from nodes.lab.eo_mini_2.answers import SIZE_LIMITS_PX
from nodes.lab.eo_mini_2.backgrounds import BACKGROUNDS
from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.render import opacity_of
from nodes.lab.eo_mini_2.scene import (
    CONTRAST,
    FRAME_PX,
    LENGTH_PX,
    REDUCTION,
    SHAPES,
    Condition,
    Family,
    Ground,
    Lure,
    Scene,
    Shape,
    Thing,
    Veil,
)

Split = Literal["train", "val", "test"]
SPLIT_SEEDS: dict[Split, int] = {"train": 1, "val": 2, "test": 3}
FRAMES: dict[Split, int] = {"train": 4000, "val": 60, "test": 128}
MEMBERS = (3, 5)  # things of each family in a frame: at least as many as the largest count
COUNTS = 4  # zero to three of the first shape of a family, equally often

_USELESS: tuple[Condition, ...] = ("clouded", "dark")
_USELESS_SHARE = 0.18
_HAZE_SHARE, _CLOUD_SHARE, _COAST_SHARE = 0.4, 0.35, 0.3
_SPREAD = 1.25  # a thing's own length is the frame's times at most this, or divided by it
FRAME_LENGTHS_PX = (LENGTH_PX[0] * _SPREAD, LENGTH_PX[1] / _SPREAD)
"""Range of the length on which those of a frame's things are based."""
_CLEAR_OF_LIMIT = 1.06
_CELLS = 3
_CLEAR_OF_CELL_PX = 40.0
_MOST_OPAQUE = 0.62  # over the centre of a thing
_BANDS, _BITS = 4, 12
_LOSSLESS = (1.15, 1.9)  # ratio by which a camera's lossless coder shrinks a frame
_TRIES = 60


def draw_scenes(split: Split, count: int, seed: int = 0) -> Iterator[Scene]:
    """Draw the scenes of a split, one after another; the same seed draws the same scenes.

    Counts of both families, useless frames and true comparisons are dealt: each is as frequent as it should
    be, also among the others.
    """
    rng = np.random.default_rng([SPLIT_SEEDS[split], seed])
    for number, dealt in enumerate(rng.permutation(count)):
        ships, platforms = divmod(int(dealt) % COUNTS**2, COUNTS)
        yield draw_scene(
            f"{split}{number:05d}",
            _condition(int(dealt)),
            {"vessel": ships, "fixture": platforms},
            np.random.default_rng([SPLIT_SEEDS[split], seed, number]),
            yes=bool(dealt // COUNTS**2 % 2),
        )


def _condition(dealt: int) -> Condition:
    """Return the condition of a frame: about every sixth is useless, clouded and dark in turn."""
    before, after = int(dealt * _USELESS_SHARE), int((dealt + 1) * _USELESS_SHARE)
    return "usable" if before == after else _USELESS[before % 2]


def draw_scene(
    name: str,
    condition: Condition,
    firsts: dict[Family, int],
    rng: np.random.Generator,
    length_px: float | None = None,
    *,
    yes: bool = True,
) -> Scene:
    """Draw one scene.

    Args:
        name: Name of the frame.
        condition: Whether anything is to be seen.
        firsts: How many things of each family have its first shape: ships, and platforms.
        rng: Source of all randomness.
        length_px: Length on which those of the things are based; drawn if None.
        yes: Whether the comparison about it is worded so that its answer is yes.
    """
    # Drawn once, before the tries, so that frames that are hard to fill are as frequent as others.
    length = length_px or _log_uniform(rng, *FRAME_LENGTHS_PX)
    contrast = _log_uniform(rng, *CONTRAST)
    has_haze, has_cloud, has_coast = rng.random(3) < (_HAZE_SHARE, _CLOUD_SHARE, _COAST_SHARE)
    while True:
        ground = _ground(rng, bool(has_coast))
        haze, cloud = _haze(rng) if has_haze else None, _cloud(rng) if has_cloud else None
        placed = _place_all(_Site(ground, haze, cloud), length, contrast, firsts, rng)
        if placed:
            break
    things, lures = placed
    if condition == "clouded":
        seed, ragged = int(rng.integers(1 << 30)), float(rng.uniform(0.5, 0.66))
        cloud, haze = Veil(seed, float(rng.uniform(8, 10)), 0.5, 1.0, ragged), None
    ratio = rng.uniform(*_LOSSLESS)
    return Scene(
        name=name,
        condition=condition,
        length_px=length,
        contrast=contrast,
        ground=ground,
        things=tuple(things[n] for n in rng.permutation(len(things))),
        lures=lures,
        haze=haze,
        cloud=cloud,
        light=0.0 if condition == "dark" else 1.0,
        noise=float(rng.uniform(1.5, 3.0)),
        noise_px=(int(rng.integers(84)) * REDUCTION, int(rng.integers(84)) * REDUCTION),
        yes=yes,
        sensor_bytes=int(FRAME_PX**2 * _BANDS * _BITS / 8 / ratio),
    )


def _place_all(
    site: _Site, length: float, contrast: float, firsts: dict[Family, int], rng: np.random.Generator
) -> tuple[list[Thing], tuple[Lure, ...]] | None:
    """Place both families and the lures; None if there is no room."""
    spots: list[tuple[float, float, float]] = []
    things: list[Thing] = []
    for family, shapes in SHAPES.items():
        members = int(rng.integers(MEMBERS[0], MEMBERS[1] + 1))
        names = [shapes[0] if n < firsts[family] else shapes[1] for n in range(members)]
        found = _place(family, names, length, contrast, site, spots, rng)
        if found is None:
            return None
        things += found
    return things, tuple(_lures(length, contrast, site, spots, rng))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _ground(rng: np.random.Generator, has_coast: bool) -> Ground:
    land = float(rng.uniform(0.04, 0.3)) if has_coast else 0.0
    blue = float(rng.uniform(45, 72))
    green = blue * float(rng.uniform(0.62, 0.95))
    return Ground(
        source="synthetic",
        seed=int(rng.integers(1 << 30)),
        left_px=0,
        top_px=0,
        water=(green * float(rng.uniform(0.35, 0.6)), green, blue),
        roughness=float(rng.uniform(4.0, 9.0)),
        land=land,
    )


def _haze(rng: np.random.Generator) -> Veil:
    return Veil(
        seed=int(rng.integers(1 << 30)),
        offset=float(rng.uniform(-0.5, 1.0)),
        gain=0.4,
        most=float(rng.uniform(0.3, 0.85)),
        detail=0.45,
    )


def _cloud(rng: np.random.Generator) -> Veil:
    away = tuple(int(n) * REDUCTION for n in rng.integers(-12, 13, 2))
    return Veil(
        seed=int(rng.integers(1 << 30)),
        offset=float(rng.uniform(-1.9, -0.5)),
        gain=float(rng.uniform(0.9, 2.0)),
        most=float(rng.uniform(0.9, 1.0)),
        detail=float(rng.uniform(0.55, 0.68)),
        shadow_px=(away[0], away[1]),
        shadow=float(rng.uniform(0.3, 0.5)),
    )


class _Site:
    """Where things can be put: on water, and where the veils let them be seen. Pixels are reduced ones."""

    def __init__(self, ground: Ground, haze: Veil | None, cloud: Veil | None) -> None:
        step = REDUCTION
        window = Window(0, 0, FRAME_PX // step, FRAME_PX // step, step)
        seen = np.ones((window.height, window.width), np.float32)
        for veil in (haze, cloud):
            if veil:
                seen *= 1 - opacity_of(veil, window)
        if ground.land > 0:
            land = BACKGROUNDS[ground.source].land(ground, window) > 0
        else:
            land = np.zeros(seen.shape, bool)
        # Summed areas tell in no time whether a square has any land, and how well it is seen.
        self._land = np.pad(land.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        self._seen = seen

    def takes(self, x_px: float, y_px: float, radius_px: float) -> bool:
        """Return whether an object of this radius can be here."""
        if self._seen[int(y_px) // REDUCTION, int(x_px) // REDUCTION] < 1 - _MOST_OPAQUE:
            return False
        left, right = (int((x_px + sign * (radius_px + 6)) // REDUCTION) for sign in (-1, 1))
        top, bottom = (int((y_px + sign * (radius_px + 6)) // REDUCTION) for sign in (-1, 1))
        last = self._seen.shape[0] - 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, last) + 1, min(bottom, last) + 1
        sums = self._land
        if sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]:
            return False
        ends = self._seen[[top, top, bottom - 1, bottom - 1], [left, right - 1, left, right - 1]]
        return bool(ends.min() >= 1 - _MOST_OPAQUE)


def _place(
    family: Family,
    names: Sequence[Shape],
    length: float,
    contrast: float,
    site: _Site,
    spots: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> list[Thing] | None:
    """Place the things of a family, about half of the time near each other; None if there is no room."""
    x0, y0, x1, y1 = _area(length, rng)
    things = []
    for shape in names:
        own = _own_length(length, rng)
        radius = 0.52 * own
        for _ in range(_TRIES):
            x, y = float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))
            if (
                _inside_one_cell(x, y)
                and _fits(x, y, radius, spots)
                and min(x, y, FRAME_PX - x, FRAME_PX - y) > radius + 24
                and site.takes(x, y, radius)
            ):
                break
        else:
            return None
        spots.append((x, y, radius))
        things.append(
            Thing(
                shape=shape,
                x_px=x,
                y_px=y,
                length_px=own,
                heading_rad=float(rng.uniform(0, math.pi)),
                aspect=float(rng.uniform(3.0, 4.5)),
                contrast=min(1.0, contrast * float(rng.uniform(0.9, 1.1))),
                tilt=float(rng.uniform(-0.15, 0.15)),
                tint=(float(rng.uniform(-8, 8)), float(rng.uniform(-8, 8)), float(rng.uniform(-8, 8))),
            )
        )
    return things


def _own_length(length: float, rng: np.random.Generator) -> float:
    """Draw a thing's length around the frame's, clear of the limits between size classes."""
    while True:
        own = length * math.exp(rng.uniform(-1, 1) * math.log(_SPREAD))
        if all(max(own / limit, limit / own) >= _CLEAR_OF_LIMIT for limit in SIZE_LIMITS_PX):
            return own


def _area(length: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Return the part of the frame for a family: all of it, or an anchorage."""
    if rng.random() < 0.5:
        return 0.0, 0.0, float(FRAME_PX), float(FRAME_PX)
    side = min(FRAME_PX, max(480.0, 5.0 * length))
    left, top = (float(n) for n in rng.uniform(0, FRAME_PX - side, 2))
    return left, top, left + side, top + side


def _inside_one_cell(x_px: float, y_px: float) -> bool:
    side = FRAME_PX / _CELLS
    return all(_CLEAR_OF_CELL_PX <= n % side <= side - _CLEAR_OF_CELL_PX for n in (x_px, y_px))


def _fits(x_px: float, y_px: float, radius_px: float, spots: Sequence[tuple[float, float, float]]) -> bool:
    return all(
        math.hypot(x_px - x, y_px - y) >= 1.1 * (radius_px + radius) + REDUCTION for x, y, radius in spots
    )


def _lures(
    length: float,
    contrast: float,
    site: _Site,
    spots: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> list[Lure]:
    lures: list[Lure] = []
    for _ in range(int(rng.integers(7, 14))):
        radius = min(150.0, 0.3 * length * math.exp(rng.uniform(-0.4, 0.7)))
        for _ in range(20):
            x, y = (float(n) for n in rng.uniform(1.5 * radius, FRAME_PX - 1.5 * radius, 2))
            if _fits(x, y, 1.5 * radius, spots) and site.takes(x, y, radius):
                break
        else:
            continue
        spots.append((x, y, 1.5 * radius))
        lures.append(
            Lure(
                kind="floe" if rng.random() < 0.7 else "scrap",
                x_px=x,
                y_px=y,
                radius_px=radius,
                contrast=min(1.0, contrast * float(rng.uniform(0.9, 1.3))),
                lobes=tuple(
                    (float(rng.uniform(0.03, 0.15)), float(rng.uniform(0, 2 * math.pi))) for _ in range(4)
                ),
            )
        )
    return lures
