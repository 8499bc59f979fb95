"""Training of one model of the pair, in stages.

Vision stages train the tower to predict dense targets (`examples.targets`) on overviews and, for a model with
tiles, on windows of fine content. Joint stages train tower and language model to answer, with supervision of
two attention heads (`attention_supervision`). Training everything jointly from the start takes several times
as long. Language stages train the language model alone on cached vision features (`vision.feature_cache`);
they are for machines without an accelerator.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2VLForConditionalGeneration

from nodes.contract.files import replacing, write_atomically
from nodes.lab.training.architecture import JointStage, LanguageStage, Recipe, VisionStage, build_config
from nodes.lab.training.attention_supervision import AttentionSupervision
from nodes.lab.training.examples.augmentation import AUGMENTATIONS, augment_views
from nodes.lab.training.examples.batch import TrainingBatch
from nodes.lab.training.examples.examples import make_example, targets_of_overview
from nodes.lab.training.examples.frames import OVERVIEW_PX, TOKEN_PX, TrainingFrame
from nodes.lab.training.examples.packing import PackedSequences, Packer
from nodes.lab.training.examples.pretraining_windows import PretrainingWindows
from nodes.lab.training.examples.targets import DenseHeads, DenseTargets
from nodes.lab.training.packed_attention import PackedMask, packed_attention
from nodes.lab.training.vision.batched_tower import BatchedVisionTower
from nodes.lab.training.vision.feature_cache import FeatureCache
from nodes.lab.training.vision.fourier_init import initialise_fourier
from nodes.lab.training.vision.prefetch import prefetch
from nodes.lab.training.vocabulary import vocabulary
from nodes.lab.training.word_tokenizer import build_processor
from nodes.vlm.views import FILE as VIEWS_FILE

STATE_FILE = "training-state.pt"
VIDEO_FILE = "video_preprocessor_config.json"
_FEATURES_FILE = "kept-{}.npy"
_WARM_UP_STEPS = 60
_SAVE_EVERY_STEPS = 100
_CURVE_STEPS = 20  # one entry of the curve
_ATTENTION_WEIGHT = 1.0
_DENSE_WEIGHT = 0.5  # in joint stages
_MOST_WORKERS = 8
_REPORT_EVERY_FRAMES = 100

OnStep = Callable[[int, int, dict[str, float]], None]
Losses = dict[str, Tensor]


@dataclass
class Progress:
    """Record of a training run, written to training.json: steps, time, and mean losses per 20 steps.

    After a resume, `recipe`, `precision` and `device` are those of the last part.
    """

    recipe: dict[str, Any]
    seed: int
    frames: int
    precision: str
    device: str
    step: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)


class Training:
    """Training of one model, with the state to resume it.

    Args:
        recipe: The model and its stages.
        frames: Frames of the train split.
        windows: Windows of the train split for vision stages; None if `needs_windows` is false.
        folder: Output folder of model, curve and state; each file is written atomically.
        seed: Seed of weights, order and augmentation.
        device: Torch device.
        half: Multiply in bfloat16; weights stay in float32.
        resume: Continue from the folder's state.
    """

    def __init__(
        self,
        recipe: Recipe,
        frames: Sequence[TrainingFrame],
        windows: PretrainingWindows | None,
        folder: Path,
        *,
        seed: int = 0,
        device: str = "cpu",
        half: bool = False,
        resume: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self._recipe, self._frames, self._windows = recipe, frames, windows
        self._folder, self._seed = folder, seed
        self._device, self._half = device, half
        self.processor, self.model = build(recipe)
        self.heads = DenseHeads(recipe.text_dim)
        self.model.to(device)
        self.heads.to(device)
        self.tower = BatchedVisionTower(self.model.model.visual, self.processor)
        self._attention_supervision = AttentionSupervision(self.model.model.language_model)
        self._packer = Packer(self.processor)
        self._state = folder / STATE_FILE
        precision = "bfloat16" if half else "float32"
        self._progress = Progress(asdict(recipe), seed, len(frames), precision, torch.device(device).type)
        self._optimizer: torch.optim.Optimizer | None = None
        self._saved_optimizer: dict[str, Any] | None = None
        self._on_step: OnStep = lambda step, steps, losses: None
        if resume and self._state.is_file():
            self._restore()
        else:
            for features in folder.glob(_FEATURES_FILE.format("*")):
                features.unlink()  # computed by another tower

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self._stages())

    def run(self, on_step: OnStep) -> Progress:
        """Train the remaining steps, save the model, and return the record."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._on_step = on_step
        start_cpu_s = self._progress.cpu_s - time.process_time()
        start_wall_s = self._progress.wall_s - time.monotonic()
        recent: list[Losses] = []
        means: dict[str, float] = {}
        for losses in self._all_steps():
            progress = self._progress
            progress.step += 1
            recent.append(losses)
            over = progress.step in self._stage_ends()
            if progress.step % _CURVE_STEPS == 0 or over:
                means, recent = _means(recent), []
                progress.curve.append({"step": progress.step} | means)
            on_step(progress.step, self.steps, means)
            if progress.step % _SAVE_EVERY_STEPS == 0 or over:
                progress.cpu_s = start_cpu_s + time.process_time()
                progress.wall_s = start_wall_s + time.monotonic()
                self._save()
        save_model(self.model, self.processor, self._recipe, self._folder)
        self._state.unlink(missing_ok=True)
        return self._progress

    def _stages(self) -> tuple[VisionStage | JointStage | LanguageStage, ...]:
        return (*self._recipe.vision_stages, *self._recipe.joint_stages, *self._recipe.language_stages)

    def _all_steps(self) -> Iterator[Losses]:
        start = 0
        for number, stage in enumerate(self._stages()):
            done = self._progress.step - start
            if done < stage.steps:
                if isinstance(stage, VisionStage):
                    yield from self._train_vision(number, stage, done)
                elif isinstance(stage, JointStage):
                    yield from self._train_jointly(number, stage, done)
                else:
                    yield from self._train_language(number, stage, done)
            start += stage.steps

    def _train_vision(self, number: int, stage: VisionStage, done: int) -> Iterator[Losses]:
        """Train the tower; each step has one augmentation, and shifts windows so that content meets edges."""
        tower = self.model.model.visual
        self._begin(_decayed([tower], [self.heads]), stage.peak_rate)
        overviews = torch.from_numpy(np.stack([frame.overview for frame in self._frames])).to(self._device)
        every_target = DenseTargets.stacked([targets_of_overview(frame) for frame in self._frames])
        overview_targets = every_target.to(self._device)
        windows = self._windows if stage.windows_per_step else None
        if windows is not None:
            windows = PretrainingWindows(windows.pixels.to(self._device), windows.targets.to(self._device))
        for step in range(done, stage.steps):
            self._set_rate(stage.peak_rate, step, stage.steps)
            rng = np.random.default_rng((self._seed, number, step))
            picks = self._sampled(rng, len(overviews), stage.frames_per_step)
            augmentation = int(rng.integers(AUGMENTATIONS))
            groups = [augment_views(overviews[picks], augmentation)]
            targets = [overview_targets.picked(picks).augment(augmentation)]
            if windows is not None:
                picks = self._sampled(rng, len(windows.pixels), stage.windows_per_step)
                tokens = windows.targets.kinds.shape[1]
                down, across = (int(shift) for shift in rng.integers(tokens, size=2))
                shift_px = [shift * windows.pixels.shape[1] // tokens for shift in (down, across)]
                side_px, side = stage.window_px, stage.window_px // TOKEN_PX
                pixels = augment_views(windows.pixels[picks], augmentation).roll(shift_px, dims=(1, 2))
                groups.append(pixels[:, :side_px, :side_px])
                targets.append(
                    windows.targets.picked(picks).augment(augmentation).rolled(down, across).cut(side)
                )
            with self._precision():
                outputs = self.tower.encode([group.contiguous() for group in groups])
            losses = self.heads.overview_losses(outputs[0], targets[0])
            scores: Losses = {}
            if windows is not None:
                native, scores = self.heads.native_losses(outputs[1], targets[1])
                losses |= native
            self._descend(_sum(losses), tower)
            yield _detached(losses | scores)

    def _sampled(self, rng: np.random.Generator, count: int, most: int) -> Tensor:
        return torch.from_numpy(rng.choice(count, min(most, count), replace=False)).to(self._device)

    def _train_jointly(self, number: int, stage: JointStage, done: int) -> Iterator[Losses]:
        # Output and input embeddings are tied: `self.model` has both.
        self._begin(_decayed([self.model], [self.heads]), stage.peak_rate)

        def make(step: int) -> TrainingBatch:
            rng = np.random.default_rng((self._seed, number, step))
            tile_px, tiles = self._recipe.tile_px, stage.tiles
            frames = self._sampled_frames(rng, stage.frames_per_step)
            examples = [make_example(frame, tile_px, tiles, rng) for frame in frames]
            return TrainingBatch.of(examples, self._packer)

        yield from self._train_on_batches(make, stage, done)

    def _train_language(self, number: int, stage: LanguageStage, done: int) -> Iterator[Losses]:
        tile_px, path = self._recipe.tile_px, self._folder / _FEATURES_FILE.format(number)
        assert tile_px is not None  # noqa: S101 - language stages are for models with tiles
        frames = self._frames[: stage.cached_frames]
        cache = FeatureCache(frames, tile_px, stage.cached_tiles, self._seed, path, self._recipe.text_dim)
        for cached in cache.fill(self.tower, self._device, _worker_threads()):
            if cached % _REPORT_EVERY_FRAMES == 0:
                self._on_step(self._progress.step, self.steps, {"cached": cached / len(frames)})
        self._begin(_decayed([self.model.model.language_model], []), stage.peak_rate)

        def make(step: int) -> TrainingBatch:
            rng = np.random.default_rng((self._seed, number, step))
            picks = rng.choice(len(frames), min(stage.frames_per_step, len(frames)), replace=False)
            fewest, most = stage.tiles
            tiles = int(rng.integers(fewest, most + 1))
            drawn = [cache.make_example(int(pick), tiles, rng) for pick in picks]
            examples, features = [example for example, _ in drawn], [values for _, values in drawn]
            return TrainingBatch.of(examples, self._packer, features)

        yield from self._train_on_batches(make, stage, done)
        path.unlink()

    def _train_on_batches(
        self, make: Callable[[int], TrainingBatch], stage: JointStage | LanguageStage, done: int
    ) -> Iterator[Losses]:
        for step, batch in enumerate(prefetch(make, range(done, stage.steps), _worker_threads()), start=done):
            self._set_rate(stage.peak_rate, step, stage.steps)
            yield self._train_on_batch(batch)

    def _sampled_frames(self, rng: np.random.Generator, most: int) -> list[TrainingFrame]:
        picks = rng.choice(len(self._frames), min(most, len(self._frames)), replace=False)
        return [self._frames[pick] for pick in picks]

    def _train_on_batch(self, batch: TrainingBatch) -> Losses:
        packed, image_mask = batch.packed, batch.image_mask.to(self._device)
        targets = packed.labels.to(self._device)
        losses: Losses = {}
        with self._precision():
            if batch.cached_features is None:
                outputs = self.tower.encode([group.to(self._device) for group in batch.image_groups])
                losses = {name: _DENSE_WEIGHT * loss for name, loss in self._dense(batch, outputs).items()}
                features = batch.features(outputs)
            else:
                features = batch.cached_features.to(self._device)
            logits = self.logits(packed, image_mask, features).float()
            losses["answer"] = functional.cross_entropy(logits, targets)
            if len(batch.prompt_ends):
                attention_targets = batch.attention_targets.to(self._device)
                attention_loss = self._attention_supervision.loss(
                    batch.prompt_ends.to(self._device), image_mask, attention_targets
                )
                losses["attention"] = _ATTENTION_WEIGHT * attention_loss
        learning = self.model if batch.cached_features is None else self.model.model.language_model
        self._descend(_sum(losses), learning)  # a frozen tower may hold old gradients
        right = (logits.detach().argmax(-1) == targets).float()
        first = batch.first.to(self._device)
        fine = (batch.fine & batch.first).to(self._device)
        return _detached(losses) | {
            "right": (right * first).sum() / first.sum(),
            "fine": (right * fine).sum() / fine.sum().clamp(min=1),
        }

    def _dense(self, batch: TrainingBatch, outputs: Sequence[Tensor]) -> Losses:
        losses = self.heads.overview_losses(outputs[-1], batch.overview_targets.to(self._device))
        if batch.native_targets is not None:
            losses |= self.heads.native_losses(outputs[0], batch.native_targets.to(self._device))[0]
        return losses

    def logits(self, packed: PackedSequences, image_mask: Tensor, features: Tensor) -> Tensor:
        """Return the logits [labels, vocabulary] of packed sequences.

        Args:
            packed: The sequences.
            image_mask: bool[sequences, length], true for image tokens.
            features: Vision features [image tokens, text_dim], sequence by sequence.
        """
        ids = packed.input_ids.to(self._device)
        embedded = self.model.get_input_embeddings()(ids)
        language_model = self.model.model.language_model
        with packed_attention(language_model):
            hidden = language_model(
                inputs_embeds=embedded.masked_scatter(image_mask[..., None], features.to(embedded.dtype)),
                position_ids=packed.positions.to(self._device),
                attention_mask={"full_attention": PackedMask.of(packed, self._device)},
                use_cache=False,
            ).last_hidden_state
        sequences, tokens = packed.label_positions.to(self._device).unbind(1)
        logits: Tensor = self.model.lm_head(hidden[sequences, tokens])
        return logits

    def _begin(self, groups: list[dict[str, Any]], peak_rate: float) -> None:
        self._optimizer = torch.optim.AdamW(groups, lr=peak_rate, betas=(0.9, 0.98))
        if self._saved_optimizer is not None:
            self._optimizer.load_state_dict(self._saved_optimizer)
            self._saved_optimizer = None

    def _set_rate(self, peak_rate: float, step: int, steps: int) -> None:
        """Warm up linearly, then fall along a half cosine to 2 % of the peak."""
        assert self._optimizer is not None  # noqa: S101 - `_begin` made it
        warm = min(1.0, (step + 1) / _WARM_UP_STEPS)
        rate = peak_rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for group in self._optimizer.param_groups:
            group["lr"] = float(rate)

    def _descend(self, loss: Any, module: nn.Module) -> None:
        assert self._optimizer is not None  # noqa: S101 - `_begin` made it
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        self._optimizer.step()

    def _precision(self) -> Any:
        return torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._half)

    def _save(self) -> None:
        means = json.dumps(asdict(self._progress), indent=1) + "\n"
        write_atomically(self._folder / "training.json", means, durable=True)
        stage_over = self._progress.step in self._stage_ends()
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": None if stage_over or self._optimizer is None else self._optimizer.state_dict(),
            "progress": asdict(self._progress),
        }
        with replacing(self._state) as temporary:
            torch.save(state, temporary)

    def _stage_ends(self) -> list[int]:
        return [int(end) for end in np.cumsum([stage.steps for stage in self._stages()])]

    def _restore(self) -> None:
        saved = torch.load(self._state, weights_only=True, map_location=self._device)
        self.model.load_state_dict(saved["model"])
        self.heads.load_state_dict(saved["heads"])
        self._saved_optimizer = saved["optimizer"]
        now = self._progress
        plan = {"recipe": now.recipe, "precision": now.precision, "device": now.device}
        self._progress = Progress(**(saved["progress"] | plan))
        self._progress.resumed_at.append(self._progress.step)


