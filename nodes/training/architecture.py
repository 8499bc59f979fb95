"""The two models: sizes and stages of learning, and their Qwen2-VL configuration.

The only departure from Qwen2-VL's own values beside size: rotary bases fit for grids of 8 to 32 cells (with
the original 10^6 the horizontal position all but vanishes), and one temporal slice per patch, as there is no
video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import Qwen2VLConfig

_HEAD_DIM = 32


@dataclass(frozen=True)
class Stage:
    """A stretch of training on frames of one size, at the scale of the full frame."""

    frame_px: int
    steps: int
    frames_per_step: int

    @property
    def work_px(self) -> int:
        """Pixels seen in one step."""
        return self.frames_per_step * self.frame_px**2


@dataclass(frozen=True)
class Reading:
    """A last stretch in which the language model alone learns, on frames that the vision tower saw once.

    Far cheaper than a full step at full size: what is missing by then is reading image tokens, not seeing.
    """

    frames: int
    steps: int
    frames_per_step: int
    questions_per_frame: int
    peak_rate: float


@dataclass(frozen=True)
class Recipe:
    """One model: its sizes and how it is trained.

    `reduce` is how many times a frame is reduced before the model sees it (the processor does it at
    inference).
    """

    name: str
    reduce: int
    patch_px: int
    vision_dim: int
    vision_depth: int
    text_dim: int
    text_depth: int
    stages: tuple[Stage, ...]
    peak_rate: float
    questions_per_frame: int = 8
    reading: Reading | None = None

    @property
    def token_px(self) -> int:
        """Side of the square of the full frame that one image token stands for, in pixels of the frame."""
        return 2 * self.patch_px * self.reduce


RECIPES = {
    "compact": Recipe(
        name="compact",
        reduce=4,
        patch_px=7,
        vision_dim=128,
        vision_depth=4,
        text_dim=128,
        text_depth=3,
        stages=(Stage(frame_px=448, steps=800, frames_per_step=16),),
        peak_rate=1.5e-3,
    ),
    "regular": Recipe(
        name="regular",
        reduce=1,
        patch_px=14,
        vision_dim=192,
        vision_depth=4,
        text_dim=192,
        text_depth=4,
        stages=(
            Stage(frame_px=112, steps=600, frames_per_step=24),
            Stage(frame_px=224, steps=160, frames_per_step=12),
            Stage(frame_px=448, steps=240, frames_per_step=6),
        ),
        peak_rate=1.2e-3,
        questions_per_frame=5,
        reading=Reading(frames=320, steps=240, frames_per_step=8, questions_per_frame=12, peak_rate=8e-4),
    ),
}


def build_config(recipe: Recipe, tokenizer: Any) -> Any:
    """Return the Qwen2VLConfig of a recipe for a tokenizer's vocabulary."""
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in _CONTROL_IDS}
    heads = recipe.text_dim // _HEAD_DIM
    config = Qwen2VLConfig(
        vision_config={
            "depth": recipe.vision_depth,
            "embed_dim": recipe.vision_dim,
            "hidden_size": recipe.text_dim,
            "num_heads": recipe.vision_dim // _HEAD_DIM,
            "patch_size": recipe.patch_px,
            "temporal_patch_size": 1,
            "spatial_merge_size": 2,
            "hidden_act": "gelu",  # one fused operation; quick_gelu took a tenth of the training time
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": recipe.text_dim,
            "intermediate_size": recipe.text_dim * 3,
            "num_hidden_layers": recipe.text_depth,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 4096,
            "bos_token_id": None,
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [4, 6, 6]},
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True,
    )
    config.eos_token_id = ids["im_end"]
    config.pad_token_id = ids["endoftext"]
    return config


_CONTROL_IDS = ("endoftext", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
