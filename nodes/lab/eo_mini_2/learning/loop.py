"""The loop of a training in two parts: first the tower alone, then answers.

Learning rates depend on the share of a part's steps that are done. The state is saved every minute, and a
training that was ended goes on from there.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nodes.contract.files import replacing, write_atomically
from nodes.lab.eo_mini_2.learning.network import build, cover_head, dense_head
from nodes.lab.training.architecture import Recipe
from nodes.lab.training.examples.packing import Packer
from nodes.lab.training.train import save_model
from nodes.lab.training.vision.batched_tower import BatchedVisionTower

STATE_FILE, CURVE_FILE = "training-state.pt", "training.json"
_PEAK_RATE, _WARM_UP_STEPS, _SAVE_EVERY_S, _CURVE_STEPS = 2e-3, 60, 60.0, 20
_LEAST_RATE = 0.03  # share of the peak at the end of a part
_NO_LOSSES = ("right",)

OnStep = Callable[[int, int, dict[str, float]], None]


class Training(ABC):
    """Training of one model, with the state to resume it.

    Args:
        recipe: The model.
        outputs: Number of outputs of the dense head.
        folder: Output folder of model, curve and state; a state that is there is resumed.
        steps: Steps of both parts together.
        tower_share: Share of the steps that train the tower alone.
        seed: Seed of weights and examples.

    Attributes:
        step: Number of steps done.
        examples: Number of examples that they took.
    """

    def __init__(
        self, recipe: Recipe, outputs: int, folder: Path, steps: int, tower_share: float, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self._recipe, self._folder, self._steps, self._seed = recipe, folder, steps, seed
        self.tower_steps = round(tower_share * steps)
        self.processor, self.model = build(recipe, recipe.views.place_names)
        self.dense, self.cover = dense_head(recipe.text_dim, outputs), cover_head(recipe.vision_dim)
        self.tower = BatchedVisionTower(self.model.model.visual, self.processor)
        self.packer = Packer(self.processor)
        every = self._parameters()
        groups = [
            {"params": [one for one in every if one.ndim >= 2], "weight_decay": 0.03},
            {"params": [one for one in every if one.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=_PEAK_RATE, betas=(0.9, 0.98))
        self.step, self.examples, self._curve = 0, 0, list[dict[str, float]]()
        if (folder / STATE_FILE).is_file():
            self._restore()

    @abstractmethod
    def tower_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step that trains the tower alone."""

    @abstractmethod
    def answer_step_losses(self) -> dict[str, Tensor]:
        """Return the losses of one step that trains to answer."""

    def run(self, on_step: OnStep = lambda step, steps, losses: None) -> None:
        """Train the remaining steps and save the model."""
        self._folder.mkdir(parents=True, exist_ok=True)
        saved_s, recent = time.monotonic(), list[dict[str, float]]()
        while self.step < self._steps:
            recent.append(self._train())
            self.step += 1
            if self.step % _CURVE_STEPS == 0 or self.step == self._steps:
                means = {
                    name: round(float(np.mean([one[name] for one in recent if name in one])), 4)
                    for name in recent[-1]
                }
                self._curve.append({"step": self.step} | means)
                on_step(self.step, self._steps, means)
                recent = []
            if time.monotonic() - saved_s > _SAVE_EVERY_S or self.step == self._steps:
                self._save()
                saved_s = time.monotonic()
        save_model(self.model, self.processor, self._recipe, self._folder)

    def _train(self) -> dict[str, float]:
        begin = self.tower_steps
        alone = self.step < begin
        share = self.step / begin if alone else (self.step - begin) / max(1, self._steps - begin)
        warm = min(1.0, (self.step + 1) / _WARM_UP_STEPS)
        fall = _LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self._optimizer.param_groups:
            group["lr"] = _PEAK_RATE * warm * fall
        losses = self.tower_losses() if alone else self.answer_step_losses()
        self._optimizer.zero_grad(set_to_none=True)
        total: Any = torch.stack([loss for name, loss in losses.items() if name not in _NO_LOSSES]).sum()
        total.backward()
        nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        self._optimizer.step()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.dense.parameters(), *self.cover.parameters()]

    def _save(self) -> None:
        record = {
            "recipe": asdict(self._recipe),
            "seed": self._seed,
            "steps": self._steps,
            "step": self.step,
            "examples": self.examples,
            "curve": self._curve,
        }
        write_atomically(self._folder / CURVE_FILE, json.dumps(record) + "\n", durable=True)
        state = {
            "model": self.model.state_dict(),
            "dense": self.dense.state_dict(),
            "cover": self.cover.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "examples": self.examples,
            "curve": self._curve,
        }
        with replacing(self._folder / STATE_FILE) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        saved = torch.load(self._folder / STATE_FILE, weights_only=True, map_location="cpu")
        self.model.load_state_dict(saved["model"])
        self.dense.load_state_dict(saved["dense"])
        self.cover.load_state_dict(saved["cover"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self.step, self.examples, self._curve = saved["step"], saved["examples"], saved["curve"]
