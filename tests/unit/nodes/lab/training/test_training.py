from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from nodes.data import EO_MINI
from nodes.lab.eo_mini.build import JPEG_QUALITY
from nodes.lab.eo_mini.ground import COVERS
from nodes.lab.eo_mini.places import FRAME_PX
from nodes.lab.eo_mini.windows import DIRECTIONS, WINDOW_PX
from nodes.lab.eo_mini.windows import draw_window as draw_asked
from nodes.lab.training import train
from nodes.lab.training.architecture import RECIPES, JointStage, LanguageStage, VisionStage
from nodes.lab.training.attention_supervision import SUPERVISED_HEADS, SUPERVISED_LAYER, AttentionSupervision
from nodes.lab.training.examples.augmentation import (
    AUGMENTATIONS,
    augment,
    augment_direction,
    augment_questions,
)
from nodes.lab.training.examples.batch import TrainingBatch
from nodes.lab.training.examples.examples import (
    augmented_tile,
    make_example,
    make_tiled_example,
    sample_tiles,
    targets_of_overview,
    tile_box,
)
from nodes.lab.training.examples.frames import GRID, OVERVIEW_PX, Content, Question, TrainingFrame
from nodes.lab.training.examples.packing import ImageSlot, Packer
from nodes.lab.training.examples.pretraining_windows import PretrainingWindows, draw_window, window_targets
from nodes.lab.training.examples.targets import KINDS, dense_targets
from nodes.lab.training.vision.feature_cache import FeatureCache
from nodes.lab.training.vision.fourier_init import initialise_fourier
from nodes.lab.training.vision.prefetch import prefetch
from nodes.lab.training.vocabulary import vocabulary

SHIPS = Question("ships", "How many ships are on the water?", "two")
DESERT = Question("presence", "Is there any desert in this image?", "no")
CROWNS = [np.random.default_rng(0).integers(0, 255, (18, 18, 3), dtype=np.uint8) for _ in range(3)]


def _frame(folder: Path, number: int = 0) -> TrainingFrame:
    """A grey frame with two ships in tile 6 and rows that run north in tile 9."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(90, 110, (FRAME_PX, FRAME_PX, 3), dtype=np.uint8)
    contents = []
    for kind, answer, left, top in (("ships", "two", 800, 400), ("rows", "north", 400, 740)):
        window = draw_asked(kind, answer, CROWNS, rng)
        pixels[top : top + WINDOW_PX, left : left + WINDOW_PX] = np.clip(window.pixels, 0, 255)
        spots = tuple((left + x, top + y, answer if kind == "rows" else kind) for x, y in window.marks)
        contents.append(Content(kind, (left, top, left + WINDOW_PX, top + WINDOW_PX), spots))
    path = folder / f"e{number:04d}.jpg"
    Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)
    cover = np.zeros((GRID, GRID, len(COVERS)), np.float32)
    cover[: GRID // 2, :, 0] = cover[GRID // 2 :, :, 3] = 1  # water above desert
    with Image.open(path) as opened:
        overview = np.asarray(opened.resize((OVERVIEW_PX, OVERVIEW_PX), Image.Resampling.BICUBIC))
    rows = Question("rows", "In which direction do the crop rows run?", "north")
    return TrainingFrame(
        path, overview, (SHIPS, rows, DESERT), tuple(contents), cover, np.zeros((GRID, GRID), np.float32)
    )


def _direction(pixels: NDArray[np.uint8]) -> str:
    """Of stripes, by the strongest of four directions at a period of 5 px."""
    grey = pixels.mean(axis=2) - pixels.mean()
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    strength = []
    for number in range(4):
        bearing = np.radians(45 * number)
        for period_px in (4.7, 5.2, 5.7):
            turns = 2 * np.pi * (x * np.cos(bearing) + y * np.sin(bearing)) / period_px
            strength.append((abs((grey * np.exp(1j * turns)).sum()), DIRECTIONS[number]))
    return max(strength)[1]


@pytest.mark.parametrize("augmentation", range(AUGMENTATIONS))
def test_the_direction_of_rows_turns_with_the_frame(augmentation: int) -> None:
    for direction in DIRECTIONS:
        y, x = np.mgrid[:46, :46]
        bearing = np.radians(45 * DIRECTIONS.index(direction))
        wave = 128 + 60 * np.sin(2 * np.pi * (x * np.cos(bearing) + y * np.sin(bearing)) / 5.2)
        pixels = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
        assert _direction(pixels) == direction
        assert _direction(augment(pixels, augmentation)) == augment_direction(direction, augmentation)


def test_what_is_upper_after_a_turn_was_there_before() -> None:
    cloudier = Question("cloudier", "Is the upper or the lower half cloudier?", "upper")
    cloud = np.zeros((GRID, GRID))
    cloud[: GRID // 2] = 1
    for augmentation in range(AUGMENTATIONS):
        after = augment(cloud, augmentation)
        kept = augment_questions([cloudier, DESERT], augmentation)
        if augmentation % 2:
            assert kept == [DESERT]
        else:
            assert kept[0].truth == ("upper" if after[0, 0] else "lower")


def test_truths_lie_where_the_content_is(tmp_path: Path) -> None:
    """In every turn the token with a ship's centre shows something bright, as ships are."""
    frame = _frame(tmp_path)
    pixels = frame.pixels()
    side = 336 // 28
    for augmentation in range(AUGMENTATIONS):
        box = tile_box(6, 336)
        targets = dense_targets(frame.contents, box, side).augment(augmentation)
        shown = augment(pixels[box[1] : box[3], box[0] : box[2]], augmentation)
        brightest = shown.max(axis=2).reshape(side, 28, side, 28).max(axis=(1, 3)).ravel()
        ships = np.flatnonzero(targets.centres[0, ..., 0])
        assert len(ships) == 2
        assert (brightest[ships] > 170).all()
        assert targets.kinds[..., KINDS.index("ships")].sum() == pytest.approx(
            (WINDOW_PX / 28) ** 2, rel=0.01
        )
        assert targets.rows[..., 0].min() == 1  # the rows are in another tile
        elsewhere = dense_targets(frame.contents, tile_box(9, 336), side).augment(augmentation)
        direction = 1 + DIRECTIONS.index(augment_direction("north", augmentation))
        assert elsewhere.rows[..., direction].sum() == pytest.approx((46 / 28) ** 2, rel=0.01)


