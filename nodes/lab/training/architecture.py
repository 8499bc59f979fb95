"""The two models: how large they are, what they are shown, how long they learn; and their configuration.

Departures from Qwen2-VL's own values beside size: rotary bases, below; one temporal slice per patch, as there
is no video; and for the regular model patches of 7 px, of which 4 x 4 make a token of the usual 28 px. What
it counts is 11 px long and 3 px wide. In a minute on one GPU, with windows of fine content, a tower of 4 x 64
on such patches counted 82 % of held-out windows rightly, one of 3 x 96 80 %, and one of 4 x 192 on patches of
14 px, three times as large, 76 %.

A rotary base fits how far apart the positions are. Among the 8 x 8 cells of an overview 10 keeps them apart
(with the original 10^6 the horizontal position all but vanishes). Tiles lie up to 64 x 8 positions before the
prompt: with 10 even the slowest pair of dimensions turns nine times on the way, and nothing can be looked for
by what it is, wherever it is. A language model that began anew, shown 8 to 16 tiles as a trained tower had
seen them, answered of the fine prompts that it was learning from after 2,000 frames 84 % with a base of 10^3
and 86 % with 10^5; after 1,400 frames 66 % with 10^6; and with 10 after 3,800 frames 24 %. The regular model
that ships is of before that was known: its base is 10.
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
class Seeing:
    """A stretch in which the vision tower learns alone: what lies under each image token.

    frames_per_step: overviews. windows_per_step: of fine content, fuller than those of frames (`practice`).
    window_px: what is cut out of each; attention among its patches is most of what a whole one costs.
    """

    steps: int
    frames_per_step: int
    windows_per_step: int = 0
    window_px: int = WINDOW_PX
    peak_rate: float = 1.5e-3


@dataclass(frozen=True)
class Reading:
    """A stretch in which both learn, the language model to answer and to look at what a prompt is about.

    tiles: native tiles of each frame that are shown before its overview; those of whole contents first.
    """

    steps: int
    frames_per_step: int
    tiles: int
    peak_rate: float = 1.0e-3


@dataclass(frozen=True)
class Recalling:
    """A stretch in which the language model alone learns, of frames that the tower has looked at (`kept`).

    of_frames: how many are looked at. kept_tiles: of each. tiles: the fewest and the most that are shown of
    them before the overview; as many for all frames of a step, those of whole contents first.
    """

    steps: int
    frames_per_step: int
    of_frames: int
    kept_tiles: int
    tiles: tuple[int, int]
    peak_rate: float = 1.0e-3


@dataclass(frozen=True)
class Recipe:
    """One model: its sizes, and how it learns."""

    name: str
    patch_px: int
    vision_dim: int
    vision_depth: int
    text_dim: int
    text_depth: int
    text_rotary_base: float
    tile_px: int | None
    seeings: tuple[Seeing, ...]
    readings: tuple[Reading, ...]
    recallings: tuple[Recalling, ...]

    @property
    def views(self) -> Views:
        """How it is shown a frame."""
        return Views(self.tile_px, OVERVIEW_PX)

    @property
    def merge(self) -> int:
        """Patches a side of an image token."""
        return TOKEN_PX // self.patch_px


_REGULAR = Recipe(
    name="regular",
    patch_px=7,
    vision_dim=64,
    vision_depth=4,
    text_dim=128,
    text_depth=4,
    text_rotary_base=1e5,
    tile_px=168,
    seeings=(Seeing(steps=1500, frames_per_step=32, windows_per_step=256),),
    readings=(
        Reading(steps=1000, frames_per_step=32, tiles=16),
        Reading(steps=374, frames_per_step=32, tiles=64, peak_rate=5e-4),
    ),
    recallings=(),
)
# Of the overview alone, which is all that these are shown.
_OVERVIEWS_SEEN = (Seeing(steps=700, frames_per_step=32),)
_OVERVIEWS_READ = (Reading(steps=1000, frames_per_step=64, tiles=0),)
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
        seeings=_OVERVIEWS_SEEN,
        readings=_OVERVIEWS_READ,
        recallings=(),
    ),
    "regular": _REGULAR,
    # The control: the regular model's size, the compact model's pixels.
    "regular-reduced": replace(
        _REGULAR, name="regular-reduced", tile_px=None, seeings=_OVERVIEWS_SEEN, readings=_OVERVIEWS_READ
    ),
}
# The same model where there is no accelerator, where its own recipe would take some 25 hours of a core. Steps
# are small, and the tower learns first and then looks at each frame once. Reading is what makes its features
# readable: on those of Seeing alone a new language model answered 26 % of the fine prompts after 1,400
# frames, on those of a long Reading 71 %.
ON_A_PROCESSOR = {
    "regular": replace(
        _REGULAR,
        seeings=(
            Seeing(steps=8000, frames_per_step=1, windows_per_step=16, window_px=84),
            Seeing(steps=600, frames_per_step=8, windows_per_step=8, peak_rate=7e-4),
        ),
        readings=(Reading(steps=1000, frames_per_step=4, tiles=4, peak_rate=7e-4),),
        recallings=(
            Recalling(3000, frames_per_step=4, of_frames=4000, kept_tiles=16, tiles=(4, 16)),
            Recalling(1400, frames_per_step=4, of_frames=1200, kept_tiles=64, tiles=(8, 64), peak_rate=8e-4),
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
