"""Trains one model of the pair.

The loss is the answers' cross-entropy plus two dense targets per image token: the shares of land cover under
it, and whether the centre of a vessel lies in it. Without them models of this size stay at the level of
guessing for a long time. The heads for them are thrown away afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration

from nodes.training.architecture import Reading, Recipe, Stage, build_config
from nodes.training.packing import IGNORED, Batch, Packer
from nodes.training.places import FRAME_PX
from nodes.training.questions import Balance, training_balance, vocabulary
from nodes.training.scene import COVER_CELL_PX, COVERS, Scene, draw_scene
from nodes.training.sources import Rasters
from nodes.training.word_tokenizer import build_processor

_WARM_UP_STEPS = 60
_VESSEL_WEIGHT = 20.0
_SAVE_EVERY_STEPS = 100


@dataclass
class Progress:
    """What a training run leaves beside its weights: step, seconds, and the mean losses of each 20 steps.

    `recipe` is the one it ended with; where it was resumed, an earlier part may have followed another plan.
    """

    recipe: dict[str, Any]
    seed: int
    step: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)


class DenseHeads(nn.Module):
    """The two auxiliary heads over image tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cover = nn.Linear(dim, len(COVERS))
        self.vessel = nn.Linear(dim, 1)


def train(
    recipe: Recipe,
    rasters: Rasters,
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, steps, losses: None,
) -> Progress:
    """Train a model by its recipe and save it, with its processor, to `folder`.

    `folder/training-state.pt` lets `resume` go on after an interruption; it is removed at the end.
    `on_step(step, steps, losses)` is called after each step. CPU only; set torch's threads before.
    """
    torch.manual_seed(seed)
    processor, model, heads = build(recipe)
    optimizer = _optimizer(model, heads, recipe)
    progress = Progress(asdict(recipe), seed)
    state = folder / "training-state.pt"
    if resume and state.is_file():
        progress = _restore(state, model, heads, optimizer)
        progress.recipe = asdict(recipe)
        progress.resumed_at.append(progress.step)
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    packer = Packer(processor)
    balance = training_balance(rasters)
    steps = sum(stage.steps for stage in recipe.stages)
    started_cpu_s, started_s = time.process_time() - progress.cpu_s, time.monotonic() - progress.wall_s
    recent: list[dict[str, float]] = []
    for step, stage, share_done in _steps(recipe, progress.step):
        rng = np.random.default_rng((seed, step))
        scenes = [
            draw_scene(rasters, "train", rng, side_px=stage.frame_px) for _ in range(stage.frames_per_step)
        ]
        questions = [balance.draw(scene, recipe.questions_per_frame, rng) for scene in scenes]
        batch = packer.pack([scene.pixels for scene in scenes], questions, recipe.reduce)
        losses = _one_step(
            model, heads, optimizer, batch, scenes, recipe, _rate(step, share_done) * recipe.peak_rate
        )
        recent.append(losses)
        progress.step = step + 1
        progress.cpu_s, progress.wall_s = time.process_time() - started_cpu_s, time.monotonic() - started_s
        if progress.step % 20 == 0:
            means = {name: round(float(np.mean([one[name] for one in recent])), 4) for name in losses}
            progress.curve.append({"step": progress.step, "frame_px": stage.frame_px, **means})
            recent.clear()
        if progress.step % _SAVE_EVERY_STEPS == 0 or progress.step == steps:
            _save(folder, state, model, heads, optimizer, progress)
        on_step(progress.step, steps, losses)
    if recipe.reading:
        for losses in _read(model, packer, balance, rasters, recipe.reading, seed):
            progress.step += 1
            progress.curve.append({"step": progress.step, "frame_px": FRAME_PX, **losses})
            on_step(progress.step, steps + recipe.reading.steps, losses)
        progress.cpu_s, progress.wall_s = time.process_time() - started_cpu_s, time.monotonic() - started_s
        _save(folder, state, model, heads, optimizer, progress)
    state.unlink(missing_ok=True)
    return progress