def _worker_threads() -> int:
    """Return the number of threads that prepare batches."""
    return min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))


def _sum(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}


def _decayed(modules: Sequence[nn.Module], undecayed: Sequence[nn.Module]) -> list[dict[str, Any]]:
    """Return parameter groups: weight decay for matrices, none for vectors and auxiliary heads."""
    every = [p for module in modules for p in module.parameters()]
    return [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": 0.05},
        {
            "params": [
                *(p for p in every if p.ndim < 2),
                *(p for module in undecayed for p in module.parameters()),
            ],
            "weight_decay": 0.0,
        },
    ]


def _means(recent: Sequence[Losses]) -> dict[str, float]:
    return {
        name: round(float(torch.stack([losses[name] for losses in recent]).mean()), 4) for name in recent[-1]
    }


def needs_windows(recipe: Recipe, folder: Path, *, resume: bool) -> bool:
    """Return whether a vision stage with windows is still to be trained.

    Args:
        recipe: The model and its stages.
        folder: Output folder; its state tells how far the training is.
        resume: Whether that state is resumed.
    """
    state, step = folder / STATE_FILE, 0
    if resume and state.is_file():
        step = torch.load(state, weights_only=True, map_location="cpu", mmap=True)["progress"]["step"]
    ends = accumulate(stage.steps for stage in recipe.vision_stages)  # vision stages come first
    return any(
        stage.windows_per_step and step < end for stage, end in zip(recipe.vision_stages, ends, strict=True)
    )


