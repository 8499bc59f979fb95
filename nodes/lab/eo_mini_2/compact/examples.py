"""Training frames of the compact model: pixels, prompts, and what each token of the image shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini_2.fields import WHOLE_REDUCED
from nodes.lab.eo_mini_2.learning.scenes import (
    CLASSES,
    ORIENTATIONS,
    Floats,
    Pool,
    class_of,
    cover,
    lengths_px,
    training_scene,
    turned,
    turned_scene,
)
from nodes.lab.eo_mini_2.questions import Question, questions
from nodes.lab.eo_mini_2.render import Pixels, render
from nodes.lab.eo_mini_2.scene import REDUCED_PX, REDUCTION, Scene

TOKEN_PX, PATCH_PX = 28, 14
GRID = REDUCED_PX // TOKEN_PX
_USES = 12


@dataclass(frozen=True)
class Example:
    """A frame as model input.

    Attributes:
        pixels: uint8[REDUCED_PX, REDUCED_PX, 3].
        targets: Whether a centre of each class lies in each token; float32[GRID, GRID, CLASSES].
        cover: Share of each patch that each shape covers; float32[2 * GRID, 2 * GRID, SHAPE_COUNT].
        questions: Its prompts and truths.
    """

    pixels: Pixels
    targets: Floats
    cover: Floats
    questions: tuple[Question, ...]


class Frames:
    """Frames that are drawn while the model trains.

    Args:
        count: Number of frames kept at a time.
        seed: Seed of all randomness.
        number: Number of examples that were taken before, to go on after a break.
    """

    def __init__(self, count: int, seed: int, number: int = 0) -> None:
        def drawn(number: int) -> tuple[Scene, Pixels, Floats]:
            scene = training_scene(seed, number, lengths_px(number))
            return scene, render(scene), cover(scene, WHOLE_REDUCED, PATCH_PX)

        self._pool = Pool(drawn, count, _USES, seed, number)

    def take(self, count: int) -> list[Example]:
        """Return examples of random frames in random orientations."""
        return [oriented(*frame, int(rng.integers(ORIENTATIONS))) for frame, rng in self._pool.take(count)]


def oriented(scene: Scene, pixels: Pixels, covered: Floats, orientation: int) -> Example:
    """Return a frame in an orientation."""
    scene = turned_scene(scene, orientation)
    return Example(
        turned(pixels, orientation), _targets(scene), turned(covered, orientation), questions(scene)
    )


def _targets(scene: Scene) -> Floats:
    targets = np.zeros((GRID, GRID, CLASSES), np.float32)
    if scene.condition == "usable":
        for thing in scene.things:
            row, column = (
                min(GRID - 1, math.floor(at / REDUCTION / TOKEN_PX)) for at in (thing.y_px, thing.x_px)
            )
            targets[row, column, class_of(thing)] = 1
    return targets


def crops(examples: Sequence[Example], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Return a quarter of each example, whole tokens wide: pixels, targets and cover."""
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
    covers = [
        one.cover[2 * row : 2 * (row + half), 2 * column : 2 * (column + half)]
        for one, (row, column) in zip(examples, places, strict=True)
    ]
    return np.stack(pixels), np.stack(targets), np.stack(covers)