def _read(
    model: Any, packer: Packer, balance: Balance, rasters: Rasters, reading: Reading, seed: int
) -> Iterator[dict[str, float]]:
    """Train the language model alone; yields the losses of each step."""
    rng = np.random.default_rng((seed, 3 * 10**9))
    scenes, seen = _look(model, packer, rasters, reading.frames, rng)
    weights = [*model.model.language_model.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=reading.peak_rate, betas=(0.9, 0.98), weight_decay=0.05)
    for step in range(reading.steps):
        for group in optimizer.param_groups:
            group["lr"] = reading.peak_rate * _rate(step, step / reading.steps)
        picks = rng.choice(len(scenes), reading.frames_per_step, replace=False)
        chosen = [scenes[pick] for pick in picks]
        questions = [balance.draw(scene, reading.questions_per_frame, rng) for scene in chosen]
        batch = packer.pack([scene.pixels for scene in chosen], questions, 1)
        logits, _ = forward(model, batch, seen[torch.from_numpy(picks)])
        targets = batch.labels[:, 1:][batch.labels[:, 1:] != IGNORED]
        loss: Any = functional.cross_entropy(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        right = (logits.argmax(-1) == targets).float().mean()
        yield {"answer": round(float(loss.detach()), 4), "right": round(float(right), 4)}


def _look(
    model: Any, packer: Packer, rasters: Rasters, frames: int, rng: np.random.Generator
) -> tuple[list[Scene], Tensor]:
    """Draw scenes, every second one with vessels, and what the vision tower makes of them."""
    scenes: list[Scene] = []
    features = []
    while len(scenes) < frames:
        scene = draw_scene(rasters, "train", rng)
        if (scene.vessels is None) == bool(len(scenes) % 2):
            continue
        scenes.append(scene)
        batch = packer.pack([scene.pixels], [[]], 1)
        with torch.no_grad():
            images = model.model.get_image_features(batch.pixel_values, batch.image_grid, return_dict=True)
        features.append(images.pooler_output[0])
    return scenes, torch.stack(features)


def build(recipe: Recipe) -> tuple[Any, Any, DenseHeads]:
    """Build processor, untrained model and auxiliary heads of a recipe."""
    processor = build_processor(vocabulary(), input_px=FRAME_PX // recipe.reduce, patch_px=recipe.patch_px)
    model = Qwen2VLForConditionalGeneration(build_config(recipe, processor.tokenizer))
    return processor, model, DenseHeads(recipe.text_dim)


def _optimizer(model: Any, heads: DenseHeads, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.05},
        {"params": [*others, *heads.parameters()], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.98))


def _steps(recipe: Recipe, done: int) -> Iterator[tuple[int, Stage, float]]:
    """Yield each step that is not done yet, its stage, and the share of all pixels seen before it."""
    work_px = sum(stage.steps * stage.work_px for stage in recipe.stages)
    step, seen_px = 0, 0
    for stage in recipe.stages:
        for _ in range(stage.steps):
            if step >= done:
                yield step, stage, seen_px / work_px
            step += 1
            seen_px += stage.work_px


def _rate(step: int, share_done: float) -> float:
    """Warm up linearly, then fall along a half cosine to 2 % of the peak; returns the share of the peak."""
    warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
    return float(warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share_done))))


