"""Training frames, drawn while the model trains: pixels, prompts, and what each token of the image shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.answers import SIZES, size_of
from nodes.lab.eo_mini_2.compose import draw_scene
from nodes.lab.eo_mini_2.questions import Question, questions
from nodes.lab.eo_mini_2.render import Pixels, render
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCED_PX, REDUCTION, SHAPES, Condition, Family, Scene

Floats = NDArray[np.float32]

TOKEN_PX = 28
GRID = REDUCED_PX // TOKEN_PX
ORIENTATIONS = 8
_SHAPES = [shape for pair in SHAPES.values() for shape in pair]
TARGETS = len(_SHAPES) * len(SIZES)
_USELESS_SHARE = 0.15
_USES = 6  # how often a frame is shown before it is replaced


@dataclass(frozen=True)
class Example:
    """A frame as model input.

    Attributes:
        pixels: uint8[REDUCED_PX, REDUCED_PX, 3].
        targets: Whether a centre of each shape and size lies in each token; float32[GRID, GRID, TARGETS].
        questions: Its prompts and truths.
    """

    pixels: Pixels
    targets: Floats
    questions: tuple[Question, ...]


class Frames:
    """Frames that are drawn again and again, so that drawing costs a share of the training only.

    Args:
        count: Number of frames kept at a time.
        seed: Seed of all randomness.
        number: Number of examples that were taken before, to go on after a break.
    """

    def __init__(self, count: int, seed: int, number: int = 0) -> None:
        self._seed, self._number = seed, number
        self._kept: list[tuple[Scene, Pixels]] = [self._drawn(number + n) for n in range(count)]

    def take(self, count: int) -> list[Example]:
        """Return examples of random frames in random orientations."""
        return [self._take_one() for _ in range(count)]

    def _take_one(self) -> Example:
        self._number += 1
        rng = np.random.default_rng([23, self._seed, self._number])
        place = int(rng.integers(len(self._kept)))
        if self._number % _USES == 0:
            self._kept[place] = self._drawn(self._number + len(self._kept))
        return oriented(*self._kept[place], int(rng.integers(ORIENTATIONS)))

    def _drawn(self, number: int) -> tuple[Scene, Pixels]:
        rng = np.random.default_rng([29, self._seed, number])
        condition: Condition = "usable"
        if rng.random() < _USELESS_SHARE:
            condition = "clouded" if rng.random() < 0.5 else "dark"
        ships, platforms = (int(n) for n in rng.integers(0, 4, 2))
        firsts: dict[Family, int] = {"vessel": ships, "fixture": platforms}
        scene = draw_scene(f"train{number:05d}", condition, firsts, rng, yes=bool(rng.integers(2)))
        return scene, render(scene)


def oriented(scene: Scene, pixels: Pixels, orientation: int) -> Example:
    """Return a frame turned by `orientation` % 4 quarters to the left, and mirrored from 4 on."""
    turned = np.rot90(pixels, orientation % 4)
    things = scene.things
    for _ in range(orientation % 4):
        things = tuple(replace(one, x_px=one.y_px, y_px=FRAME_PX - one.x_px) for one in things)
    if orientation >= 4:
        turned = turned[:, ::-1]
        things = tuple(replace(one, x_px=FRAME_PX - one.x_px) for one in things)
    scene = replace(scene, things=things)
    return Example(np.ascontiguousarray(turned), _targets(scene), questions(scene))


def _targets(scene: Scene) -> Floats:
    targets = np.zeros((GRID, GRID, TARGETS), np.float32)
    if scene.condition == "usable":
        for thing in scene.things:
            row, column = (
                min(GRID - 1, math.floor(at / REDUCTION / TOKEN_PX)) for at in (thing.y_px, thing.x_px)
            )
            kind = _SHAPES.index(thing.shape) * len(SIZES) + SIZES.index(size_of(thing.length_px))
            targets[row, column, kind] = 1
    return targets


def crops(examples: Sequence[Example], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Floats]:
    """Return a quarter of each example, whole tokens wide: pixels and targets."""
    half = GRID // 2
    places = rng.integers(0, half + 1, (len(examples), 2))
    pixels = [
        one.pixels[row * TOKEN_PX :, column * TOKEN_PX :][: half * TOKEN_PX, : half * TOKEN_PX]
        for one, (row, column) in zip(examples, places, strict=True)
    ]
    targets = [
        one.targets[row : row + half, column : column + half]
        for one, (row, column) in zip(examples, places, strict=True)
    ]
    return np.stack(pixels), np.stack(targets)