def build(recipe: Recipe) -> tuple[Any, Any]:
    """Build processor and untrained model of a recipe."""
    processor = build_processor(
        vocabulary(),
        largest_px=max(recipe.tile_px or 0, OVERVIEW_PX),
        patch_px=recipe.patch_px,
        merge=recipe.merge,
    )
    model = Qwen2VLForConditionalGeneration(build_config(recipe, processor.tokenizer))
    initialise_fourier(model.model.visual.patch_embed.proj.weight)
    return processor, model


def save_model(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    """Save processor, views and a half-precision copy of the model; the model itself stays unchanged.

    Files replace those of the folder only after all are complete.
    """
    with TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        _save_files(model, processor, recipe, Path(temporary))
        for file in Path(temporary).iterdir():
            file.replace(folder / file.name)


def _save_files(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    half = {name: value.half().cpu() for name, value in model.state_dict().items()}
    before, model.config.dtype = model.config.dtype, torch.float16
    model.save_pretrained(folder, state_dict=half)
    model.config.dtype = before
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)
    images = processor.image_processor
    video = {
        "video_processor_type": "Qwen2VLVideoProcessor"
    }  # AutoProcessor needs it if torchvision is installed
    sizes = {name: getattr(images, name) for name in ("patch_size", "temporal_patch_size", "merge_size")}
    write_atomically(folder / VIDEO_FILE, json.dumps(video | sizes) + "\n")
    write_atomically(folder / VIEWS_FILE, json.dumps(recipe.views.to_json()) + "\n")


def bfloat16_is_faster() -> bool:
    """Return whether this CPU multiplies at least 1.5 times as fast in bfloat16 as in float32, by trial."""
    return _matmul_s(torch.bfloat16) * 1.5 < _matmul_s(torch.float32)


def _matmul_s(dtype: torch.dtype) -> float:
    left, right = torch.ones(2048, 192, dtype=dtype), torch.ones(192, 768, dtype=dtype)
    times = []
    for _ in range(12):
        begin_s = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - begin_s)
    return sorted(times)[len(times) // 2]
