"""The training: the tower learns on crops what each token shows, then everything learns to answer.

A step is saved every minute, and a training that was ended goes on from there. Learning rates depend on the
share of the steps that are done.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration

from nodes.contract.files import replacing, write_atomically
from nodes.lab.eo_mini_2.answers import (
    CANNOT_TELL,
    COLUMNS,
    COUNT_WORDS,
    NOTHING_VISIBLE,
    ROWS,
    SIZES,
    tokens,
)
from nodes.lab.eo_mini_2.compact.examples import GRID, TARGETS, Example, Frames, crops
from nodes.lab.eo_mini_2.questions import PROMPTS
from nodes.lab.eo_mini_2.scene import REDUCED_PX, SHAPES
from nodes.lab.training.architecture import RECIPES, Recipe, build_config
from nodes.lab.training.examples.frames import Question as Asked
from nodes.lab.training.examples.packing import ImageSlot, PackedSequences, Packer
from nodes.lab.training.packed_attention import PackedMask, packed_attention
from nodes.lab.training.train import save_model
from nodes.lab.training.vision.batched_tower import BatchedVisionTower
from nodes.lab.training.vision.fourier_init import initialise_fourier
from nodes.lab.training.word_tokenizer import build_processor

RECIPE = replace(RECIPES["compact"], vision_stages=(), joint_stages=())
STATE_FILE, CURVE_FILE = "training-state.pt", "training.json"
_CROP_STEPS = 0.4  # share of the steps that train the tower alone
BATCH = (48, 16)  # crops, and frames, of a step
_POOL = 768  # frames kept at a time
_PEAK_RATE, _WARM_UP_STEPS, _SAVE_EVERY_S, _CURVE_STEPS = 1.5e-3, 60, 60.0, 20
_CENTRE_WEIGHT = 6.0  # of a token that shows a centre

OnStep = Callable[[int, int, dict[str, float]], None]


def vocabulary() -> list[str]:
    """Return the words and marks of prompts and answers, sorted."""
    words = {
        *(word for prompt in PROMPTS for word in tokens(prompt)),
        *(shape for pair in SHAPES.values() for shape in pair),
        *(*COUNT_WORDS, *SIZES, *ROWS, *COLUMNS, "yes", "no", ";"),
        *CANNOT_TELL.split(),
        *NOTHING_VISIBLE.split(),
    }
    return sorted(words)


def build(recipe: Recipe = RECIPE) -> tuple[Any, Any]:
    """Build processor and untrained model."""
    processor = build_processor(
        vocabulary(), largest_px=REDUCED_PX, patch_px=recipe.patch_px, merge=recipe.merge
    )
    model = Qwen2VLForConditionalGeneration(build_config(recipe, processor.tokenizer))
    initialise_fourier(model.model.visual.patch_embed.proj.weight)
    return processor, model


class Training:
    """Training of the compact model, with the state to resume it.

    Args:
        folder: Output folder of model, curve and state; a state that is there is resumed.
        steps: Steps of both parts together.
        seed: Seed of weights and examples.
        pool: Frames kept at a time.
        batch: Crops of a step that trains the tower alone, and frames of another.
    """

    def __init__(
        self, folder: Path, steps: int, seed: int = 0, pool: int = _POOL, batch: tuple[int, int] = BATCH
    ) -> None:
        torch.manual_seed(seed)
        self._folder, self._steps, self._seed, self._batch = folder, steps, seed, batch
        self.processor, self.model = build()
        self.dense = nn.Linear(RECIPE.text_dim, TARGETS)
        nn.init.constant_(self.dense.bias, -4.0)
        self._tower = BatchedVisionTower(self.model.model.visual, self.processor)
        self._packer = Packer(self.processor)
        every = [*self.model.parameters(), *self.dense.parameters()]
        groups = [
            {"params": [one for one in every if one.ndim >= 2], "weight_decay": 0.03},
            {"params": [one for one in every if one.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=_PEAK_RATE, betas=(0.9, 0.98))
        self.step, self._examples, self._curve = 0, 0, list[dict[str, float]]()
        if (folder / STATE_FILE).is_file():
            self._restore()
        self._frames = Frames(pool, seed, self._examples)

    def run(self, on_step: OnStep = lambda step, steps, losses: None) -> None:
        """Train the remaining steps and save the model."""
        self._folder.mkdir(parents=True, exist_ok=True)
        saved_s, recent = time.monotonic(), list[dict[str, float]]()
        while self.step < self._steps:
            recent.append(self._train())
            self.step += 1
            if self.step % _CURVE_STEPS == 0 or self.step == self._steps:
                names = recent[-1]
                means = {
                    name: round(float(np.mean([one[name] for one in recent if name in one])), 4)
                    for name in names
                }
                self._curve.append({"step": self.step} | means)
                on_step(self.step, self._steps, means)
                recent = []
            if time.monotonic() - saved_s > _SAVE_EVERY_S or self.step == self._steps:
                self._save()
                saved_s = time.monotonic()
        save_model(self.model, self.processor, RECIPE, self._folder)

    def _train(self) -> dict[str, float]:
        begin = round(_CROP_STEPS * self._steps)
        alone = self.step < begin
        share = self.step / begin if alone else (self.step - begin) / max(1, self._steps - begin)
        warm = min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        for group in self._optimizer.param_groups:
            group["lr"] = _PEAK_RATE * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
        examples = self._frames.take(self._batch[0] if alone else self._batch[1])
        self._examples += len(examples)
        losses = self._crop_losses(examples) if alone else self._frame_losses(examples)
        self._optimizer.zero_grad(set_to_none=True)
        total: Any = torch.stack([loss for name, loss in losses.items() if name != "right"]).sum()
        total.backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.dense.parameters()], 1.0)
        self._optimizer.step()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _crop_losses(self, examples: list[Example]) -> dict[str, Tensor]:
        pixels, targets = crops(examples, np.random.default_rng([31, self._seed, self.step]))
        (features,) = self._tower.encode([torch.from_numpy(pixels)])
        return {"dense": self._dense_loss(features, torch.from_numpy(targets))}

    def _frame_losses(self, examples: list[Example]) -> dict[str, Tensor]:
        pixels = torch.from_numpy(np.stack([one.pixels for one in examples]))
        (features,) = self._tower.encode([pixels])
        targets = torch.from_numpy(np.stack([one.targets for one in examples]))
        asked = [
            [Asked(one.kind, one.prompt, one.truth) for one in example.questions] for example in examples
        ]
        slots = (ImageSlot(GRID, GRID),)
        packed = self._packer.pack([slots] * len(examples), asked)
        logits = self._logits(packed, features.flatten(0, 1), slots)
        right = (logits.detach().argmax(-1) == packed.labels).float().mean()
        answer = functional.cross_entropy(logits, packed.labels)
        return {"dense": self._dense_loss(features, targets), "answer": answer, "right": right}

    def _dense_loss(self, features: Tensor, targets: Tensor) -> Tensor:
        wanted = targets.flatten(1, 2)
        weight = 1 + (_CENTRE_WEIGHT - 1) * wanted
        loss = functional.binary_cross_entropy_with_logits(
            self.dense(features), wanted, weight, reduction="sum"
        )
        return loss / wanted.sum().clamp(min=1) / _CENTRE_WEIGHT

    def _logits(self, packed: PackedSequences, features: Tensor, slots: tuple[ImageSlot, ...]) -> Tensor:
        """Return the logits [labels, vocabulary] of packed sequences."""
        places = torch.from_numpy(self._packer.image_places(slots))
        shown = torch.zeros(packed.input_ids.shape, dtype=torch.bool)
        shown[:, places] = True
        embedded = self.model.get_input_embeddings()(packed.input_ids)
        language_model = self.model.model.language_model
        with packed_attention(language_model):
            hidden = language_model(
                inputs_embeds=embedded.masked_scatter(shown[..., None], features.to(embedded.dtype)),
                position_ids=packed.positions,
                attention_mask={"full_attention": PackedMask.of(packed, "cpu")},
                use_cache=False,
            ).last_hidden_state
        sequences, at = packed.label_positions.unbind(1)
        logits: Tensor = self.model.lm_head(hidden[sequences, at]).float()
        return logits

    def _save(self) -> None:
        record = {
            "recipe": asdict(RECIPE),
            "seed": self._seed,
            "steps": self._steps,
            "step": self.step,
            "examples": self._examples,
            "curve": self._curve,
        }
        write_atomically(self._folder / CURVE_FILE, json.dumps(record) + "\n", durable=True)
        state = {
            "model": self.model.state_dict(),
            "dense": self.dense.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "examples": self._examples,
            "curve": self._curve,
        }
        with replacing(self._folder / STATE_FILE) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        saved = torch.load(self._folder / STATE_FILE, weights_only=True, map_location="cpu")
        self.model.load_state_dict(saved["model"])
        self.dense.load_state_dict(saved["dense"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self.step, self._examples, self._curve = saved["step"], saved["examples"], saved["curve"]
