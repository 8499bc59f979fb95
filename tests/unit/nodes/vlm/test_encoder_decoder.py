"""A family with an encoder and a decoder (Florence-2, random weights): answers and pauses."""

from __future__ import annotations

import pytest
import torch
import transformers
from PIL import Image

from nodes.lab.training.vocabulary import vocabulary
from nodes.lab.training.word_tokenizer import build_tokenizer
from nodes.vlm.model import VisionLanguageModel, load_model

PROMPT = "How many ships are on the water?"
TOKENS = 4
SIDE_PX, IMAGE_TOKENS = 64, 65


@pytest.fixture(scope="module")
def florence(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    folder = tmp_path_factory.mktemp("florence2")
    words = build_tokenizer([*vocabulary()])
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    words.save_pretrained(folder)
    marks = {"bos_token": "<|im_start|>", "extra_special_tokens": {"image_token": "<image>"}}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **marks)
    size = {"height": SIDE_PX, "width": SIDE_PX}
    processor = transformers.Florence2Processor(
        image_processor=transformers.CLIPImageProcessorPil(
            size=size, crop_size=size, image_seq_length=IMAGE_TOKENS
        ),
        tokenizer=tokenizer,
    )
    towers = {
        "embed_dim": [16, 32],
        "num_heads": [2, 4],
        "num_groups": [2, 4],
        "depths": [1, 1],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "window_size": 4,
        "projection_dim": 32,
    }
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": 32,
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.bos_token_id,
        "max_position_embeddings": 256,
    }
    torch.manual_seed(0)
    network = transformers.Florence2ForConditionalGeneration(
        transformers.Florence2Config(
            vision_config=towers, text_config=text, image_token_id=tokenizer.image_token_id
        )
    )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    model = load_model(folder, threads=1)
    model._end_tokens, model.network.generation_config.eos_token_id = (
        set(),
        None,
    )  # there is something to pause
    return model


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.effect_noise((90, 60), 60).convert("RGB")


def test_paused_is_as_in_one_go(florence: VisionLanguageModel, picture: Image.Image) -> None:
    passes = {"text": 0, "vision": 0}

    def count(which: str) -> None:
        passes[which] += 1

    hooks = [
        florence.network.get_encoder().register_forward_pre_hook(lambda *_: count("text")),
        florence.network.get_encoder(modality="image").register_forward_pre_hook(lambda *_: count("vision")),
    ]
    session = florence.begin(picture, PROMPT, max_new_tokens=TOKENS)
    for _ in range(TOKENS):
        assert not session.finished
        session.decode(1)
    for hook in hooks:
        hook.remove()
    assert passes == {"text": 1, "vision": 1}
    paused, whole = session.answer(), florence.answer(picture, PROMPT, max_new_tokens=TOKENS)
    assert paused.token_ids == whole.token_ids
    assert len(set(whole.token_ids)) > 1  # the family forces the last token allowed to be the end
    assert paused.token_logprobs == pytest.approx(whole.token_logprobs, abs=1e-5)
    inputs = florence.prepare(picture, PROMPT)
    start = torch.tensor([[florence.network.config.text_config.decoder_start_token_id]])
    with torch.no_grad():
        logprobs = florence.network(**inputs, decoder_input_ids=start).logits[0, -1].log_softmax(-1)
    assert whole.token_logprobs[0] == pytest.approx(float(logprobs[whole.token_ids[0]]), abs=1e-5)
    assert session.hidden_states.shape == (TOKENS, 32)
    assert whole.timings.vision_s > 0


def test_what_it_cannot_do_is_said(florence: VisionLanguageModel, picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="2 images, but florence2 takes one"):
        florence.answer([picture, picture], PROMPT)
    with pytest.raises(ValueError, match="an encoder and a decoder"):
        florence.begin(picture, PROMPT).attention()


def test_warm_up_and_memory_are_counted(florence: VisionLanguageModel, picture: Image.Image) -> None:
    assert florence.warm_up() > 0
    memory = florence.answer(picture, PROMPT, max_new_tokens=1).peak_memory
    assert memory is not None
    weights_bytes = sum(w.numel() * w.element_size() for w in florence.network.parameters())
    assert memory.size_bytes > weights_bytes
    assert "resident" in memory.of