def test_tiles_show_what_their_truths_say(tmp_path: Path) -> None:
    """Whatever the turn and the choice of tiles, a token with a ship's centre shows something bright."""
    frame = _frame(tmp_path)
    for seed in range(6):
        shown = make_example(frame, 168, 12, np.random.default_rng(seed))
        assert shown.tiles is not None
        assert shown.native_targets is not None
        assert shown.tiles.shape == (12, 168, 168, 3)
        brightest = shown.tiles.max(axis=3).reshape(12, 6, 28, 6, 28).max(axis=(2, 4))
        ships = shown.native_targets.centres[..., 0].numpy() > 0
        assert ships.sum() == 2
        assert (brightest[ships] > 170).all()
        assert len(shown.slots) == 13


def test_an_overview_knows_ground_and_clouds_in_its_own_order(tmp_path: Path) -> None:
    targets = targets_of_overview(_frame(tmp_path)).augment(1)
    assert targets.cover is not None
    assert (targets.cover[0, :, 0, 0] == 1).all()  # what was above is at the left now
    assert (targets.cover[0, :, -1, 3] == 1).all()


def test_tiles_hold_all_that_is_asked_about(tmp_path: Path) -> None:
    frame = _frame(tmp_path)
    rng = np.random.default_rng(0)
    needed = {4 + 2 * 8, 5 + 2 * 8, 4 + 3 * 8, 5 + 3 * 8, 2 + 4 * 8, 3 + 4 * 8, 2 + 5 * 8, 3 + 5 * 8}
    for count in (8, 16, 64):
        tiles = sample_tiles(frame.contents, 168, count, rng)
        assert needed <= set(tiles)
        assert len(tiles) == len(set(tiles)) == count
    asked = set()
    for seed in range(6):  # with room for one content, one is whole, and only it is asked about
        shown = make_example(frame, 168, 5, np.random.default_rng(seed))
        assert shown.native_targets is not None
        there = {"ships": int(shown.native_targets.centres[..., 0].sum()) == 2}
        there["rows"] = float(shown.native_targets.rows[..., 1:].sum()) == pytest.approx(
            (46 / 28) ** 2, rel=0.01
        )
        fine = {one.kind for one in shown.questions} - {"presence"}
        assert len(fine) == 1 and all(there[kind] for kind in fine)
        assert "presence" in {one.kind for one in shown.questions}
        asked |= fine
    assert asked == {"ships", "rows"}
    for augmentation in range(AUGMENTATIONS):
        assert sorted(augmented_tile(n, 8, augmentation) for n in range(64)) == list(range(64))


