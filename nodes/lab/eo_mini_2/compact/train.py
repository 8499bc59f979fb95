"""The compact model's training: the tower alone on crops, then tower and language model on frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nodes.lab.eo_mini_2.compact.examples import GRID, Frames, crops
from nodes.lab.eo_mini_2.learning.loop import Training
from nodes.lab.eo_mini_2.learning.network import (
    answer_logits,
    answer_losses,
    by_token,
    cover_losses,
    dense_losses,
    image_mask,
)
from nodes.lab.eo_mini_2.learning.scenes import CLASSES
from nodes.lab.training.architecture import RECIPES
from nodes.lab.training.examples.frames import Question as Asked
from nodes.lab.training.examples.packing import ImageSlot

RECIPE = replace(RECIPES["compact"], vision_stages=(), joint_stages=())
_TOWER_SHARE = 0.4
BATCH = (48, 16)  # crops, and frames, of a step
_POOL = 768  # frames kept at a time


class CompactTraining(Training):
    """Training of the compact model.

    Args:
        folder: Output folder.
        steps: Steps of both parts together.
        seed: Seed of weights and examples.
        pool: Frames kept at a time.
        batch: Crops of a step that trains the tower alone, and frames of another.
    """

    def __init__(
        self, folder: Path, steps: int, seed: int = 0, pool: int = _POOL, batch: tuple[int, int] = BATCH
    ) -> None:
        super().__init__(RECIPE, CLASSES, folder, steps, _TOWER_SHARE, seed)
        self._batch = batch
        self._frames = Frames(pool, seed, self.examples)

    def tower_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step on crops."""
        examples = self._frames.take(self._batch[0])
        self.examples += len(examples)
        rng = np.random.default_rng([31, self._seed, self.step])
        pixels, targets, covers = (torch.from_numpy(part) for part in crops(examples, rng))
        return self._seen(pixels, targets, covers)[1]

    def answer_step_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step on frames and their prompts."""
        examples = self._frames.take(self._batch[1])
        self.examples += len(examples)
        pixels, targets, covers = (
            torch.from_numpy(np.stack(parts))
            for parts in zip(*((one.pixels, one.targets, one.cover) for one in examples), strict=True)
        )
        features, losses = self._seen(pixels, targets, covers)
        asked = [
            [Asked(one.kind, one.prompt, one.truth) for one in example.questions] for example in examples
        ]
        slots = [(ImageSlot(GRID, GRID),)] * len(examples)
        packed = self.packer.pack(slots, asked)
        mask = image_mask(self.packer, packed, slots)
        logits = answer_logits(self.model, packed, features.flatten(0, 1), mask)
        return losses | answer_losses(logits, packed)

    def _seen(self, pixels: Tensor, targets: Tensor, covers: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features of images, and the losses of what the tower sees."""
        (features,), patches = self.tower.encode_with_patches([pixels])
        shapes = cover_losses(self.cover(patches), by_token(covers, RECIPE.merge).flatten(0, 2))
        return features, dense_losses(self.dense(features), targets.flatten(1, 2)) | shapes
