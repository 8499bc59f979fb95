"""Examples of the regular model: tiles for its tower, and frames for its language model.

Most native tiles of a frame show nothing that a prompt asks about. The language model is trained on frames of
which a few are kept: those that hold centres of things, and random others. Positions are as if the others
were there, or not, half of the time each; the names of places tell where a tile lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.learning.scenes import ORIENTATIONS, Pool, lengths_px, training_scene, turned
from nodes.lab.eo_mini_2.questions import REGION_CELLS, Question, questions
from nodes.lab.eo_mini_2.regular.tiles import (
    OVERVIEW_SIDE,
    OVERVIEW_STEP,
    SIDE,
    TILE_PX,
    TOKEN_PX,
    TOKENS,
    Tile,
    drawn,
    rendered,
    window_of,
)
from nodes.lab.eo_mini_2.render import Pixels
from nodes.lab.eo_mini_2.scene import FRAME_PX, SHAPES, Scene
from nodes.lab.training.examples.packing import ImageSlot

_NATIVE_OF_SCENE, _OVERVIEW_OF_SCENE = 6, 4  # tiles of a scene for the tower
_ABOUT_A_THING = 0.75  # share of them that shows a thing
_TILE_USES, _FRAME_USES = 6, 12
_KEPT_TILES = 32  # native ones of a frame for the language model
_FEWEST_TILES = 8
_REGIONS_ABSENT_SHARE = 0.25
_TILES_OF_REGION = SIDE // REGION_CELLS

Encode = Callable[[Pixels], Tensor]


class Tiles:
    """Tiles for the tower, native and of overviews, in eight orientations.

    Args:
        scenes: Number of scenes kept at a time, of ten tiles each.
        seed: Seed of all randomness.
        number: Number of examples that were taken before.
    """

    def __init__(self, scenes: int, seed: int, number: int = 0) -> None:
        def make(number: int) -> list[Tile]:
            rng = np.random.default_rng([37, seed, number])
            scene = training_scene(seed, number, lengths_px(number))
            steps = [1] * _NATIVE_OF_SCENE + [OVERVIEW_STEP] * _OVERVIEW_OF_SCENE
            return [drawn(scene, _window(scene, step, rng)) for step in steps]

        tiles = _NATIVE_OF_SCENE + _OVERVIEW_OF_SCENE
        self._pool = Pool(make, scenes, _TILE_USES * tiles, seed, number)

    def take(self, count: int) -> list[Tile]:
        """Return random tiles."""
        return [_turned(tiles, rng) for tiles, rng in self._pool.take(count)]


def _turned(tiles: list[Tile], rng: np.random.Generator) -> Tile:
    tile, orientation = tiles[int(rng.integers(len(tiles)))], int(rng.integers(ORIENTATIONS))
    return Tile(
        turned(tile.pixels, orientation), turned(tile.targets, orientation), turned(tile.cover, orientation)
    )


def _window(scene: Scene, step: int, rng: np.random.Generator) -> Window:
    """Draw a window anywhere, or one that has the centre of a thing in it."""
    side_px, last = TILE_PX * step, FRAME_PX - TILE_PX * step
    left, top = rng.uniform(0, last, 2)
    if rng.random() < _ABOUT_A_THING:
        thing = scene.things[int(rng.integers(len(scene.things)))]
        left, top = np.array([thing.x_px, thing.y_px]) - rng.uniform(0, side_px, 2)
    left_px, top_px = (int(np.clip(edge, 0, last)) // step * step for edge in (left, top))
    return Window(left_px, top_px, TILE_PX, TILE_PX, step)


@dataclass(frozen=True)
class FrameExample:
    """A frame as the language model reads it.

    Attributes:
        features: Features of the image tokens, float32[tokens, dim].
        slots: Places of its tiles in the sequence.
        questions: Its prompts and truths.
        attention: Target attention of each prompt to the image tokens, float32[2, tokens]: a quarter to each
            thing that is counted, and an equal share to each thing that it may ask about.
    """

    features: Tensor
    slots: tuple[ImageSlot, ...]
    questions: tuple[Question, ...]
    attention: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Kept:
    """A frame with the features of some native tiles, [tiles, tokens, dim], and of all of its overview's."""

    scene: Scene
    native: dict[int, Tensor]
    overview: Tensor

    @property
    def needed(self) -> set[int]:
        """Native tiles that hold centres of things."""
        return {tile_of(thing.x_px, thing.y_px) for thing in self.scene.things}


