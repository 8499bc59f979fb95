"""The regular model's training: the tower on tiles, then the language model on features of kept tiles.

The tower learns no more in the second part, so that the features of a tile can be used again. There two
attention heads learn from the frames' descriptions where the things are that a prompt asks about. No policy
uses the regular model's attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nodes.lab.eo_mini_2.learning.loop import Training
from nodes.lab.eo_mini_2.learning.network import (
    answer_logits,
    answer_losses,
    by_token,
    cover_losses,
    dense_losses,
    image_mask,
)
from nodes.lab.eo_mini_2.regular.examples import FrameExample, Frames, Tiles
from nodes.lab.eo_mini_2.regular.tiles import (
    CELL_PX,
    OUTPUTS,
    OVERVIEW_PX,
    PATCH_PX,
    TILE_PX,
    TOKEN_PX,
)
from nodes.lab.eo_mini_2.render import Pixels
from nodes.lab.training.architecture import Recipe
from nodes.lab.training.attention_supervision import SUPERVISED_HEADS, AttentionSupervision
from nodes.lab.training.examples.frames import Question as Asked

RECIPE = Recipe(
    name="regular",
    patch_px=PATCH_PX,
    vision_dim=64,
    vision_depth=6,
    text_dim=128,
    text_depth=4,
    text_rotary_base=1e5,
    tile_px=TILE_PX,
    vision_stages=(),
    joint_stages=(),
    language_stages=(),
    token_px=TOKEN_PX,
    overview_px=OVERVIEW_PX,
    places=True,
)
_TOWER_SHARE = 0.5
BATCH = (64, 16)  # tiles, and frames, of a step
POOL = (300, 400)  # scenes of tiles, and frames, kept at a time
_HIDDEN_WEIGHT = 0.5
_CELLS_OF_TOKEN = TOKEN_PX // CELL_PX


class RegularTraining(Training):
    """Training of the regular model.

    Args:
        folder: Output folder.
        steps: Steps of both parts together.
        seed: Seed of weights and examples.
        pool: Scenes of tiles, and frames, kept at a time.
        batch: Tiles of a step that trains the tower, and frames of another.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        seed: int = 0,
        pool: tuple[int, int] = POOL,
        batch: tuple[int, int] = BATCH,
    ) -> None:
        super().__init__(RECIPE, _CELLS_OF_TOKEN**2 * OUTPUTS, folder, steps, _TOWER_SHARE, seed)
        self._pool, self._batch = pool, batch
        self._attention_supervision = AttentionSupervision(self.model.model.language_model)
        self._tiles: Tiles | None = None
        self._frames: Frames | None = None

    def tower_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step on tiles."""
        if self._tiles is None:
            self._tiles = Tiles(self._pool[0], self._seed, self.examples)
        tiles = self._tiles.take(self._batch[0])
        self.examples += len(tiles)
        pixels, covers = (
            torch.from_numpy(np.stack(parts))
            for parts in zip(*((one.pixels, one.cover) for one in tiles), strict=True)
        )
        (features,), patches = self.tower.encode_with_patches([pixels])
        shown = self.dense(features).view(*features.shape[:2], _CELLS_OF_TOKEN**2, OUTPUTS)
        wanted = by_token(torch.from_numpy(np.stack([one.targets for one in tiles])), _CELLS_OF_TOKEN)
        hidden = functional.binary_cross_entropy_with_logits(shown[..., -1], wanted[..., -1])
        shapes = cover_losses(self.cover(patches), by_token(covers, RECIPE.merge).flatten(0, 2))
        return dense_losses(shown[..., :-1], wanted[..., :-1]) | shapes | {"hidden": _HIDDEN_WEIGHT * hidden}

    def answer_step_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step on frames and their prompts."""
        if self._frames is None:
            self._tiles = None
            self._frames = Frames(self._encode, self._pool[1], self._seed, self.examples)
        examples = self._frames.take(self._batch[1], np.random.default_rng([43, self._seed, self.step]))
        self.examples += len(examples)
        slots = [one.slots for one in examples]
        asked = [
            [Asked(one.kind, one.prompt, one.truth) for one in example.questions] for example in examples
        ]
        packed = self.packer.pack(slots, asked)
        mask = image_mask(self.packer, packed, slots)
        logits = answer_logits(self.model, packed, torch.cat([one.features for one in examples]), mask)
        wanted = _attention_over_sequences(examples, mask)
        ends = torch.tensor(packed.prompt_ends)
        attention = self._attention_supervision.loss(ends, mask, wanted)
        return answer_losses(logits, packed) | {"attention": attention}

    def _encode(self, pixels: Pixels) -> Tensor:
        with torch.no_grad():
            return self.tower.encode([torch.from_numpy(pixels)])[0]


def _attention_over_sequences(examples: Sequence[FrameExample], mask: Tensor) -> Tensor:
    """Return the target attention of each prompt, [prompts, heads, length]; the first token has the rest."""
    rows = []
    for example, shown in zip(examples, mask, strict=True):
        for of_prompt in example.attention:
            row = torch.zeros(SUPERVISED_HEADS, len(shown))
            row[:, shown] = of_prompt
            row[:, 0] = (1 - row.sum(1)).clamp(min=0)
            rows.append(row)
    return torch.stack(rows)
