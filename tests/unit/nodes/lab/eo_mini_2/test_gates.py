"""The gates hold on a sample, and notice what they are for."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.lab.eo_mini_2.__main__ import main
from nodes.lab.eo_mini_2.cell_finders import rankings, share_found
from nodes.lab.eo_mini_2.compose import draw_scene
from nodes.lab.eo_mini_2.detectors import Detector, Reading, likeliest_count, list_is_good, read
from nodes.lab.eo_mini_2.files import draw_pictures, write
from nodes.lab.eo_mini_2.gates import Gate, most_overlap, split_gates
from nodes.lab.eo_mini_2.questions import questions
from nodes.lab.eo_mini_2.render import render
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCTION, Scene, from_json


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Return frames of one size, as small as a reduced pixel or as large as seventeen."""
    return [
        draw_scene(
            f"x{n:05d}",
            "usable",
            {"vessel": n % 4, "fixture": 2},
            np.random.default_rng([3, n]),
            15.0 if n < 18 else 200.0,
        )
        for n in range(32)
    ]


def _right(scenes: list[Scene], step: int) -> float:
    """Return the share of vessels that a detector tells, fitted on one half and measured on the other."""
    fit, measured = scenes[0::2], scenes[1::2]
    detector = Detector([one for scene in fit for one in read(scene, "vessel", step)])
    readings = [one for scene in measured for one in read(scene, "vessel", step)]
    return float(np.mean([(detector.odds(one) > 0) == one.first for one in readings]))


def test_small_vessels_are_told_apart_in_native_pixels_only(scenes: list[Scene]) -> None:
    assert _right(scenes[:18], 2) > 0.9
    assert _right(scenes[:18], REDUCTION) < 0.75


def test_large_vessels_are_told_apart_in_the_reduced_frame(scenes: list[Scene]) -> None:
    assert _right(scenes[18:], REDUCTION) > 0.9


def test_both_shapes_of_a_family_have_the_same_flux() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 0, "fixture": 0}, np.random.default_rng(8), 60.0)
    for one, other in (("ship", "barge"), ("platform", "jetty")):
        thing = dataclasses.replace(scene.things[0], x_px=1350.0, y_px=1350.0, tilt=0.0, tint=(0.0, 0.0, 0.0))
        bare = dataclasses.replace(scene, lures=(), haze=None, cloud=None, noise=0.0)
        ground = dataclasses.replace(bare.ground, roughness=0.0, land=0.0)
        sums = [
            render(
                dataclasses.replace(bare, ground=ground, things=(dataclasses.replace(thing, shape=shape),))
            )
            .astype(float)
            .sum()
            for shape in (one, other)
        ]
        empty = render(dataclasses.replace(bare, ground=ground, things=())).astype(float).sum()
        assert sums[0] - empty == pytest.approx(sums[1] - empty, rel=0.06)


def test_the_likeliest_count_and_a_good_list() -> None:
    assert likeliest_count([9.0, 9.0, -9.0, -9.0]) == 2
    assert likeliest_count([9.0] * 5) == 3
    assert likeliest_count([-9.0] * 3) == 0
    assert list_is_good([1.0, 1.0, -1.0, 1.0], [True, True, False, False])
    assert not list_is_good([1.0, 1.0, 1.0], [True, True, False])


def test_a_detector_says_nothing_about_sizes_that_it_never_saw() -> None:
    rows = [Reading(np.array([float(n % 2), 0.0]), 30.0, bool(n % 2)) for n in range(40)]
    detector = Detector(rows)
    assert detector.odds(rows[1]) > 2
    assert detector.odds(Reading(np.array([1.0, 0.0]), 380.0, True)) == 0


def test_finders_name_a_lonely_mark_and_not_the_needed_cell(scenes: list[Scene]) -> None:
    lonely = dataclasses.replace(scenes[-1], lures=(), haze=None, cloud=None, things=scenes[-1].things[:1])
    lonely = dataclasses.replace(lonely, ground=dataclasses.replace(lonely.ground, land=0.0))
    (needed,) = {question.cells for question in questions(lonely) if question.cells}
    ranked = rankings(lonely, (REDUCTION,))
    assert all(ranking[0] in needed for name, ranking in ranked.items() if name.startswith(("peak", "edges")))
    found = [
        share_found(ranking, question.cells)
        for scene in scenes[:12]
        for ranking in [rankings(scene, (REDUCTION,))["edges at 1/12"]]
        for question in questions(scene)
    ]
    assert np.mean(found) < 0.6


def _by_name(gates: list[Gate]) -> dict[str, Gate]:
    return {gate.name.split(" (")[0].split(",")[0]: gate for gate in gates}


def test_overlap_of_frames() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 0, "fixture": 0}, np.random.default_rng(8), 60.0)
    beside = dataclasses.replace(scene, ground=dataclasses.replace(scene.ground, left_px=FRAME_PX // 2))
    assert most_overlap([scene, beside]) == 0.5
    elsewhere = dataclasses.replace(scene, ground=dataclasses.replace(scene.ground, seed=1))
    assert most_overlap([scene, elsewhere]) == 0


def test_a_split_that_is_too_small_or_overlaps_fails(scenes: list[Scene]) -> None:
    gates = _by_name(split_gates([scenes[0], scenes[0], scenes[1]]))
    assert not gates["frames"].passed
    assert not gates["useless frames"].passed
    assert not gates["largest overlap of two frames"].passed
    assert gates["declared size of a frame"].passed
    assert not gates["blind"].passed  # of three frames, the commonest answer is right in most


def test_a_split_on_disk_is_what_the_scenes_say(
    scenes: list[Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.lab.eo_mini_2.files.native", render)  # a whole native frame takes seconds
    assert write(scenes[:1], tmp_path) == 4
    lines = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert [line["truth"] for line in lines] == [question.truth for question in questions(scenes[0])]
    assert all(20e6 < line["sensor_bytes"] < 45e6 for line in lines)
    assert from_json((tmp_path / "scenes.jsonl").read_text()) == scenes[0]
    with Image.open(tmp_path / lines[0]["image"]) as image:
        assert math.isclose(np.asarray(image).mean(), render(scenes[0]).mean(), abs_tol=1)


def test_pictures_show_the_frame_and_a_detail(tmp_path: Path) -> None:
    first = next(draw_pictures(tmp_path / "shown"))
    with Image.open(first) as image:
        assert image.size == (678, 336)
    assert main(["write", "val", str(first), "--frames", "1"]) == 2  # the folder is a file
