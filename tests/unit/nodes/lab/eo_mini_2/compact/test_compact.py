"""The compact model's training: targets turn with the frame, and an ended training goes on."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from nodes.lab.eo_mini_2.compact.examples import GRID, PATCH_PX, Frames, crops, oriented
from nodes.lab.eo_mini_2.compose import FRAME_LENGTHS_PX, draw_scene
from nodes.lab.eo_mini_2.fields import WHOLE_REDUCED
from nodes.lab.eo_mini_2.learning.scenes import CLASSES, ORIENTATIONS, SHAPE_COUNT, cover, lengths_px
from nodes.lab.eo_mini_2.render import render
from nodes.lab.eo_mini_2.scene import REDUCTION

torch = pytest.importorskip("torch")

from nodes.lab.eo_mini_2.compact.train import RECIPE, CompactTraining  # noqa: E402
from nodes.lab.eo_mini_2.learning.network import build  # noqa: E402


def test_targets_and_truths_turn_with_the_frame() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 2, "fixture": 1}, np.random.default_rng(1), 200.0)
    frame = scene, render(scene), cover(scene, WHOLE_REDUCED, PATCH_PX)
    straight = oriented(*frame, 0)
    for orientation in range(ORIENTATIONS):
        turned = oriented(*frame, orientation)
        for before, after in ((straight.targets, turned.targets), (straight.cover, turned.cover)):
            expected = np.rot90(before, orientation % 4)
            assert np.array_equal(after, expected[:, ::-1] if orientation >= 4 else expected)
    mirrored = oriented(*frame, 4)
    swapped = {"left": "right", "right": "left"}
    for one, other in zip(straight.questions, mirrored.questions, strict=True):
        words = [swapped.get(word, word) for word in one.truth.split()]
        assert sorted(" ".join(words).split(" ; ")) == sorted(other.truth.split(" ; "))


def test_crops_keep_pixels_and_targets_together() -> None:
    examples = Frames(2, seed=1).take(3)
    pixels, targets, covers = crops(examples, np.random.default_rng(0))
    assert pixels.shape == (3, 112, 112, 3)
    assert targets.shape == (3, GRID // 2, GRID // 2, CLASSES)
    assert covers.shape == (3, GRID, GRID, SHAPE_COUNT)


def test_cover_says_where_things_are_and_how_much_of_a_patch_they_hide() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 3, "fixture": 0}, np.random.default_rng(2), 180.0)
    covered = cover(scene, WHOLE_REDUCED, PATCH_PX)
    hidden_px = covered.sum((0, 1)) * PATCH_PX**2 * REDUCTION**2
    for number, shape in enumerate(("ship", "barge", "platform", "jetty")):
        area_px = sum(
            one.length_px**2 / one.aspect * (0.874 if one.family == "vessel" else 1)
            for one in scene.things
            if one.shape == shape
        )  # a hull covers 0.874 of its rectangle
        assert hidden_px[number] == pytest.approx(area_px, rel=0.03)
    for thing in scene.things:
        row, column = (int(at / REDUCTION // PATCH_PX) for at in (thing.y_px, thing.x_px))
        assert covered[row, column].sum() > 0
    assert not cover(dataclasses.replace(scene, condition="dark"), WHOLE_REDUCED, PATCH_PX).any()


def test_large_things_come_first_and_in_the_end_all_sizes() -> None:
    first, last = lengths_px(0), lengths_px(10**6)
    assert first[0] > last[1]
    assert last == pytest.approx(FRAME_LENGTHS_PX)
    steps = [lengths_px(number) for number in range(0, 100_000, 5000)]
    assert all(a >= c and b >= d for (a, b), (c, d) in itertools.pairwise(steps))


def test_the_model_is_compact() -> None:
    _, model = build(RECIPE)
    assert sum(one.numel() for one in model.parameters()) < 3e6


def test_a_training_goes_on_where_it_ended(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = CompactTraining(tmp_path, steps=2, pool=2, batch=(2, 2))
    first.run()
    assert (tmp_path / "model.safetensors").is_file()
    again = CompactTraining(tmp_path, steps=3, pool=2, batch=(2, 2))
    assert again.step == 2
    before = [one.clone() for one in again.model.parameters()]
    again.run()
    assert again.step == 3
    assert any(
        not torch.equal(one, other) for one, other in zip(before, again.model.parameters(), strict=True)
    )