class Frames:
    """Frames for the language model.

    Args:
        encode: The tower, which learns no more: features of tiles, [tiles, tokens, dim].
        count: Number of frames kept at a time.
        seed: Seed of all randomness.
        number: Number of examples that were taken before.
    """

    def __init__(self, encode: Encode, count: int, seed: int, number: int = 0) -> None:
        def make(number: int) -> _Kept:
            scene = training_scene(seed, number, lengths_px(number))
            needed = {tile_of(thing.x_px, thing.y_px) for thing in scene.things}
            rng = np.random.default_rng([41, seed, number])
            others = [tile for tile in range(SIDE**2) if tile not in needed]
            chosen = [*needed, *rng.permutation(others)[: _KEPT_TILES - len(needed)].tolist()]
            windows = [window_of(*divmod(tile, SIDE)) for tile in chosen]
            features = encode(rendered(scene, [*windows, *OVERVIEW_WINDOWS]))
            native = dict(zip(chosen, features, strict=False))
            return _Kept(scene, native, features[len(chosen) :])

        self._pool = Pool(make, count, _FRAME_USES, seed, number)

    def take(self, count: int, rng: np.random.Generator) -> list[FrameExample]:
        """Return random frames with the same number of native tiles, as far as all have so many."""
        tiles = int(rng.integers(_FEWEST_TILES, _KEPT_TILES + 1))
        return [_example(kept, tiles, of_frame) for kept, of_frame in self._pool.take(count)]


OVERVIEW_WINDOWS = [window_of(*divmod(n, OVERVIEW_SIDE), OVERVIEW_STEP) for n in range(OVERVIEW_SIDE**2)]


def tile_of(x_px: float, y_px: float) -> int:
    """Return the number of the native tile at a place, by rows."""
    row, column = (min(SIDE - 1, int(at // TILE_PX)) for at in (y_px, x_px))
    return row * SIDE + column


def _example(kept: _Kept, tiles: int, rng: np.random.Generator) -> FrameExample:
    needed = kept.needed
    others = rng.permutation([tile for tile in kept.native if tile not in needed])
    chosen = sorted([*needed, *others[: max(0, tiles - len(needed))].tolist()])
    if rng.random() < _REGIONS_ABSENT_SHARE:
        present = set(rng.permutation(REGION_CELLS**2)[: REGION_CELLS**2 // 2].tolist())
        chosen = [tile for tile in chosen if _region(tile) in present]
    slots = slots_of(chosen, gaps=bool(rng.random() < 0.5))
    features = torch.cat([*(kept.native[tile] for tile in chosen), *kept.overview])
    asked = questions(kept.scene)
    attention = tuple(attention_to(kept.scene, question.kind, chosen) for question in asked)
    return FrameExample(features, slots, asked, attention)


def attention_to(scene: Scene, kind: str, native: list[int]) -> Tensor:
    """Return the target attention of a prompt of this kind: float32[2, tokens], as in `FrameExample`.

    Args:
        scene: The frame.
        kind: Kind of the prompt.
        native: Native tiles that are there; a thing in another one is looked for in the overview.
    """
    target = torch.zeros(2, (len(native) + OVERVIEW_SIDE**2) * TOKENS**2)
    for thing in scene.things if scene.condition == "usable" else ():
        first = SHAPES[thing.family][0]
        if kind == "compare" or kind.endswith(f" {first}s"):
            token = _token_of(thing.x_px, thing.y_px, native)
            target[0, token] += 0.25 * (thing.shape == first)
            target[1, token] += 1
    target[1] /= target[1].sum().clamp(min=1)
    return target


def _token_of(x_px: float, y_px: float, native: list[int]) -> int:
    """Return the number of the image token that shows a place: a native one, or else one of the overview."""
    tile = tile_of(x_px, y_px)
    if tile in native:
        return native.index(tile) * TOKENS**2 + _token_in_tile(x_px, y_px)
    row, column = (int(at // (TILE_PX * OVERVIEW_STEP)) for at in (y_px, x_px))
    before = len(native) + row * OVERVIEW_SIDE + column
    return before * TOKENS**2 + _token_in_tile(x_px / OVERVIEW_STEP, y_px / OVERVIEW_STEP)


def _token_in_tile(x_px: float, y_px: float) -> int:
    return int(y_px % TILE_PX // TOKEN_PX) * TOKENS + int(x_px % TILE_PX // TOKEN_PX)


def _region(tile: int) -> int:
    row, column = divmod(tile, SIDE)
    return row // _TILES_OF_REGION * REGION_CELLS + column // _TILES_OF_REGION


def slots_of(native: list[int], *, gaps: bool = False) -> tuple[ImageSlot, ...]:
    """Return the slots of native tiles, in order, and of the overview.

    Args:
        native: Numbers of the tiles.
        gaps: Positions are as if all native tiles were there.
    """
    slots, before = [], -1
    for tile in [*native, SIDE**2]:
        skipped = (tile - before - 1) * gaps
        row, column = divmod(tile, SIDE)
        place = f"<row_{row + 1}_col_{column + 1}>" if tile < SIDE**2 else "<overview_1_1>"
        slots.append(ImageSlot(TOKENS, TOKENS, skipped_tiles=skipped, place=place))
        before = tile
    rest = [divmod(n, OVERVIEW_SIDE) for n in range(1, OVERVIEW_SIDE**2)]
    return (
        *slots,
        *(ImageSlot(TOKENS, TOKENS, place=f"<overview_{row + 1}_{column + 1}>") for row, column in rest),
    )