def test_what_is_kept_of_tiles_is_what_the_tower_makes_of_them(tmp_path: Path) -> None:
    """Whatever the turn and the choice; interrupted in between, and gone on with."""
    frames = [_frame(tmp_path, number) for number in range(3)]
    training = _training(RECIPES["regular"], frames, tmp_path)

    def kept() -> FeatureCache:
        return FeatureCache(
            frames, 168, 12, 7, tmp_path / "kept.npy", training.model.config.text_config.hidden_size
        )

    looking = kept().fill(training.tower, "cpu")
    assert next(looking) == 1
    looking.close()
    (first := np.load(tmp_path / "kept.npy", mmap_mode="r+"))[0, 0, 0] = 9
    assert not first[1:].any()
    whole = kept()
    assert list(whole.fill(training.tower, "cpu")) == [1, 2, 3]
    assert np.load(tmp_path / "kept.npy", mmap_mode="r")[0, 0, 0] == 9, "it was looked at again"
    rng = np.random.default_rng(0)
    for number, tiles in ((1, 12), (2, 10), (1, 9)):
        shown, features = whole.make_example(number, tiles, rng)
        assert shown.tiles is None
        assert shown.native_targets is not None
        assert int(shown.native_targets.centres[..., 0].sum()) == 2, "tiles with content come first"
        assert len(features) == tiles * 36 + 64
        seen = features[:-64].view(tiles, 36, -1)
        there = {tuple(one.flatten().tolist()) for one in seen}
        assert len(there) == tiles
        again, looked = whole.make_example(number, 12, rng)
        assert again.native_targets is not None
        # Each tile's features go with the truths of that tile, as they do when all are shown.
        for one, truth in zip(seen, shown.native_targets.kinds, strict=True):
            at = [torch.equal(one, other) for other in looked[:-64].view(12, 36, -1)].index(True)
            assert torch.equal(truth, again.native_targets.kinds[at])
    with pytest.raises(ValueError, match="it is of another training"):
        FeatureCache(
            frames[:2], 168, 12, 7, tmp_path / "kept.npy", training.model.config.text_config.hidden_size
        )


def test_a_kept_frame_is_read_as_one_that_is_looked_at(tmp_path: Path) -> None:
    frame = _frame(tmp_path)
    training = _training(RECIPES["regular"], [frame], tmp_path)
    dim = training.model.config.text_config.hidden_size
    kept = FeatureCache([frame], 168, 12, 7, tmp_path / "kept.npy", dim)
    list(kept.fill(training.tower, "cpu"))
    shown, features = kept.make_example(0, 12, np.random.default_rng(0))
    packer = Packer(training.processor)
    batch = TrainingBatch.of([shown], packer, [features])
    augmentation = kept.augmentations[0]
    tiles = sample_tiles(frame.contents, 168, 12, np.random.default_rng(0), among=kept.tiles_cached[0])
    looked = make_tiled_example(
        frame, 168, tiles, augmentation, keep_positions=shown.slots[-1].skipped_tiles > 0
    )
    fresh = TrainingBatch.of([looked], packer)
    assert looked.slots == shown.slots
    assert torch.equal(batch.packed.input_ids, fresh.packed.input_ids)
    assert torch.equal(batch.attention_targets, fresh.attention_targets)
    with torch.no_grad():
        seen = fresh.features(training.tower.encode(fresh.image_groups))
    assert batch.cached_features is not None
    torch.testing.assert_close(batch.cached_features, seen, atol=4e-3, rtol=4e-3)


