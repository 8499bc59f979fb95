from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nodes.training import questions, train
from nodes.training.architecture import RECIPES, Reading, Stage
from nodes.training.packing import Packer
from nodes.eo_mini.footprint import BANDS_DEG, FRAME_HEIGHT_DEG, Footprint, Split, draw_footprint
from nodes.training.questions import KINDS, Balance, Question, questions_about, vocabulary
from nodes.training.scene import COVERS, Scene, draw_scene
from nodes.eo_mini.packages import Rasters
from nodes.training.vessels import Vessel, _draw, composite


@pytest.fixture(scope="module")
def rasters() -> Rasters:
    """A painted Earth in the real size: blue water; north of 25 S blocks and a continent of land."""
    marble, cover = Image.new("RGB", (5400, 2700), (5, 10, 40)), Image.new("L", (7200, 3600), 0)
    on_marble, on_cover = ImageDraw.Draw(marble), ImageDraw.Draw(cover)
    blocks = [
        (west, north, west + 5, north - 8) for west in range(-180, 180, 9) for north in range(-25, 80, 13)
    ]
    for number, (west, north, east, south) in enumerate([*blocks, (45, 70, 95, 20)]):
        igbp, colour = ((2, (20, 60, 10)), (16, (180, 150, 90)))[number % 2]
        box = np.array([west + 180, 90 - north, east + 180, 90 - south])
        on_marble.rectangle((box * 15).tolist(), fill=colour)
        on_cover.rectangle((box * 20).tolist(), fill=igbp)
    return Rasters(marble, cover)


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_frame_lies_inside_its_own_bands(split: Split) -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        place = draw_footprint(BANDS_DEG[split], FRAME_HEIGHT_DEG, rng)
        west, east = place.longitude_deg - place.half_width_deg, place.longitude_deg + place.half_width_deg
        assert any(low <= west and east <= high for low, high in BANDS_DEG[split])
        assert abs(place.latitude_deg) + FRAME_HEIGHT_DEG / 2 <= 68.01


def test_training_and_test_bands_share_no_longitude_and_cover_the_globe() -> None:
    bands = sorted([*BANDS_DEG["train"], *BANDS_DEG["test"]])
    assert [west for west, _ in bands[1:]] == [east for _, east in bands[:-1]]
    assert (bands[0][0], bands[-1][1]) == (-180, 180)


def test_pixels_and_land_cover_are_of_the_same_ground(rasters: Rasters) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        scene = draw_scene(rasters, "train", rng, noise=False)
        green = (scene.pixels[..., 1] > 50) & (scene.pixels[..., 0] < 60)
        forest = np.kron(scene.cover == COVERS.index("forest"), np.ones((4, 4), dtype=bool))
        assert np.mean(green == forest) > 0.97


def _scene(cover: NDArray[np.uint8], vessels: int | None = None) -> Scene:
    pixels = np.zeros((448, 448, 3), dtype=np.uint8)
    seen = None if vessels is None else tuple(Vessel(20.0 * n, 20.0) for n in range(vessels))
    return Scene(Footprint(0, 0, FRAME_HEIGHT_DEG), pixels, cover, seen)


def test_truth_of_a_frame_that_is_water_in_the_west_and_forest_in_the_east() -> None:
    cover = np.zeros((112, 112), dtype=np.uint8)
    cover[:, 56:] = COVERS.index("forest")
    asked = {question.prompt: question.truth for question in questions_about(_scene(cover, vessels=2))}
    assert asked["Which half has more water, west or east?"] == "west"
    assert asked["Which half has more forest, west or east?"] == "east"
    assert asked["How much of this image is forest?"] == "half"
    assert asked["How much of this image is ice?"] == "none"
    assert asked["Is there any water in this image?"] == "yes"
    assert asked["Is there any desert in this image?"] == "no"
    assert asked["Is there more desert or more forest?"] == "forest"
    assert asked["Are there ships on the water?"] == "yes"
    assert asked["How many ships are on the water?"] == "two"
    # What is even or unclear is not asked.
    assert "Which half has more water, north or south?" not in asked
    assert "Is there more water or more forest?" not in asked
    assert "What covers most of this image?" not in asked


def test_no_vessels_are_asked_for_where_there_is_no_open_water() -> None:
    kinds = {question.kind for question in questions_about(_scene(np.full((112, 112), 7, dtype=np.uint8)))}
    assert kinds == {"cover", "presence", "amount", "comparison"}


def test_answers_are_balanced_per_prompt() -> None:
    """Nine frames of ten have forest; asked about equally often where it is and where it is not."""
    with_forest, without = np.zeros((112, 112), dtype=np.uint8), np.zeros((112, 112), dtype=np.uint8)
    with_forest[:40] = COVERS.index("forest")
    scenes = [_scene(with_forest)] * 90 + [_scene(without)] * 10
    balance = Balance(scenes)
    rng = np.random.default_rng(0)
    truths = [
        question.truth
        for scene in scenes * 20
        for question in balance.draw(scene, 50, rng)
        if question.prompt == "Is there any forest in this image?"
    ]
    assert len(truths) > 200
    assert 0.4 < truths.count("yes") / len(truths) < 0.6


def test_every_word_that_is_asked_or_answered_is_in_the_vocabulary(rasters: Rasters) -> None:
    rng = np.random.default_rng(2)
    known, kinds = set(vocabulary()), set()
    for _ in range(60):
        for question in questions_about(draw_scene(rasters, "train", rng, noise=False)):
            text = f"{question.prompt} {question.truth}".lower().replace("?", " ? ").replace(",", " , ")
            assert set(text.split()) <= known
            kinds.add(question.kind)
    assert kinds == set(KINDS)


