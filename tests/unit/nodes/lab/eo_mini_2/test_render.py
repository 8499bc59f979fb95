"""Both renderings of a scene show the same thing, and a window is a part of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.lab.eo_mini_2.backgrounds import BACKGROUNDS, Imagery
from nodes.lab.eo_mini_2.compose import draw_scene
from nodes.lab.eo_mini_2.fields import Window
from nodes.lab.eo_mini_2.render import MEAN_BOUND, WORST_BOUND, native, render
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCED_PX, REDUCTION, Ground, Scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    drawn = [
        draw_scene("test00000", "usable", {"vessel": 2, "fixture": 1}, np.random.default_rng([14, n]))
        for n in range(4)
    ]
    assert any(scene.cloud for scene in drawn)
    assert any(scene.haze for scene in drawn)
    assert any(scene.ground.land for scene in drawn)
    return drawn


def _window_around(scene: Scene, number: int) -> tuple[int, int, int]:
    """Return left, top and side of a square of whole blocks around a thing."""
    thing = scene.things[number % len(scene.things)]
    side = 24 * REDUCTION
    left, top = (
        int(np.clip(at - side / 2, 0, FRAME_PX - side)) // REDUCTION * REDUCTION
        for at in (thing.x_px, thing.y_px)
    )
    return left, top, side


def test_the_reduced_frame_is_the_mean_of_the_native_one(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        left, top, side = _window_around(scene, number)
        blocks = native(scene, left, top, side, side).reshape(side // REDUCTION, REDUCTION, -1, REDUCTION, 3)
        reduced = render(scene)
        part = reduced[top // REDUCTION :, left // REDUCTION :][: side // REDUCTION, : side // REDUCTION]
        apart = np.abs(blocks.mean((1, 3)) - part)
        assert apart.mean() < MEAN_BOUND
        assert apart.max() < WORST_BOUND
        assert np.ptp(part) > 20  # there is something to agree on


def test_a_native_window_is_a_part_of_a_larger_one(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes[:2]):
        left, top, side = _window_around(scene, number)
        whole = native(scene, left, top, side, side)
        assert np.array_equal(whole[31:131, 17:97], native(scene, left + 17, top + 31, 80, 100))


def test_other_steps_reduce_as_exactly(scenes: list[Scene]) -> None:
    left, top, side = _window_around(scenes[0], 0)
    blocks = native(scenes[0], left, top, side, side).reshape(side // 6, 6, -1, 6, 3).mean((1, 3))
    apart = np.abs(blocks - render(scenes[0], Window(left, top, side // 6, side // 6, 6)))
    assert apart.mean() < MEAN_BOUND
    assert apart.max() < WORST_BOUND


def test_a_window_beyond_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the frame"):
        Window(FRAME_PX - 10, 0, 11, 5)
    with pytest.raises(ValueError, match="step must divide"):
        Window(0, 0, 5, 5, 5)


def test_nothing_can_be_seen_in_a_useless_frame() -> None:
    for condition in ("clouded", "dark"):
        scene = draw_scene(
            "test00000", condition, {"vessel": 3, "fixture": 0}, np.random.default_rng(2), 120.0
        )
        thing = scene.things[0]
        x, y = int(thing.x_px) // REDUCTION, int(thing.y_px) // REDUCTION
        around = render(scene).astype(float)[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13]
        assert np.ptp(around) < 45  # relief of the cloud
        assert np.abs(np.diff(around, axis=0)).max() < 9


def test_the_surface_can_be_imagery() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 72, 3), dtype=np.uint8)
    ground = Ground("mosaic", 0, 12, 24, (0.0, 0.0, 0.0), 0.0, 0.0)
    reduced = Imagery(pixels).surface(ground, Window(12, 0, 2, 3, 12))
    assert reduced[1, 1] == pytest.approx(pixels[36:48, 36:48].mean((0, 1)))
    with pytest.raises(ValueError, match="leaves the image of 72 x 60 px"):
        Imagery(pixels).surface(ground, Window(48, 0, 3, 3, 12))
    assert set(BACKGROUNDS) == {"synthetic"}


def test_waves_noise_and_texture_are_the_same_in_every_part(scenes: list[Scene]) -> None:
    calm = next(scene for scene in scenes if not scene.cloud and not scene.haze and not scene.ground.land)
    empty = Scene(**{**calm.__dict__, "things": (), "lures": ()})
    fine = np.diff(native(empty, 0, 0, FRAME_PX, 96).astype(float).mean(2), axis=1)
    spread = [part.std() for part in np.array_split(fine, 8, axis=1)]
    assert max(spread) / min(spread) < 1.2
    assert render(empty).shape == (REDUCED_PX, REDUCED_PX, 3)
