"""The pair's processor: a word-level tokenizer with Qwen2-VL's control tokens, and an image processor.

All classes are stock, so `AutoProcessor.from_pretrained(folder)` loads it without code of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessorPil, Qwen2VLProcessor

from nodes.vlm.processor import without_video

CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_UNKNOWN = "<|unknown|>"
_ROLES = ("system", "user", "assistant")

# As in Qwen2-VL: the turns of a conversation, and one placeholder per image that the processor expands.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(
    words: Sequence[str], *, largest_px: int, patch_px: int, merge: int, names: Sequence[str] = ()
) -> Any:
    """Build a Qwen2VLProcessor with this vocabulary that limits images to `largest_px` squared pixels.

    Images keep their aspect ratio; small ones keep about their size, but are at least one token wide. Each of
    `names` is one token, wherever it stands.
    """
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=patch_px,
        temporal_patch_size=1,
        merge_size=merge,
        size={"shortest_edge": (merge * patch_px) ** 2, "longest_edge": largest_px * largest_px},
    )
    return without_video(Qwen2VLProcessor)(
        image_processor, build_tokenizer(words, names), chat_template=CHAT_TEMPLATE
    )


def build_tokenizer(words: Sequence[str], names: Sequence[str] = ()) -> Any:
    """Build a stock fast tokenizer: lower case, split at white space and punctuation, one token per word."""
    entries = dict.fromkeys((*CONTROL_TOKENS, _UNKNOWN, *_ROLES, *words, *names))
    indices = {word: index for index, word in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(indices, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    stock: Any = PreTrainedTokenizerFast  # untyped in transformers
    return stock(
        tokenizer_object=tokenizer,
        unk_token=_UNKNOWN,
        pad_token="<|endoftext|>",  # noqa: S106 - a token, no secret
        eos_token="<|im_end|>",  # noqa: S106 - a token, no secret
        additional_special_tokens=[*CONTROL_TOKENS[1:], *names],
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