def test_tiles_left_out_leave_their_positions() -> None:
    packer = Packer(train.build(replace(RECIPES["compact"], vision_depth=1, text_depth=1))[0])
    tiles, last = [ImageSlot(6, 6) for _ in range(64)], ImageSlot(8, 8)
    whole = packer.pack([[*tiles, last]], [[SHIPS]])
    few = [ImageSlot(6, 6, skipped_tiles=3), ImageSlot(8, 8, skipped_tiles=60, skipped_positions=8)]
    part = packer.pack([few], [[SHIPS]])
    (_, token), (_, of_whole) = part.prompt_ends[0], whole.prompt_ends[0]
    assert token < of_whole
    assert part.positions[:, 0, token].tolist() == whole.positions[:, 0, of_whole].tolist()
    tile, fourth = packer.image_places(few)[0], packer.image_places([*tiles, last])[3 * 36]
    assert part.positions[:, 0, tile].tolist() == whole.positions[:, 0, fourth].tolist()


def test_what_a_tile_holds_can_be_looked_for_wherever_it_lies(tmp_path: Path) -> None:
    """The slowest pair of rotary dimensions hardly turns from the first of all tiles to the prompt's end."""
    processor, model = train.build(RECIPES["regular"])
    frame = _frame(tmp_path)
    shown = make_tiled_example(frame, 168, range(64), 0, keep_positions=True)
    end = int(Packer(processor).pack([shown.slots], [shown.questions]).positions.max())
    assert end > 64 * 8
    assert end * float(model.model.language_model.rotary_emb.inv_freq.min()) < 0.1  # radians


def test_what_is_made_ahead_comes_in_order_and_whole() -> None:
    assert list(prefetch(lambda step: step * step, range(2, 30), 4)) == [n * n for n in range(2, 30)]
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda step: 1 // (5 - step), range(10), 3))


def test_practice_windows_hold_what_they_say() -> None:
    rng = np.random.default_rng(3)
    contents = []
    for kind in KINDS[1:] * 12:
        pixels, content = draw_window(kind, CROWNS, rng)
        assert pixels.shape == (WINDOW_PX, WINDOW_PX, 3)
        contents.append(content)
    targets = window_targets(contents)
    for number, kind in enumerate(KINDS[1:] * 12):
        assert (targets.kinds[number, ..., KINDS.index(kind)] == 1).all()
    planted = float(targets.rows[..., 1:].sum()) / (46 / 28) ** 2
    assert 30 < planted < 78  # half of 108 plots, within four standard deviations
    assert targets.centres[1::3].sum() == 0


def test_every_word_that_is_asked_or_answered_is_known() -> None:
    processor, _ = train.build(replace(RECIPES["compact"], vision_depth=1, text_depth=1))
    lines = (EO_MINI / "prompts.jsonl").read_text().splitlines()
    unknown = processor.tokenizer.unk_token_id
    for line in map(json.loads, lines):
        assert unknown not in processor.tokenizer(f"{line['prompt']} {line['truth']}")["input_ids"]
    assert len(set(vocabulary())) == len(vocabulary()) < 60


def test_a_patch_embedding_starts_as_waves_of_one_length() -> None:
    weight = torch.zeros(160, 3, 1, 14, 14)
    initialise_fourier(weight)
    flat = weight.reshape(160, -1)
    waves = flat[3:60]
    assert torch.allclose(waves.norm(dim=1), waves.norm(dim=1)[0].expand(57))
    across = (waves @ waves.T / waves[0].norm() ** 2 - torch.eye(57)).abs().max()
    assert across < 1e-4  # one wave's part is not another's
    # A stripe is seen by a wave's two phases together, whatever its own phase.
    seen = _stripe_strengths(flat)
    assert max(seen) < 1.1 * min(seen)


def _stripe_strengths(flat: torch.Tensor) -> list[float]:
    _, x = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
    strengths = []
    for phase in (0.0, 1.0, 2.0):
        stripe = torch.sin(2 * torch.pi * x / (14 / 3) + phase)
        strengths.append(float((flat[3:100] @ stripe.repeat(3, 1, 1).reshape(-1)).norm()))
    return strengths


