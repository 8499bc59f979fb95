"""Scenes of a split: dealt, graded, repeatable, and serialised without a loss."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from nodes.lab.eo_mini_2.compose import MEMBERS, draw_scene, draw_scenes
from nodes.lab.eo_mini_2.questions import questions
from nodes.lab.eo_mini_2.scene import FRAME_PX, LENGTH_PX, Scene, from_json, to_json


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(draw_scenes("val", 16))


def test_a_scene_survives_json(scenes: list[Scene]) -> None:
    assert [from_json(to_json(scene)) for scene in scenes] == scenes
    assert max(len(to_json(scene)) for scene in scenes) < 8000
    with pytest.raises(ValueError, match="describes no scene"):
        from_json('{"name": "e1"}')


def test_the_same_seed_draws_the_same_scenes(scenes: list[Scene]) -> None:
    assert list(itertools.islice(draw_scenes("val", 16), 2)) == scenes[:2]
    assert next(iter(draw_scenes("test", 16))) != scenes[0]
    assert next(iter(draw_scenes("val", 16, seed=1))) != scenes[0]


def test_conditions_and_counts_are_dealt(scenes: list[Scene]) -> None:
    assert Counter(scene.condition for scene in scenes) == {"usable": 14, "clouded": 1, "dark": 1}
    for shape in ("ship", "platform"):
        counts = Counter(sum(thing.shape == shape for thing in scene.things) for scene in scenes)
        assert counts == {0: 4, 1: 4, 2: 4, 3: 4}


def test_sizes_stay_in_range_and_things_apart(scenes: list[Scene]) -> None:
    for scene in scenes:
        for family in ("vessel", "fixture"):
            assert MEMBERS[0] <= len(scene.of(family)) <= MEMBERS[1]
        for thing in scene.things:
            assert LENGTH_PX[0] <= thing.length_px <= LENGTH_PX[1]
            assert thing.radius_px < min(thing.x_px, thing.y_px, FRAME_PX - thing.x_px, FRAME_PX - thing.y_px)
        places = [(thing.x_px, thing.y_px, thing.radius_px) for thing in scene.things]
        for n, (x, y, radius) in enumerate(places):
            for other_x, other_y, other in places[:n]:
                assert np.hypot(x - other_x, y - other_y) > radius + other


def test_a_camera_sends_20_to_45_megabytes(scenes: list[Scene]) -> None:
    assert all(20e6 < scene.sensor_bytes < 45e6 for scene in scenes)


def test_the_number_of_things_does_not_tell_the_answer() -> None:
    few, many = (
        [
            len(
                draw_scene(
                    "x00000", "usable", {"vessel": n, "fixture": 3 - n}, np.random.default_rng(seed)
                ).things
            )
            for seed in range(2)
        ]
        for n in (0, 3)
    )
    assert few == many


def test_useless_frames_are_asked_the_same_and_know_nothing(scenes: list[Scene]) -> None:
    for scene in scenes:
        asked = questions(scene)
        assert len(asked) == 4
        assert {"list ships", "list platforms"} < {question.kind for question in asked}
        if scene.condition == "usable":
            assert all(question.cells for question in asked)
            assert not {"cannot tell", "nothing visible"} & {question.truth for question in asked}
        else:
            assert {question.truth for question in asked} == {"cannot tell", "nothing visible"}