def _one_step(
    model: Any,
    heads: DenseHeads,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    scenes: list[Scene],
    recipe: Recipe,
    rate: float,
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    logits, features = forward(model, batch)
    targets = batch.labels[:, 1:][batch.labels[:, 1:] != IGNORED]
    answer = functional.cross_entropy(logits, targets)
    cover, vessel = _dense_losses(heads, features, scenes, recipe.token_px)
    optimizer.zero_grad(set_to_none=True)
    loss: Any = answer + cover + vessel  # its backward() is untyped in torch
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    right = (logits.argmax(-1) == targets).float().mean()
    return {
        "answer": float(answer.detach()),
        "cover": float(cover.detach()),
        "vessel": float(vessel.detach()),
        "right": float(right),
    }


def forward(model: Any, batch: Batch, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a packed batch, through the vision tower unless its `features` are given.

    Returns logits [labelled tokens, vocabulary] in order, and image features [frames, image tokens of all
    views, text_dim].
    """
    inner = model.model
    if features is None:
        images = inner.get_image_features(batch.pixel_values, batch.image_grid, return_dict=True)
        seen = torch.cat(list(images.pooler_output))
        features = seen.reshape(len(batch.input_ids), -1, seen.shape[-1])
    embedded = inner.get_input_embeddings()(batch.input_ids)
    where = (batch.input_ids == model.config.image_token_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(where, features.reshape(-1, features.shape[-1]))
    hidden = inner.language_model(
        inputs_embeds=embedded,
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.mask},
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[:, :-1][batch.labels[:, 1:] != IGNORED]), features


def _dense_losses(
    heads: DenseHeads, features: Tensor, scenes: list[Scene], token_px: int
) -> tuple[Tensor, Tensor]:
    shares = torch.from_numpy(np.stack([_cover_shares(scene, token_px) for scene in scenes]))
    cover = functional.cross_entropy(heads.cover(features).flatten(0, 1), shares.flatten(0, 1))
    asked = [index for index, scene in enumerate(scenes) if scene.vessels is not None]
    if not asked:
        return cover, features.sum() * 0.0
    here = torch.from_numpy(np.stack([_vessel_here(scenes[index], token_px) for index in asked]))
    weights = torch.where(here > 0, _VESSEL_WEIGHT, 1.0)
    logits = heads.vessel(features[asked]).squeeze(-1)
    return cover, functional.binary_cross_entropy_with_logits(logits, here, weights)


def _cover_shares(scene: Scene, token_px: int) -> NDArray[np.float32]:
    """Share of each cover under each image token: float32 [tokens, covers]."""
    cells = token_px // COVER_CELL_PX
    side = scene.cover.shape[0] // cells
    blocks = scene.cover.reshape(side, cells, side, cells).transpose(0, 2, 1, 3).reshape(side * side, -1)
    return np.stack([(blocks == index).mean(axis=1) for index in range(len(COVERS))], axis=1).astype(
        np.float32
    )


def _vessel_here(scene: Scene, token_px: int) -> NDArray[np.float32]:
    side = scene.pixels.shape[0] // token_px
    here = np.zeros((side, side), dtype=np.float32)
    for vessel in scene.vessels or ():
        here[int(vessel.y_px) // token_px, int(vessel.x_px) // token_px] = 1.0
    return here.ravel()


def _save(
    folder: Path,
    state: Path,
    model: Any,
    heads: DenseHeads,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Save fp16 weights for use, and the exact state for `resume`; each file is whole or not there."""
    save_model(model, folder)
    (folder / "training.json").write_text(json.dumps(asdict(progress), indent=1) + "\n")
    fresh = state.with_suffix(".new")
    torch.save(
        {
            "model": model.state_dict(),
            "heads": heads.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": asdict(progress),
        },
        fresh,
    )
    fresh.replace(state)


def save_model(model: Any, folder: Path) -> None:
    """Save a copy of the model in half precision; the model in hand stays as it is."""
    half = {name: value.half() for name, value in model.state_dict().items()}
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=half)
    (folder / "model.safetensors").chmod(0o644)


def _restore(state: Path, model: Any, heads: DenseHeads, optimizer: torch.optim.Optimizer) -> Progress:
    saved = torch.load(state, weights_only=True)
    model.load_state_dict(saved["model"])
    heads.load_state_dict(saved["heads"])
    optimizer.load_state_dict(saved["optimizer"])
    return Progress(**saved["progress"])
