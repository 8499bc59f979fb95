"""Training frames: drawn again and again while a model trains, in eight orientations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.answers import SIZES, size_of
from nodes.lab.eo_mini_2.compose import FRAME_LENGTHS_PX, draw_scene
from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.outlines import patch_of
from nodes.lab.eo_mini_2.scene import FRAME_PX, SHAPES, Condition, Family, Scene, Thing

Floats = NDArray[np.float32]
Item = TypeVar("Item")
Values = TypeVar("Values", bound=np.generic)

ORIENTATIONS = 8
_SHAPES = [shape for pair in SHAPES.values() for shape in pair]
SHAPE_COUNT = len(_SHAPES)
CLASSES = SHAPE_COUNT * len(SIZES)
_USELESS_SHARE = 0.15
_LARGE_PX, _LARGE_UNTIL, _ALL_FROM = (260.0, 460.0), 12_000, 90_000  # see `lengths_px`


def class_of(thing: Thing) -> int:
    """Return the class of a thing: its shape and size."""
    return _SHAPES.index(thing.shape) * len(SIZES) + SIZES.index(size_of(thing.length_px))


def cover(scene: Scene, window: Window, patch_px: int) -> Floats:
    """Return the share of each patch that things of each shape cover, where anything can be seen.

    Args:
        scene: The frame.
        window: The part of it, and its scale; a whole number of patches.
        patch_px: Side of a patch, in pixels of the window.

    Returns:
        float32[rows, columns, SHAPE_COUNT] of patches.
    """
    pixels = np.zeros((window.height, window.width, SHAPE_COUNT), np.float32)
    for thing in scene.things if scene.condition == "usable" else ():
        if patch := patch_of(thing, window):
            shown = pixels[patch.rows, patch.columns, _SHAPES.index(thing.shape)]
            np.maximum(shown, patch.opacity, out=shown)
    rows, columns = window.height // patch_px, window.width // patch_px
    parts = pixels.reshape(rows, patch_px, columns, patch_px, SHAPE_COUNT)
    return np.asarray(parts.mean((1, 3)), np.float32)


def lengths_px(number: int) -> tuple[float, float]:
    """Return the range of lengths in the training frame of this number: large things come first.

    Among small things, whose shapes nobody can tell, a tower does not find out that shapes matter. The first
    ones are larger than any of the benchmark.
    """
    done = min(max((number - _LARGE_UNTIL) / (_ALL_FROM - _LARGE_UNTIL), 0.0), 1.0)
    least, most = (
        first * (end / first) ** done for first, end in zip(_LARGE_PX, FRAME_LENGTHS_PX, strict=True)
    )
    return least, most


def training_scene(seed: int, number: int, lengths: tuple[float, float]) -> Scene:
    """Draw the frame of this number; its counts are random and not dealt, unlike those of a split.

    Args:
        seed: Seed of the training.
        number: Number of the frame.
        lengths: Range of the length on which those of its things are based, native pixels.
    """
    rng = np.random.default_rng([29, seed, number])
    condition: Condition = "usable"
    if rng.random() < _USELESS_SHARE:
        condition = "clouded" if rng.random() < 0.5 else "dark"
    ships, platforms = (int(n) for n in rng.integers(0, 4, 2))
    firsts: dict[Family, int] = {"vessel": ships, "fixture": platforms}
    yes = bool(rng.integers(2))
    length_px = math.exp(rng.uniform(math.log(lengths[0]), math.log(lengths[1])))
    return draw_scene(f"train{number:05d}", condition, firsts, rng, length_px, yes=yes)


def turned(values: NDArray[Values], orientation: int) -> NDArray[Values]:
    """Turn the first two axes by `orientation` % 4 quarters to the left, and mirror them from 4 on."""
    after: NDArray[Any] = np.rot90(values, orientation % 4)
    return np.ascontiguousarray(after[:, ::-1] if orientation >= 4 else after)


def turned_scene(scene: Scene, orientation: int) -> Scene:
    """Return a scene whose things lie where `turned` puts their pixels."""
    things = scene.things
    for _ in range(orientation % 4):
        things = tuple(replace(one, x_px=one.y_px, y_px=FRAME_PX - one.x_px) for one in things)
    if orientation >= 4:
        things = tuple(replace(one, x_px=FRAME_PX - one.x_px) for one in things)
    return replace(scene, things=things)


class Pool(Generic[Item]):
    """Items that are used several times before they are replaced, so that making them costs little.

    Args:
        make: Makes the item of a number.
        count: Number of items kept at a time.
        uses: How often an item is used before it is replaced, on average.
        seed: Seed of the order.
        number: Number of items that were taken before, to go on after a break.
    """

    def __init__(
        self, make: Callable[[int], Item], count: int, uses: int, seed: int, number: int = 0
    ) -> None:
        self._make, self._uses, self._seed, self._number = make, uses, seed, number
        self._kept = [make(number + n) for n in range(count)]

    def take(self, count: int) -> list[tuple[Item, np.random.Generator]]:
        """Return random items, each with a generator for what else is random about this use."""
        return [self._take_one() for _ in range(count)]

    def _take_one(self) -> tuple[Item, np.random.Generator]:
        self._number += 1
        rng = np.random.default_rng([23, self._seed, self._number])
        place = int(rng.integers(len(self._kept)))
        if self._number % self._uses == 0:
            self._kept[place] = self._make(self._number + len(self._kept))
        return self._kept[place], rng
