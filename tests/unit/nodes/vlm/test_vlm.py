from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from nodes.errors import ModelError
from nodes.lab.training.evaluate import read_rows
from nodes.lab.training.vocabulary import vocabulary
from nodes.lab.training.word_tokenizer import CHAT_TEMPLATE, build_tokenizer
from nodes.models import COMPACT, REGULAR
from nodes.vlm.model import VisionLanguageModel, load_model
from tests.unit.nodes.vlm.conftest import open_frame, read_prompts

PROMPT = "How many ships are on the water?"


@pytest.fixture(scope="module")
def frame() -> Image.Image:
    return open_frame("e0002.jpg")


@pytest.mark.parametrize("which", ["compact", "regular"])
def test_equal_questions_have_equal_answers(
    which: str, frame: Image.Image, request: pytest.FixtureRequest
) -> None:
    model: VisionLanguageModel = request.getfixturevalue(which)
    first = model.answer(frame, PROMPT, max_new_tokens=4)
    model.answer(open_frame("e0005.jpg"), "Is there any forest in this image?", max_new_tokens=4)
    again = model.answer(frame, PROMPT, max_new_tokens=4)
    assert first.text
    assert (first.text, first.token_ids, first.token_logprobs) == (
        again.text,
        again.token_ids,
        again.token_logprobs,
    )


def test_logprobs_are_those_of_a_plain_forward_pass(compact: VisionLanguageModel, frame: Image.Image) -> None:
    answer = compact.answer(frame, PROMPT, max_new_tokens=4)
    network = transformers.AutoModelForImageTextToText.from_pretrained(COMPACT, dtype=torch.float32)
    inputs = compact.prepare(frame, PROMPT)
    with torch.no_grad():
        logprobs = network(**inputs).logits[0, -1].log_softmax(-1)
    assert answer.token_ids[0] == int(logprobs.argmax())
    assert answer.token_logprobs[0] == pytest.approx(float(logprobs.max()), abs=1e-5)


def test_confidence_is_the_geometric_mean_and_leaves_out_the_end(
    compact: VisionLanguageModel, frame: Image.Image
) -> None:
    answer = compact.answer(frame, PROMPT, max_new_tokens=4)
    assert len(answer.token_ids) == len(answer.token_logprobs) == len(answer.text.split())
    product = math.prod(math.exp(value) for value in answer.token_logprobs)
    assert answer.confidence == pytest.approx(product ** (1 / len(answer.token_logprobs)))
    assert 0 < answer.confidence <= 1


def test_timings_are_positive_and_sum_to_the_call(compact: VisionLanguageModel, frame: Image.Image) -> None:
    unaccounted_s = []
    for _ in range(5):
        start_s = time.perf_counter()
        timings = compact.answer(frame, PROMPT, max_new_tokens=4).timings
        unaccounted_s.append(time.perf_counter() - start_s - timings.total_s)
        parts = (timings.preprocess_s, timings.vision_s, timings.prefill_s, timings.decode_s)
        assert all(part > 0 for part in parts)
        assert timings.total_s == pytest.approx(sum(parts))
    assert 0 <= min(unaccounted_s) < 0.002


def test_vision_time_is_the_towers(regular: VisionLanguageModel, compact: VisionLanguageModel) -> None:
    """A hundred times the patches: vision must take longer."""
    frame = open_frame("e0002.jpg")
    small = min(compact.answer(frame, PROMPT, max_new_tokens=2).timings.vision_s for _ in range(3))
    large = regular.answer(frame, PROMPT, max_new_tokens=2).timings.vision_s
    assert large > 10 * small


def test_a_frame_is_shown_in_tiles_where_the_folder_says_so(
    regular: VisionLanguageModel, frame: Image.Image
) -> None:
    """What `views.json` asks for is what a user would give by hand, and the real Qwen2-VL takes too."""
    assert regular.views is not None
    tiles = [
        frame.crop((left, top, left + 168, top + 168))
        for top in range(0, 1344, 168)
        for left in range(0, 1344, 168)
    ]
    by_hand = [*tiles, frame.resize((224, 224), Image.Resampling.BICUBIC)]
    asked = regular.prepare(frame, PROMPT)
    assert asked["image_grid_thw"].tolist() == [[1, 24, 24]] * 64 + [[1, 32, 32]]
    assert torch.equal(asked["pixel_values"], regular.prepare(by_hand, PROMPT)["pixel_values"])
    with regular.begin(frame, PROMPT) as session:
        assert session.grids[9].box == (168, 168, 336, 336)
        assert session.grids[-1].box == (0, 0, 1344, 1344)