@pytest.mark.parametrize("name", ["compact", "regular"])
def test_packed_questions_are_answered_as_if_each_were_alone(name: str, tmp_path: Path) -> None:
    """Several views, several questions: the stock path's pixels, and its logits."""
    torch.manual_seed(0)
    recipe = replace(RECIPES[name], vision_depth=2)
    training = _training(recipe, [_frame(tmp_path)], tmp_path)
    processor, stock = train.build(recipe)
    stock.load_state_dict(training.model.state_dict())
    training.model.eval()
    stock.eval()
    rng = np.random.default_rng(7)
    groups = [rng.integers(0, 255, (2, *shape, 3), dtype=np.uint8) for shape in ((112, 168), (56, 56))]
    packer = Packer(processor)
    slots = [ImageSlot(group.shape[1] // 28, group.shape[2] // 28) for group in groups]
    batch = packer.pack([slots, slots], [[SHIPS, DESERT], [DESERT]])
    where = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
    where[:, torch.from_numpy(packer.image_places(slots))] = True
    tensors = [torch.from_numpy(group) for group in groups]
    with torch.no_grad():
        seen = training.tower.encode(tensors)
        features = torch.cat(seen, dim=1).flatten(0, 1)
        packed = training.logits(batch, where, features)
    for frame, index, question in ((0, 0, SHIPS), (0, 1, DESERT), (1, 2, DESERT)):
        content: list[dict[str, Any]] = [
            {"type": "image", "image": Image.fromarray(group[frame])} for group in groups
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": [*content, _text(question)]}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        ours = torch.cat([training.tower.patches(group[frame : frame + 1]) for group in tensors])
        torch.testing.assert_close(inputs["pixel_values"], ours, atol=1e-5, rtol=0)
        with torch.no_grad():
            alone = stock(**inputs).logits[0, -1]
        torch.testing.assert_close(packed[2 * index], alone, atol=1e-4, rtol=1e-4)


def test_the_gaze_is_the_attention_of_the_model(tmp_path: Path) -> None:
    training = _training(RECIPES["compact"], [_frame(tmp_path)], tmp_path)
    training.model.eval()
    gaze = AttentionSupervision(training.model.model.language_model)
    view = np.random.default_rng(1).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    inputs = training.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": Image.fromarray(view)}, _text(SHIPS)]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    training.model.set_attn_implementation("eager")
    with torch.no_grad():
        output = training.model(**inputs, output_attentions=True)
        where = inputs["input_ids"] == training.model.config.image_token_id
        wanted = torch.zeros(1, SUPERVISED_HEADS, where.shape[1])
        wanted[0, :, torch.nonzero(where[0])[37]] = 1.0
        last = where.shape[1] - 1
        loss = gaze.loss(torch.tensor([[0, last]]), where, wanted)
    every = output.attentions[SUPERVISED_LAYER][0, :SUPERVISED_HEADS, last]
    share = every[:, where[0]][:, 37] / (every[:, where[0]].sum(dim=1) + every[:, 0])
    assert float(loss) == pytest.approx(float(-share.log().mean()), rel=1e-3)


def _text(question: Question) -> dict[str, Any]:
    return {"type": "text", "text": question.prompt}


def _training(recipe: Any, frames: list[TrainingFrame], folder: Path, **more: Any) -> train.Training:
    return train.Training(recipe, frames, _windows(6), folder / "model", **more)


def _windows(count: int) -> PretrainingWindows:
    rng = np.random.default_rng(5)
    drawn = [draw_window(kind, CROWNS, rng) for kind in (KINDS[1:] * count)[:count]]
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in drawn]))
    return PretrainingWindows(pixels, window_targets([content for _, content in drawn]))


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_SAVE_EVERY_STEPS", 1)
    recipe = replace(
        RECIPES["regular"],
        vision_depth=1,
        text_depth=2,
        vision_stages=(VisionStage(steps=2, frames_per_step=1, windows_per_step=3, window_px=84),),
        joint_stages=(JointStage(steps=2, frames_per_step=2, tiles=12),),
        language_stages=(
            LanguageStage(2, frames_per_step=2, cached_frames=2, cached_tiles=12, tiles=(9, 12)),
        ),
    )
    frames = [_frame(tmp_path, number) for number in range(2)]

    def interrupt(at: int) -> train.OnStep:
        def told(step: int, steps: int, losses: dict[str, float]) -> None:
            if step == at:
                raise KeyboardInterrupt

        return told

    def quietly(*_: Any) -> None:
        pass

    _training(recipe, frames, tmp_path / "whole").run(quietly)
    with pytest.raises(KeyboardInterrupt):
        _training(recipe, frames, tmp_path / "cut").run(interrupt(3))
    # What is saved is past Seeing: nothing looks at windows any more.
    folder = tmp_path / "cut/model"
    assert train.needs_windows(recipe, folder, resume=False)
    assert not train.needs_windows(recipe, folder, resume=True)
    with pytest.raises(KeyboardInterrupt):
        train.Training(recipe, frames, None, folder, resume=True).run(interrupt(6))
    progress = train.Training(recipe, frames, None, folder, resume=True).run(quietly)
    # Steps 3 and 6 were made and not yet saved.
    assert progress.resumed_at == [2, 5]
    cut, whole = tmp_path / "cut/model", tmp_path / "whole/model"
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert json.loads((cut / "training.json").read_text())["step"] == 6
    assert json.loads((cut / "views.json").read_text()) == {"tile_px": 168, "overview_px": OVERVIEW_PX}
    assert not (cut / "training-state.pt").exists()


