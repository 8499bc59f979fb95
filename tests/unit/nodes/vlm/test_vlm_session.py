"""Sessions, attention and images on the shipped pair's family and two others with random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from nodes.ask import main
from nodes.errors import ImageError
from nodes.lab.training.vocabulary import vocabulary
from nodes.lab.training.word_tokenizer import CHAT_TEMPLATE, build_tokenizer
from nodes.models import COMPACT
from nodes.vlm.image import LONGEST_SIDE_PX, open_image
from nodes.vlm.model import VisionLanguageModel, load_model
from nodes.vlm.token_grid import TokenGrid, frame_map
from tests.unit.nodes.vlm.conftest import open_frame
from tests.unit.nodes.vlm.test_vlm import _save_tiny_llava

PROMPT = "How many ships are on the water?"
TOKENS = 5
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def _save_tiny_idefics3(folder: Path) -> None:
    tokenizer = build_tokenizer([*vocabulary()])
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    marks = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tiles]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessorPil(
            size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
    )
    torch.manual_seed(0)
    network = transformers.Idefics3ForConditionalGeneration(
        transformers.Idefics3Config(
            vision_config={"image_size": 56, "patch_size": 14, **SIZES},
            text_config={"model_type": "llama", "vocab_size": len(tokenizer), "eos_token_id": 2, **SIZES},
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            scale_factor=2,
        )
    )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module", params=["qwen2_vl", "llava", "idefics3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "qwen2_vl":
        return load_model(COMPACT, threads=1)
    (_save_tiny_llava if request.param == "llava" else _save_tiny_idefics3)(folder)
    return load_model(folder, threads=1)


@pytest.fixture(scope="module")
def frame() -> Image.Image:
    return open_frame("e0002.jpg")


@contextmanager
def _no_end(model: VisionLanguageModel) -> Iterator[None]:
    """Let the model go on to the last token allowed, so that there is something to pause."""
    kept = model.network.generation_config.eos_token_id
    ends, model._end_tokens = model._end_tokens, set()
    model.network.generation_config.eos_token_id = None
    try:
        yield
    finally:
        model.network.generation_config.eos_token_id, model._end_tokens = kept, ends


@contextmanager
def _passes(model: VisionLanguageModel) -> Iterator[list[int]]:
    """Count the passes of the language model and of the vision tower."""
    counts = [0, 0]

    def count(which: int) -> Any:
        def add(*_: Any) -> None:
            counts[which] += 1

        return add

    hooks = [
        model.network.get_decoder().register_forward_pre_hook(count(0)),
        model.network.get_encoder(modality="image").register_forward_pre_hook(count(1)),
    ]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def test_paused_is_as_in_one_go_and_as_generate(model: VisionLanguageModel, frame: Image.Image) -> None:
    with _no_end(model):
        inputs = model.prepare(frame, PROMPT)
        plain = model.network.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        expected = plain[0, -TOKENS:].tolist()
        whole = model.answer(frame, PROMPT, max_new_tokens=TOKENS)
        with (
            model.begin(frame, PROMPT, max_new_tokens=TOKENS) as session,
            model.begin([frame, frame], "Is there any forest?", max_new_tokens=TOKENS) as other,
        ):
            assert session.tokens == []
            for _ in range(TOKENS):
                assert not session.finished
                session.decode(1)
                other.decode(1)
            paused, states = session.answer(), session.hidden_states
        with model.begin(frame, PROMPT, max_new_tokens=TOKENS) as session:
            session.decode()
            assert session.finished
            assert np.array_equal(session.hidden_states, states)
            assert session.answer().token_logprobs == paused.token_logprobs == whole.token_logprobs
    assert list(paused.token_ids) == list(whole.token_ids) == expected
    assert paused.text == whole.text
    assert len(states) == TOKENS
    head = model.network.get_output_embeddings()
    with torch.no_grad():
        assert head(torch.from_numpy(states)).argmax(-1).tolist() == expected


def test_a_stopped_session_saves_its_passes(model: VisionLanguageModel, frame: Image.Image) -> None:
    with _no_end(model), _passes(model) as counts:
        session = model.begin(frame, PROMPT, max_new_tokens=TOKENS)
        seen = counts[1]
        assert counts[0] == 0 < seen
        session.decode(2)
        assert counts == [2, seen]
        session.decode()
        assert counts == [TOKENS, seen]


def test_visual_features_are_finite_and_repeat(model: VisionLanguageModel, frame: Image.Image) -> None:
    first = model.begin(frame, PROMPT).visual_features
    assert np.isfinite(first).all()
    assert np.array_equal(first, model.begin(frame, "Is there any forest?").visual_features)
    assert not np.array_equal(first, model.begin(open_frame("e0005.jpg"), PROMPT).visual_features)


def test_attention_is_whole_and_leaves_answers_alone(model: VisionLanguageModel, frame: Image.Image) -> None:
    before = model.answer(frame, PROMPT, max_new_tokens=3)
    session = model.begin(
        [frame, frame.crop((0, 0, 224, 224))], PROMPT, boxes=[(0, 0, 448, 448), (0, 0, 224, 224)]
    )
    rows = session.attention(all_keys=True)
    part = session.attention()
    assert np.allclose(rows.sum(-1), 1, atol=1e-4)
    assert part.shape[:3] == rows.shape[:3]
    assert part.shape[3] == sum(grid.rows * grid.columns for grid in session.grids)
    assert session.grids[-1].box == (0, 0, 224, 224)
    weights = part.mean(axis=(0, 1, 2))
    assert frame_map(weights, session.grids, 448, 448).sum() == pytest.approx(weights.sum(), rel=1e-5)
    assert model.answer(frame, PROMPT, max_new_tokens=3).token_logprobs == before.token_logprobs


def test_one_token_is_drawn_where_it_looks() -> None:
    grids = [TokenGrid((0, 0, 40, 20), 2, 4), TokenGrid((20, 10, 40, 20), 1, 1)]
    weights = np.zeros(9)
    weights[6] = 1.0
    heat = frame_map(weights, grids, 40, 20)
    assert heat[10:, 20:30].sum() == pytest.approx(1)
    weights[:] = 0
    weights[8] = 2.0
    assert frame_map(weights, grids, 40, 20)[10:, 20:].sum() == pytest.approx(2)
    with pytest.raises(ValueError, match="8 weights for 9"):
        frame_map(weights[:8], grids, 40, 20)


def test_odd_images_are_answered(tmp_path: Path, model: VisionLanguageModel) -> None:
    deep = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    images = {
        "one.png": Image.new("RGB", (1, 1)),
        "cmyk.jpg": Image.new("CMYK", (64, 64), (200, 10, 10, 0)),
        "deep.png": deep,
        "long.png": Image.new("L", (20_000, 300)),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
        opened = open_image(tmp_path / name)
        assert opened.mode == "RGB"
        assert max(opened.size) <= LONGEST_SIDE_PX
        assert np.isfinite(model.answer(opened, PROMPT, max_new_tokens=1).confidence)
    spread = np.asarray(open_image(tmp_path / "deep.png"))
    assert (spread.min(), spread.max()) == (0, 255)


def test_a_rotated_image_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (80, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (40, 80)


def test_what_is_no_usable_image_gives_one_line(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    Image.new("1", (12_000, 10_000)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image")
    open_frame("e0002.jpg").save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    for name, expected in (
        ("huge.png", "megapixels"),
        ("large.png", "megapixels"),
        ("text.png", "cannot be read"),
        ("cut.jpg", "cannot be read"),
        ("none.png", "no image"),
    ):
        with pytest.raises(ImageError, match=expected) as raised:
            open_image(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_ask_prints_and_draws(tmp_path: Path, frame: Image.Image, capsys: pytest.CaptureFixture[str]) -> None:
    frame.save(tmp_path / "frame.png")
    arguments = [str(COMPACT), str(tmp_path / "frame.png"), PROMPT, "--tokens", "4"]
    assert main([*arguments, "--json", "--attention", str(tmp_path / "looked.png")]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = load_model(COMPACT).answer(frame, PROMPT, max_new_tokens=4)
    assert result["answer"] == expected.text
    assert result["confidence"] == pytest.approx(expected.confidence, rel=1e-4)
    assert result["warm_up_s"] > 0
    assert result["peak_memory"]["size_bytes"] > 10e6
    assert main([*arguments, "--json", "--cold"]) == 0
    assert json.loads(capsys.readouterr().out)["warm_up_s"] is None
    with Image.open(tmp_path / "looked.png") as drawing:
        assert min(drawing.size) > 500
    assert "right" not in result
    assert main([*arguments, "--truth", "nonsense", "--truth", f" {expected.text.upper()}."]) == 0
    shown = capsys.readouterr().out
    assert expected.text in shown
    assert re.search(r"right\W+yes", shown)
    assert main([*arguments, "--truth", "nonsense", "--json", "--cold"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] is False


def test_ask_refuses_in_one_line(
    tmp_path: Path, model_copy: Path, frame: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    frame.save(tmp_path / "frame.png")
    (model_copy / "model.safetensors").write_bytes((model_copy / "model.safetensors").read_bytes()[:-9])
    for model, image in ((model_copy, "frame.png"), (tmp_path / "no", "frame.png"), (COMPACT, "no.png")):
        assert main([str(model), str(tmp_path / image), PROMPT]) == 2
        errors = capsys.readouterr().err
        assert errors.startswith("spaceverse: error: ")
        assert errors.count("\n") == 1
