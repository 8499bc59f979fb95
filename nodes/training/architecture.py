"""The two models: how large they are, what they are shown, how long they learn; and their configuration.

The only departure from Qwen2-VL's own values beside size: rotary bases fit for grids of 8 to 24 cells (with
the original 10^6 the horizontal position all but vanishes), and one temporal slice per patch, as there is no
video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import Qwen2VLConfig

from nodes.training.frames import OVERVIEW_PX
from nodes.views import Views

PATCH_PX = 14
TOKEN_PX = 2 * PATCH_PX
TILE_PX = 336
_HEAD_DIM = 32


@dataclass(frozen=True)
class Seeing:
    """A stretch in which the vision tower learns alone: what lies under each image token.

    crop_px: side of the native crops around fine content, or TILE_PX for the tiles as they will be shown;
    0: overviews only. practice: windows of each fine kind that are drawn anew, beside the frames'.
    """

    steps: int
    frames_per_step: int
    crop_px: int
    practice: int = 0
    peak_rate: float = 1.5e-3


@dataclass(frozen=True)
class Reading:
    """A stretch in which the language model learns to answer; the tower is fixed and sees each frame once.

    frames: how many are looked at, at most. tiles: native tiles of each, those with fine content first; what
    lies in none of them is not asked.
    """

    frames: int
    tiles: int
    steps: int
    frames_per_step: int
    peak_rate: float = 1.2e-3


@dataclass(frozen=True)
class Recipe:
    """One model: its sizes, and how it learns."""

    name: str
    vision_dim: int
    vision_depth: int
    text_dim: int
    text_depth: int
    seeings: tuple[Seeing, ...]
    readings: tuple[Reading, ...]

    @property
    def views(self) -> Views:
        """How it is shown a frame: in tiles if it learnt from tiles."""
        return Views(TILE_PX if any(reading.tiles for reading in self.readings) else None, OVERVIEW_PX)

    @property
    def largest_px(self) -> int:
        """Side of the largest image that it takes."""
        return self.views.tile_px or OVERVIEW_PX


_REGULAR = {"vision_dim": 160, "vision_depth": 4, "text_dim": 160, "text_depth": 4}
RECIPES = {
    "compact": Recipe(
        name="compact",
        vision_dim=128,
        vision_depth=4,
        text_dim=128,
        text_depth=3,
        seeings=(Seeing(steps=700, frames_per_step=32, crop_px=0),),
        readings=(Reading(frames=6400, tiles=0, steps=1000, frames_per_step=64),),
    ),
    "regular": Recipe(
        name="regular",
        **_REGULAR,
        seeings=(
            Seeing(steps=2400, frames_per_step=4, crop_px=168, practice=3),
            Seeing(steps=240, frames_per_step=3, crop_px=TILE_PX, peak_rate=4e-4),
        ),
        readings=(
            Reading(frames=1800, tiles=3, steps=260, frames_per_step=12),
            Reading(frames=4800, tiles=1, steps=500, frames_per_step=32),
            Reading(frames=2400, tiles=1, steps=300, frames_per_step=32),
            Reading(frames=80, tiles=16, steps=60, frames_per_step=2, peak_rate=3e-4),
        ),
    ),
    # The control: the regular model's size, the compact model's pixels.
    "regular-reduced": Recipe(
        name="regular-reduced",
        **_REGULAR,
        seeings=(Seeing(steps=700, frames_per_step=32, crop_px=0),),
        readings=(Reading(frames=6400, tiles=0, steps=1000, frames_per_step=64),),
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
            "patch_size": PATCH_PX,
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
            "max_position_embeddings": 8192,
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