@contextmanager
def _disk_that_ends_files_at(size_bytes: int) -> Iterator[None]:
    """For this process: what is written beyond it is refused, as by a full disk; what came before stays."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def test_what_was_written_before_stays_whole_when_the_disk_is_full(tmp_path: Path) -> None:
    """By default a training writes into the folder that ships."""
    recipe = replace(
        RECIPES["compact"],
        vision_depth=1,
        text_depth=2,
        vision_stages=(VisionStage(steps=1, frames_per_step=1),),
        joint_stages=(),
    )
    training = _training(recipe, [_frame(tmp_path)], tmp_path)
    training.run(lambda *_: None)
    folder = tmp_path / "model"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    half_bytes = {name: len(data) // 2 for name, data in before.items()}
    with _disk_that_ends_files_at(half_bytes["model.safetensors"]), pytest.raises((OSError, SafetensorError)):
        train.save_model(training.model, training.processor, recipe, folder)
    again = _training(recipe, [_frame(tmp_path)], tmp_path)
    with _disk_that_ends_files_at(half_bytes["training.json"]), pytest.raises(OSError, match="too large"):
        again.run(lambda *_: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_windows_are_drawn_for_a_stage_that_looks_at_them_and_is_not_over(tmp_path: Path) -> None:
    regular = RECIPES["regular"]
    later = replace(regular, vision_stages=(VisionStage(steps=5, frames_per_step=1), *regular.vision_stages))
    for step, recipe, wanted in (
        (0, RECIPES["compact"], False),
        (0, regular, True),
        (1400, regular, True),
        (1500, regular, False),
        (1500, later, True),
        (1505, later, False),
    ):
        torch.save({"progress": {"step": step}, "model": {}}, tmp_path / "training-state.pt")
        assert train.needs_windows(recipe, tmp_path, resume=True) == wanted, (step, recipe.name)
    (tmp_path / "training-state.pt").unlink()
    assert train.needs_windows(regular, tmp_path, resume=True), "there is nothing to go on from"


def test_recalling_leaves_the_tower_as_it_is_and_no_file(tmp_path: Path) -> None:
    recipe = replace(
        RECIPES["regular"],
        vision_depth=1,
        text_depth=2,
        vision_stages=(),
        joint_stages=(),
        language_stages=(LanguageStage(2, frames_per_step=1, cached_frames=1, cached_tiles=9, tiles=(8, 9)),),
    )
    training = _training(recipe, [_frame(tmp_path)], tmp_path)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run(lambda *_: None)
    changed = {name for name, value in training.model.state_dict().items() if (value != before[name]).any()}
    assert changed
    assert not {name for name in changed if ".visual." in name}
    assert not list((tmp_path / "model").glob("kept*"))


class _Evil:
    """A pickle that runs a command as it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_state_from_somebody_else_runs_nothing(tmp_path: Path) -> None:
    recipe, marker, folder = RECIPES["compact"], tmp_path / "was-run", tmp_path / "model"
    folder.mkdir()
    torch.save({"progress": {"step": 1}, "model": _Evil(marker)}, folder / "training-state.pt")
    with pytest.raises(UnpicklingError):
        train.needs_windows(recipe, folder, resume=True)
    with pytest.raises(UnpicklingError):
        _training(recipe, [_frame(tmp_path)], tmp_path, resume=True)
    assert not marker.exists()
