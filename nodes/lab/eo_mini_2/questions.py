"""The prompts about a scene, their truths, and the cells of the frame that an answer needs.

A useless frame gets the same prompts as others; its truths say that nothing can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nodes.lab.eo_mini_2.answers import CANNOT_TELL, COUNT_WORDS, NOTHING_VISIBLE, listed
from nodes.lab.eo_mini_2.scene import FRAME_PX, SHAPES, Family, Scene, Thing

REGION_CELLS = 4  # regions are cells of 4 x 4
REGION_PX = FRAME_PX // REGION_CELLS
_LISTS: dict[Family, str] = {
    "vessel": "List every ship and barge.",
    "fixture": "List every platform and jetty.",
}
_COUNTS: dict[Family, str] = {
    "vessel": "How many ships are there?",
    "fixture": "How many platforms are there?",
}
_COMPARISONS = ("Are there more ships than platforms?", "Are there more platforms than ships?")
PROMPTS = (*_LISTS.values(), *_COUNTS.values(), *_COMPARISONS)
"""Every prompt there is."""


@dataclass(frozen=True)
class Question:
    """A prompt about a frame.

    Attributes:
        kind: "list ships", "list platforms", "count ships", "count platforms" or "compare".
        prompt: Its wording, the same for every frame.
        truth: The right answer.
        cells: Cells of 4 x 4, numbered by rows, that hold what the answer depends on.
    """

    kind: str
    prompt: str
    truth: str
    cells: tuple[int, ...]


def questions(scene: Scene) -> tuple[Question, ...]:
    """Return the prompts about a scene: two lists, one count, and a comparison or the other count."""
    rng = np.random.default_rng([17, scene.ground.seed])
    families: tuple[Family, ...] = ("vessel", "fixture")
    asked = [_list(scene, family) for family in families]
    first = int(rng.integers(2))
    asked.append(_count(scene, families[first]))
    ships, platforms = (_number(scene, family) for family in families)
    if ships == platforms:
        asked.append(_count(scene, families[1 - first]))
    else:
        truth = "yes" if scene.yes else "no"
        turned = int((ships > platforms) != scene.yes)
        asked.append(_question(scene, "compare", _COMPARISONS[turned], truth, scene.things))
    return tuple(asked)


def _list(scene: Scene, family: Family) -> Question:
    things = scene.of(family)
    return _question(scene, f"list {SHAPES[family][0]}s", _LISTS[family], listed(things), things)


def _count(scene: Scene, family: Family) -> Question:
    truth = COUNT_WORDS[_number(scene, family)]
    return _question(scene, f"count {SHAPES[family][0]}s", _COUNTS[family], truth, scene.of(family))


def _number(scene: Scene, family: Family) -> int:
    """Return how many things of a family have its first shape."""
    return sum(thing.shape == SHAPES[family][0] for thing in scene.things)


def _question(scene: Scene, kind: str, prompt: str, truth: str, things: tuple[Thing, ...]) -> Question:
    if scene.condition != "usable":
        return Question(kind, prompt, NOTHING_VISIBLE if kind.startswith("list") else CANNOT_TELL, ())
    cells = sorted({cell for thing in things for cell in _cells(thing)})
    return Question(kind, prompt, truth, tuple(cells))


def _cells(thing: Thing) -> set[int]:
    """Return the cells that a thing touches."""
    ends = [
        [int(np.clip((at + sign * thing.radius_px) // REGION_PX, 0, REGION_CELLS - 1)) for sign in (-1, 1)]
        for at in (thing.x_px, thing.y_px)
    ]
    (left, right), (top, bottom) = ends
    return {row * REGION_CELLS + col for row in range(top, bottom + 1) for col in range(left, right + 1)}
