"""The compact model's training: targets turn with the frame, and an ended training goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.lab.eo_mini_2.compact.examples import GRID, Frames, crops, oriented
from nodes.lab.eo_mini_2.compose import draw_scene
from nodes.lab.eo_mini_2.learning.scenes import CLASSES, ORIENTATIONS
from nodes.lab.eo_mini_2.render import render

torch = pytest.importorskip("torch")

from nodes.lab.eo_mini_2.compact.train import RECIPE, CompactTraining  # noqa: E402
from nodes.lab.eo_mini_2.learning.network import build  # noqa: E402


def test_targets_and_truths_turn_with_the_frame() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 2, "fixture": 1}, np.random.default_rng(1), 200.0)
    pixels = render(scene)
    straight = oriented(scene, pixels, 0)
    for orientation in range(ORIENTATIONS):
        turned = oriented(scene, pixels, orientation)
        expected = np.rot90(straight.targets, orientation % 4)
        assert np.array_equal(turned.targets, expected[:, ::-1] if orientation >= 4 else expected)
    mirrored = oriented(scene, pixels, 4)
    swapped = {"left": "right", "right": "left"}
    for one, other in zip(straight.questions, mirrored.questions, strict=True):
        words = [swapped.get(word, word) for word in one.truth.split()]
        assert sorted(" ".join(words).split(" ; ")) == sorted(other.truth.split(" ; "))


def test_crops_keep_pixels_and_targets_together() -> None:
    examples = Frames(2, seed=1).take(3)
    pixels, targets = crops(examples, np.random.default_rng(0))
    assert pixels.shape == (3, 112, 112, 3)
    assert targets.shape == (3, GRID // 2, GRID // 2, CLASSES)


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