def test_few_images_at_once_are_seen_as_all_together(
    regular: VisionLanguageModel, frame: Image.Image
) -> None:
    """The tower's calls, their features, and the answer's logits are those of the untouched network."""
    calls: list[int] = []
    handle = regular.network.model.visual.register_forward_pre_hook(lambda *given: calls.append(1))
    inputs = regular.prepare(frame, PROMPT)
    base = regular.network.base_model
    try:
        with torch.no_grad():
            few = base.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
            parts = len(calls)
            untouched = type(base).get_image_features
            whole = untouched(base, inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True)
    finally:
        handle.remove()
    assert (parts, len(calls)) == (4, 5)
    assert len(few.pooler_output) == len(whole.pooler_output) == 65
    for one, other in zip(few.pooler_output, whole.pooler_output, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_several_images_in_one_prompt(regular: VisionLanguageModel, frame: Image.Image) -> None:
    tile, overview = frame.crop((0, 0, 168, 168)), frame.resize((224, 224))
    one = regular.prepare([overview], PROMPT)
    two = regular.prepare([tile, overview], PROMPT)
    assert len(two["image_grid_thw"]) == 2
    assert two["input_ids"].shape[1] > one["input_ids"].shape[1]
    assert regular.answer([tile, overview], PROMPT, max_new_tokens=2).token_logprobs


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_any_colour_mode_is_answered(compact: VisionLanguageModel, frame: Image.Image, mode: str) -> None:
    assert compact.answer(frame.convert(mode), PROMPT, max_new_tokens=2).token_ids


def test_max_new_tokens_is_kept(compact: VisionLanguageModel, frame: Image.Image) -> None:
    assert len(compact.answer(frame, PROMPT, max_new_tokens=1).token_ids) == 1


def test_what_cannot_be_loaded_gives_one_line(model_copy: Path) -> None:
    config = (model_copy / "config.json").read_text()
    (model_copy / "config.json").write_text(
        config.replace('"model_type": "qwen2_vl"', '"model_type": "no_such_vl"')
    )
    with pytest.raises(ModelError, match="cannot load") as raised:
        load_model(model_copy)
    assert "\n" not in str(raised.value)


def _save_tiny_llava(folder: Path) -> None:
    tokenizer = build_tokenizer([*vocabulary()])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    size = {"height": 56, "width": 56}
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",  # noqa: S106 - a token, no secret
        chat_template=CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
    )
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    network = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config={"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14, **sizes},
            text_config={"model_type": "llama", "vocab_size": len(tokenizer), "eos_token_id": 2, **sizes},
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        )
    )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_another_family_answers_too(tmp_path: Path, frame: Image.Image) -> None:
    """LLaVA (CLIP and Llama) with random weights: nothing here may be tied to Qwen2-VL."""
    _save_tiny_llava(tmp_path)
    model = load_model(tmp_path)
    answer = model.answer(frame, PROMPT, max_new_tokens=3)
    assert model.has_vision_tower
    assert answer.timings.vision_s > 0
    assert len(answer.token_logprobs) == len(answer.token_ids) > 0
    network = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path)
    with torch.no_grad():
        logprobs = network(**model.prepare(frame, PROMPT)).logits[0, -1].log_softmax(-1)
    assert answer.token_logprobs[0] == pytest.approx(float(logprobs[answer.token_ids[0]]), abs=1e-4)


def test_the_pair_answers_as_its_evaluation_says(
    compact: VisionLanguageModel, regular: VisionLanguageModel
) -> None:
    """Asked again, a tenth of the prompts (of the regular model fewer) have the answers in evaluation.csv."""
    prompts = read_prompts()
    for model, folder, step in ((compact, COMPACT, 11), (regular, REGULAR, 45)):
        known = {(row.frame, row.prompt): row.answer for row in read_rows(folder / "evaluation.csv")}
        same = []
        for asked in prompts[::step]:
            answer = model.answer(open_frame(asked["image"]), asked["prompt"], max_new_tokens=4)
            same.append(answer.text == known[asked["frame"], asked["prompt"]])
        # Two machines may round a near tie apart.
        assert sum(same) >= len(same) - 1
