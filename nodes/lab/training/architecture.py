"""Model sizes, training recipes, and transformers configurations of the pair.

Departures from Qwen2-VL's own values besides size:

* One temporal slice per patch, as there is no video.
* Patches of 7 px for the regular model, of which 4 x 4 make the usual token of 28 px: the objects to count
  are 11 px long and 3 px wide, and larger patches blur them.
* The base of the rotary embedding fits the distances between positions. In the 8 x 8 cells of an overview a
  base of 10 separates positions; with the original 10^6 the horizontal position all but vanishes. Tiles lie
  up to 64 x 8 positions before the prompt: with a base of 10 even the slowest pair of dimensions wraps around
  several times, and the prompt cannot attend to content independently of its position. The shipped regular
  model has a base of 10 nevertheless.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers import Qwen2VLConfig

from nodes.lab.eo_mini.windows import WINDOW_PX
from nodes.lab.training.examples.frames import OVERVIEW_PX, TOKEN_PX
from nodes.vlm.views import Views

_HEAD_DIM = 32


@dataclass(frozen=True)
class VisionStage:
    """Training of the vision tower alone, on dense targets.

    Attributes:
        frames_per_step: Number of overviews per step.
        windows_per_step: Number of windows of fine content per step (`examples.pretraining_windows`).
        window_px: Side of the crop of each window; the cost of a window is mostly attention among patches.
        peak_rate: Peak learning rate.
    """

    steps: int
    frames_per_step: int
    windows_per_step: int = 0
    window_px: int = WINDOW_PX
    peak_rate: float = 1.5e-3


@dataclass(frozen=True)
class JointStage:
    """Training of vision tower and language model together, on answers, dense targets and attention.

    Attributes:
        tiles: Full-resolution tiles of each frame before its overview; tiles with complete contents first.
    """

    steps: int
    frames_per_step: int
    tiles: int
    peak_rate: float = 1.0e-3


@dataclass(frozen=True)
class LanguageStage:
    """Training of the language model alone, on cached features of the vision tower.

    Attributes:
        cached_frames: Number of frames in the cache.
        cached_tiles: Number of tiles of each cached frame.
        tiles: Least and greatest number of those tiles in an example; equal for all frames of a step, tiles
            with complete contents first.
    """

    steps: int
    frames_per_step: int
    cached_frames: int
    cached_tiles: int
    tiles: tuple[int, int]
    peak_rate: float = 1.0e-3


@dataclass(frozen=True)
class Recipe:
    """Sizes and training stages of one model.

    Attributes:
        token_px: Side of an image token.
        overview_px: Longest side of the overview.
        places: Whether the overview is cut into tiles, and each tile's place is named (`nodes.vlm.views`).
    """

    name: str
    patch_px: int
    vision_dim: int
    vision_depth: int
    text_dim: int
    text_depth: int
    text_rotary_base: float
    tile_px: int | None
    vision_stages: tuple[VisionStage, ...]
    joint_stages: tuple[JointStage, ...]
    language_stages: tuple[LanguageStage, ...]
    token_px: int = TOKEN_PX
    overview_px: int = OVERVIEW_PX
    places: bool = False

    @property
    def views(self) -> Views:
        """Views of a frame that the model takes as input."""
        return Views(self.tile_px, self.overview_px, self.places)

    @property
    def merge(self) -> int:
        """Patches per side of an image token."""
        return self.token_px // self.patch_px


_REGULAR = Recipe(
    name="regular",
    patch_px=7,
    vision_dim=64,
    vision_depth=4,
    text_dim=128,
    text_depth=4,
    text_rotary_base=1e5,
    tile_px=168,
    vision_stages=(VisionStage(steps=1500, frames_per_step=32, windows_per_step=256),),
    joint_stages=(
        JointStage(steps=1000, frames_per_step=32, tiles=16),
        JointStage(steps=374, frames_per_step=32, tiles=64, peak_rate=5e-4),
    ),
    language_stages=(),
)
# For models whose input is the overview alone.
_OVERVIEW_VISION = (VisionStage(steps=700, frames_per_step=32),)
_OVERVIEW_JOINT = (JointStage(steps=1000, frames_per_step=64, tiles=0),)
RECIPES = {
    "compact": Recipe(
        name="compact",
        patch_px=14,
        vision_dim=128,
        vision_depth=4,
        text_dim=128,
        text_depth=3,
        text_rotary_base=10.0,
        tile_px=None,
        vision_stages=_OVERVIEW_VISION,
        joint_stages=_OVERVIEW_JOINT,
        language_stages=(),
    ),
    "regular": _REGULAR,
    # The control: the regular model's size, the compact model's pixels.
    "regular-reduced": replace(
        _REGULAR,
        name="regular-reduced",
        tile_px=None,
        vision_stages=_OVERVIEW_VISION,
        joint_stages=_OVERVIEW_JOINT,
    ),
}
# The regular model without an accelerator: small steps, and most of the language model's training on cached
# features. The joint stage stays: without it a language model learns little from the tower's features.
CPU_RECIPES = {
    "regular": replace(
        _REGULAR,
        vision_stages=(
            VisionStage(steps=8000, frames_per_step=1, windows_per_step=16, window_px=84),
            VisionStage(steps=600, frames_per_step=8, windows_per_step=8, peak_rate=7e-4),
        ),
        joint_stages=(JointStage(steps=1000, frames_per_step=4, tiles=4, peak_rate=7e-4),),
        language_stages=(
            LanguageStage(3000, frames_per_step=4, cached_frames=4000, cached_tiles=16, tiles=(4, 16)),
            LanguageStage(
                1400, frames_per_step=4, cached_frames=1200, cached_tiles=64, tiles=(8, 64), peak_rate=8e-4
            ),
        ),
    )
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
            "spatial_merge_size": recipe.merge,
            "hidden_act": "gelu",  # one fused operation; quick_gelu is slower
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": recipe.text_dim,
            "intermediate_size": recipe.text_dim * 3,
            "num_hidden_layers": recipe.text_depth,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 8192,
            "bos_token_id": None,
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": recipe.text_rotary_base,
                "mrope_section": [4, 6, 6],
            },
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
