"""The regular model's training: tiles and their targets, and sequences as the model reads them later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes.lab.eo_mini_2.compose import draw_scene
from nodes.lab.eo_mini_2.learning.scenes import class_of
from nodes.lab.eo_mini_2.regular.tiles import CELL_PX, OVERVIEW_STEP, SIDE, TILE_PX, drawn, window_of
from nodes.lab.eo_mini_2.scene import FRAME_PX, REDUCTION

torch = pytest.importorskip("torch")

from nodes.lab.eo_mini_2.learning.network import build, by_token  # noqa: E402
from nodes.lab.eo_mini_2.regular.examples import Tiles, attention_to, slots_of, tile_of  # noqa: E402
from nodes.lab.eo_mini_2.regular.train import RECIPE, RegularTraining  # noqa: E402
from nodes.lab.eo_mini_2.trained.tile_memory import remember_tiles  # noqa: E402
from nodes.lab.training.examples.frames import Question  # noqa: E402
from nodes.lab.training.examples.packing import Packer  # noqa: E402
from nodes.vlm.model import VisionLanguageModel  # noqa: E402


@pytest.mark.parametrize("step", [1, OVERVIEW_STEP])
def test_a_tile_knows_what_its_cells_show(step: int) -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 2, "fixture": 1}, np.random.default_rng(1), 60.0)
    thing = scene.things[0]
    row, column = (int(at // (TILE_PX * step)) for at in (thing.y_px, thing.x_px))
    tile = drawn(scene, window_of(row, column, step))
    assert tile.pixels.shape == (TILE_PX, TILE_PX, 3)
    inside = [int(at % (TILE_PX * step) // (CELL_PX * step)) for at in (thing.y_px, thing.x_px)]
    assert tile.targets[inside[0], inside[1], class_of(thing)] == 1
    by_cell = by_token(torch.from_numpy(tile.targets)[None], 3)
    token, cell = (
        (inside[0] // 3) * 2 + inside[1] // 3,
        (inside[0] % 3) * 3 + inside[1] % 3,
    )
    assert by_cell[0, token, cell, class_of(thing)] == 1
    assert by_cell.sum() == pytest.approx(float(tile.targets.sum()), rel=1e-5)


@pytest.mark.parametrize("condition", ["clouded", "dark"])
def test_a_useless_frame_is_hidden_and_shows_nothing(condition: str) -> None:
    scene = draw_scene("x00000", condition, {"vessel": 2, "fixture": 1}, np.random.default_rng(1))  # type: ignore[arg-type]
    tile = drawn(scene, window_of(3, 3))
    assert not tile.targets[..., :-1].any()
    assert tile.targets[..., -1].mean() > 0.9


def test_tiles_of_the_tower_show_things_at_both_scales() -> None:
    tiles = Tiles(2, seed=1).take(24)
    assert {tile.pixels.shape for tile in tiles} == {(TILE_PX, TILE_PX, 3)}
    assert np.mean([tile.targets[..., :-1].any() for tile in tiles]) > 0.3


def test_packed_sequences_are_what_the_model_reads_later() -> None:
    """Tokens, places in the sequence and positions are those of the processor, also with absent tiles."""
    processor, network = build(RECIPE, RECIPE.views.place_names)
    network.generation_config.eos_token_id = network.config.eos_token_id
    model = VisionLanguageModel(network, processor, views=RECIPE.views)
    images, boxes = RECIPE.views.of(Image.new("RGB", (FRAME_PX, FRAME_PX)))
    kept = [tile_of(100.0, 2600.0), tile_of(2600.0, 100.0)]
    chosen = [*sorted(kept), *range(SIDE**2, len(images))]
    prompt = "How many ships are there?"
    inputs = model.prepare([images[n] for n in chosen], prompt, [boxes[n] for n in chosen])
    packer = Packer(processor)
    packed = packer.pack([slots_of(sorted(kept))], [[Question("count ships", prompt, "two")]])
    length = inputs["input_ids"].shape[1]
    assert packed.input_ids[0, :length].tolist() == inputs["input_ids"][0].tolist()
    positions, _ = network.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
    )
    assert torch.equal(packed.positions[:, 0, :length], positions[:, 0])
    assert (
        packer.image_places(slots_of(sorted(kept))).tolist()
        == torch.nonzero(inputs["input_ids"][0] == network.config.image_token_id).flatten().tolist()
    )


def test_gaps_keep_the_positions_of_a_whole_frame() -> None:
    processor, _ = build(RECIPE, RECIPE.views.place_names)
    packer, asked = Packer(processor), [Question("count ships", "How many ships are there?", "two")]
    whole = packer.pack([slots_of(list(range(SIDE**2)))], [asked])
    some = packer.pack([slots_of([5, 200], gaps=True)], [asked])
    last = [int(one.positions[0, 0].max()) for one in (whole, some)]
    assert last[0] == last[1]


def test_attention_goes_to_the_things_that_a_prompt_asks_about() -> None:
    scene = draw_scene("x00000", "usable", {"vessel": 2, "fixture": 1}, np.random.default_rng(1), 60.0)
    there = sorted({tile_of(thing.x_px, thing.y_px) for thing in scene.things})
    target = attention_to(scene, "count ships", there)
    vessels = scene.of("vessel")
    assert target.shape == (2, (len(there) + 16) * 4)
    assert target.sum(1).tolist() == pytest.approx([2 / 4, 1.0])
    assert target[:, len(there) * 4 :].sum() == 0
    ship = next(thing for thing in vessels if thing.shape == "ship")
    tile = there.index(tile_of(ship.x_px, ship.y_px))
    assert target[0, tile * 4 : tile * 4 + 4].sum() >= 0.25
    absent = attention_to(scene, "list ships", [])
    assert absent.sum(1).tolist() == pytest.approx([2 / 4, 1.0])
    assert attention_to(scene, "compare", there).sum(1).tolist() == pytest.approx([3 / 4, 1.0])


def test_a_training_goes_on_where_it_ended(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    first = RegularTraining(tmp_path, steps=2, pool=(1, 1), batch=(2, 1))
    assert sum(one.numel() for one in first.model.parameters()) < 16e6
    first.run()
    again = RegularTraining(tmp_path, steps=3, pool=(1, 1), batch=(2, 1))
    assert again.step == 2
    tower = [one.clone() for one in again.model.model.visual.parameters()]
    words = again.model.get_input_embeddings().weight.clone()
    again.run()
    assert all(
        torch.equal(one, other)
        for one, other in zip(tower, again.model.model.visual.parameters(), strict=True)
    )
    assert not torch.equal(words, again.model.get_input_embeddings().weight)


def test_an_overview_pixel_is_a_whole_number_of_native_ones() -> None:
    assert REDUCTION % OVERVIEW_STEP == 0


def test_a_tile_is_encoded_once() -> None:
    processor, network = build(RECIPE, RECIPE.views.place_names)
    model = VisionLanguageModel(network, processor, views=RECIPE.views)
    rng = np.random.default_rng(0)
    tiles = [Image.fromarray(rng.integers(0, 255, (TILE_PX, TILE_PX, 3), np.uint8)) for _ in range(3)]
    expected = _features(model, [tiles[0], tiles[2], tiles[1]])
    encoded: list[int] = []
    network.model.visual.register_forward_hook(
        lambda _module, inputs, _output: encoded.append(len(inputs[0]))
    )
    remember_tiles(network.model)
    _features(model, tiles[:2])
    found = _features(model, [tiles[0], tiles[2], tiles[1]])
    assert torch.allclose(found, expected, atol=1e-5)
    assert encoded == [2 * 144, 144]


def _features(model: VisionLanguageModel, tiles: list[Image.Image]) -> torch.Tensor:
    inputs = model.prepare(tiles, "How many ships are there?")
    with torch.no_grad():
        seen = model.network.model.get_image_features(
            pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"], return_dict=True
        )
    return torch.cat(list(seen.pooler_output))