def test_vessels_lie_on_water_apart_and_as_often_none_as_three() -> None:
    rng = np.random.default_rng(5)
    water = np.zeros((448, 448), dtype=bool)
    water[:, :224] = True
    counts = []
    for _ in range(200):
        vessels = composite(np.zeros((448, 448, 3), dtype=np.uint8), water, rng)
        counts.append(len(vessels))
        assert all(water[int(one.y_px), int(one.x_px)] for one in vessels)
        gaps = [math.dist((a.x_px, a.y_px), (b.x_px, b.y_px)) for a, b in combinations(vessels, 2)]
        assert min(gaps, default=99) >= 26
    assert min(counts.count(number) for number in range(4)) > 30
    with pytest.raises(ValueError, match="room for"):
        for _ in range(50):
            composite(np.zeros((448, 448, 3), dtype=np.uint8), np.zeros((448, 448), dtype=bool), rng)


def test_vessels_and_islets_differ_in_shape_alone() -> None:
    """Area and brightness are of one distribution; a detector by size or brightness alone must not work."""
    rng = np.random.default_rng(3)
    mass: dict[str, list[float]] = {"vessel": [], "islet": []}
    ratio: dict[str, list[float]] = {"vessel": [], "islet": []}
    for name, low, high in (("vessel", 2.8, 4.0), ("islet", 1.0, 1.3)):
        for _ in range(300):
            pixels = np.zeros((32, 32, 3), dtype=np.uint8)
            _draw(pixels, 16, 16, float(rng.uniform(low, high)), rng)
            weight = pixels.sum(axis=2).astype(float)
            mass[name].append(weight.sum())
            rows, columns = np.indices(weight.shape)
            points = np.stack([rows.ravel(), columns.ravel()])
            spread = np.linalg.eigvalsh(np.cov(points, aweights=weight.ravel()))
            ratio[name].append(float(np.sqrt(spread[1] / spread[0])))
    assert np.mean(mass["vessel"]) == pytest.approx(np.mean(mass["islet"]), rel=0.05)
    assert np.quantile(ratio["vessel"], 0.01) > 2.2
    assert np.quantile(ratio["islet"], 0.99) < 1.5


@pytest.mark.parametrize("name", ["compact", "regular"])
def test_packed_questions_are_answered_as_if_each_were_alone(rasters: Rasters, name: str) -> None:
    """Same pixels as the processor's, same logits as one prompt through the stock path."""
    torch.manual_seed(0)
    recipe = RECIPES[name]
    processor, model, _ = train.build(recipe)
    model.eval()
    scene = draw_scene(rasters, "test", np.random.default_rng(4))
    asked = [
        Question("vessels_count", "How many ships are on the water?", "two"),
        Question("presence", "Is there any ice in this image?", "no"),
    ]
    batch = Packer(processor).pack([scene.pixels], [asked], recipe.reduce)
    with torch.no_grad():
        packed, _ = train.forward(model, batch)
    for index, question in enumerate(asked):
        content = [
            {"type": "image", "image": Image.fromarray(scene.pixels)},
            {"type": "text", "text": question.prompt},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        torch.testing.assert_close(inputs["pixel_values"], batch.pixel_values, atol=1e-5, rtol=0)
        with torch.no_grad():
            alone = model(**inputs).logits[0, -1]
        torch.testing.assert_close(packed[2 * index], alone, atol=1e-4, rtol=1e-4)


def test_several_views_are_packed_as_one_prompt_with_several_images() -> None:
    """An overview and two tiles of other sizes: the stock path's pixels, and its logits."""
    torch.manual_seed(0)
    processor, model, _ = train.build(RECIPES["regular"])
    processor.image_processor.size = {"shortest_edge": 56**2, "longest_edge": 224**2}
    model.eval()
    rng = np.random.default_rng(7)
    views = [
        rng.integers(0, 255, (side, width, 3), dtype=np.uint8)
        for side, width in ((112, 168), (56, 56), (84, 56))
    ]
    question = Question("vessels_count", "How many ships are on the water?", "two")
    batch = Packer(processor).pack_views([views, views[::-1]], [[question], [question, question]])
    content: list[dict[str, Any]] = [{"type": "image", "image": Image.fromarray(view)} for view in views]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [*content, {"type": "text", "text": question.prompt}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    patches = len(inputs["pixel_values"])
    torch.testing.assert_close(inputs["pixel_values"], batch.pixel_values[:patches], atol=1e-5, rtol=0)
    with torch.no_grad():
        packed, features = train.forward(model, batch)
        alone = model(**inputs).logits[0, -1]
    assert features.shape[:2] == (2, patches // 4)
    torch.testing.assert_close(packed[0], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed[2], packed[4], atol=1e-4, rtol=1e-4)  # neither sees the other
    assert not torch.allclose(packed[0], packed[2], atol=1e-4)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    rasters: Rasters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_BALANCE_SCENES", 30)
    monkeypatch.setattr(train, "_SAVE_EVERY_STEPS", 1)
    stages = (
        Stage(frame_px=112, steps=2, frames_per_step=2),
        Stage(frame_px=224, steps=2, frames_per_step=1),
    )
    reading = Reading(frames=2, steps=2, frames_per_step=1, questions_per_frame=2, peak_rate=1e-3)
    recipe = replace(RECIPES["regular"], stages=stages, reading=reading, vision_depth=1, text_depth=1)

    def interrupt(step: int, steps: int, losses: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    train.train(recipe, rasters, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train.train(recipe, rasters, tmp_path / "cut", on_step=interrupt)
    progress = train.train(recipe, rasters, tmp_path / "cut", resume=True)
    assert progress.resumed_at == [3]
    assert (tmp_path / "cut/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()
    assert not (tmp_path / "cut/training-state.pt").exists()
    assert json.loads((tmp_path / "cut/training.json").read_text())["step"] == 6
