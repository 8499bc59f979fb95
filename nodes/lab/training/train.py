"""Trains one model of the pair: first its vision tower, then tower and language model together.

Seeing: the tower learns what lies under each image token (`targets`), on overviews and, for a model that is
shown native pixels, on windows of fine content. Reading: the language model learns to answer, and two of its
heads to look at what the prompt is about (`gaze`); the tower goes on learning. Both at once from the start
took several times as long to the same loss. Recalling: the language model learns alone, from what the tower
made of each frame when it looked at it once (`kept`); for machines without an accelerator.
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
from nodes.lab.training.architecture import Reading, Recalling, Recipe, Seeing, build_config
from nodes.lab.training.attention_supervision import Gaze
from nodes.lab.training.examples.augmentation import TURNS, turned_views
from nodes.lab.training.examples.batch import Page
from nodes.lab.training.examples.examples import overview_truths, show
from nodes.lab.training.examples.frames import OVERVIEW_PX, TOKEN_PX, TrainingFrame
from nodes.lab.training.examples.packing import Batch, Packer
from nodes.lab.training.examples.practice import Windows
from nodes.lab.training.examples.targets import DenseHeads, Truths
from nodes.lab.training.packed_attention import PackedMask, packed
from nodes.lab.training.vision.even_tower import EvenTower
from nodes.lab.training.vision.feature_cache import Kept
from nodes.lab.training.vision.fourier_init import start_as_waves
from nodes.lab.training.vision.prefetch import made_ahead
from nodes.lab.training.vocabulary import vocabulary
from nodes.lab.training.word_tokenizer import build_processor
from nodes.vlm.views import FILE as VIEWS_FILE

STATE_FILE = "training-state.pt"
VIDEO_FILE = "video_preprocessor_config.json"
_KEPT_FILE = "kept-{}.npy"
_WARM_UP_STEPS = 60
_SAVE_EVERY_STEPS = 100
_KEPT_STEPS = 20  # one entry of the curve
_GAZE_WEIGHT = 1.0
_DENSE_WEIGHT = 0.5  # while reading
_MOST_WORKERS = 8
_LOOKED_AT_ONCE = 100  # frames, before it is told

OnStep = Callable[[int, int, dict[str, float]], None]
Losses = dict[str, Tensor]


@dataclass
class Progress:
    """What a training run leaves beside its weights: steps, seconds, and the mean losses of each 20 steps.

    `recipe`, `precision` and `device` are those it ended with; where it was resumed, an earlier part may have
    had others.
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
    """One model under training, with what it needs to go on.

    Args:
        recipe: which model.
        frames: of the train split.
        windows: of the train split, to practise on; None where `wants_windows` says that none are looked at.
        folder: where model, curve and state are written; each file is whole or not there.
        seed: of weights, order and turns.
        device: as torch names it.
        half: multiply in bfloat16; weights stay in float32.
        resume: go on from the folder's state.
    """

    def __init__(
        self,
        recipe: Recipe,
        frames: Sequence[TrainingFrame],
        windows: Windows | None,
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
        self.tower = EvenTower(self.model.model.visual, self.processor)
        self._gaze = Gaze(self.model.model.language_model)
        self._packer = Packer(self.processor)
        self._state = folder / STATE_FILE
        precision = "bfloat16" if half else "float32"
        self._progress = Progress(asdict(recipe), seed, len(frames), precision, torch.device(device).type)
        self._optimizer: torch.optim.Optimizer | None = None
        self._waiting: dict[str, Any] | None = None
        self._on_step: OnStep = lambda step, steps, losses: None
        if resume and self._state.is_file():
            self._restore()
        else:
            for kept in folder.glob(_KEPT_FILE.format("*")):
                kept.unlink()  # by another tower

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self._stages())

    def run(self, on_step: OnStep) -> Progress:
        """Train what is left, and save."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._on_step = on_step
        begun = (time.process_time(), time.monotonic(), self._progress.cpu_s, self._progress.wall_s)
        recent: list[Losses] = []
        told: dict[str, float] = {}
        for losses in self._all_steps():
            progress = self._progress
            progress.step += 1
            recent.append(losses)
            over = progress.step in self._stage_ends()
            if progress.step % _KEPT_STEPS == 0 or over:
                told, recent = _means(recent), []
                progress.curve.append({"step": progress.step} | told)
            on_step(progress.step, self.steps, told)
            if progress.step % _SAVE_EVERY_STEPS == 0 or over:
                progress.cpu_s = begun[2] + time.process_time() - begun[0]
                progress.wall_s = begun[3] + time.monotonic() - begun[1]
                self._save()
        save_model(self.model, self.processor, self._recipe, self._folder)
        self._state.unlink(missing_ok=True)
        return self._progress

    def _stages(self) -> tuple[Seeing | Reading | Recalling, ...]:
        return (*self._recipe.seeings, *self._recipe.readings, *self._recipe.recallings)

    def _all_steps(self) -> Iterator[Losses]:
        start = 0
        for number, stage in enumerate(self._stages()):
            done = self._progress.step - start
            if done < stage.steps:
                if isinstance(stage, Seeing):
                    yield from self._see(number, stage, done)
                elif isinstance(stage, Reading):
                    yield from self._read(number, stage, done)
                else:
                    yield from self._recall(number, stage, done)
            start += stage.steps

    def _see(self, number: int, seeing: Seeing, done: int) -> Iterator[Losses]:
        """Overviews and windows, each step turned one way; windows shifted by tokens too, to meet edges."""
        tower = self.model.model.visual
        self._begin(_decayed([tower], [self.heads]), seeing.peak_rate)
        smalls = torch.from_numpy(np.stack([frame.small for frame in self._frames])).to(self._device)
        grounds = Truths.stacked([overview_truths(frame) for frame in self._frames]).to(self._device)
        windows = self._windows if seeing.windows_per_step else None
        if windows is not None:
            windows = Windows(windows.pixels.to(self._device), windows.truths.to(self._device))
        for step in range(done, seeing.steps):
            self._set_rate(seeing.peak_rate, step, seeing.steps)
            rng = np.random.default_rng((self._seed, number, step))
            picks = self._picked(rng, len(smalls), seeing.frames_per_step)
            turn = int(rng.integers(TURNS))
            groups, truths = [turned_views(smalls[picks], turn)], [grounds.picked(picks).turned(turn)]
            if windows is not None:
                picks = self._picked(rng, len(windows.pixels), seeing.windows_per_step)
                tokens = windows.truths.kinds.shape[1]
                down, across = (int(shift) for shift in rng.integers(tokens, size=2))
                shift_px = [shift * windows.pixels.shape[1] // tokens for shift in (down, across)]
                side_px, side = seeing.window_px, seeing.window_px // TOKEN_PX
                pixels = turned_views(windows.pixels[picks], turn).roll(shift_px, dims=(1, 2))
                groups.append(pixels[:, :side_px, :side_px])
                truths.append(windows.truths.picked(picks).turned(turn).rolled(down, across).cut(side))
            with self._precision():
                seen = self.tower.see([group.contiguous() for group in groups])
            losses = self.heads.overview_losses(seen[0], truths[0])
            scores: Losses = {}
            if windows is not None:
                native, scores = self.heads.native_losses(seen[1], truths[1])
                losses |= native
            self._descend(_sum(losses), tower)
            yield _detached(losses | scores)

    def _picked(self, rng: np.random.Generator, count: int, most: int) -> Tensor:
        return torch.from_numpy(rng.choice(count, min(most, count), replace=False)).to(self._device)

    def _read(self, number: int, stage: Reading, done: int) -> Iterator[Losses]:
        self._begin(_decayed([self.model], [self.heads]), stage.peak_rate)  # its head is its embedding

        def make(step: int) -> Page:
            rng = np.random.default_rng((self._seed, number, step))
            tile_px, tiles = self._recipe.tile_px, stage.tiles
            shown = [show(frame, tile_px, tiles, rng) for frame in self._some(rng, stage.frames_per_step)]
            return Page.of(shown, self._packer)

        yield from self._read_pages(make, stage, done)

    def _recall(self, number: int, stage: Recalling, done: int) -> Iterator[Losses]:
        tile_px, path = self._recipe.tile_px, self._folder / _KEPT_FILE.format(number)
        assert tile_px is not None  # noqa: S101 - only such models are shown tiles
        frames = self._frames[: stage.of_frames]
        kept = Kept(frames, tile_px, stage.kept_tiles, self._seed, path, self._recipe.text_dim)
        for looked in kept.look(self.tower, self._device, _workers()):
            if looked % _LOOKED_AT_ONCE == 0:
                self._on_step(self._progress.step, self.steps, {"looked": looked / len(frames)})
        self._begin(_decayed([self.model.model.language_model], []), stage.peak_rate)

        def make(step: int) -> Page:
            rng = np.random.default_rng((self._seed, number, step))
            picks = rng.choice(len(frames), min(stage.frames_per_step, len(frames)), replace=False)
            fewest, most = stage.tiles
            tiles = int(rng.integers(fewest, most + 1))
            shown = [kept.show(int(pick), tiles, rng) for pick in picks]
            return Page.of([one for one, _ in shown], self._packer, [features for _, features in shown])

        yield from self._read_pages(make, stage, done)
        path.unlink()

    def _read_pages(
        self, make: Callable[[int], Page], stage: Reading | Recalling, done: int
    ) -> Iterator[Losses]:
        for step, page in enumerate(made_ahead(make, range(done, stage.steps), _workers()), start=done):
            self._set_rate(stage.peak_rate, step, stage.steps)
            yield self._read_page(page)

    def _some(self, rng: np.random.Generator, most: int) -> list[TrainingFrame]:
        picks = rng.choice(len(self._frames), min(most, len(self._frames)), replace=False)
        return [self._frames[pick] for pick in picks]

    def _read_page(self, page: Page) -> Losses:
        batch, where = page.batch, page.where.to(self._device)
        targets = batch.labels.to(self._device)
        losses: Losses = {}
        with self._precision():
            if page.kept is None:
                seen = self.tower.see([group.to(self._device) for group in page.groups])
                losses = {name: _DENSE_WEIGHT * loss for name, loss in self._dense(page, seen).items()}
                features = page.features(seen)
            else:
                features = page.kept.to(self._device)
            logits = self.logits(batch, where, features).float()
            losses["answer"] = functional.cross_entropy(logits, targets)
            if len(page.ends):
                wanted = page.wanted.to(self._device)
                look = self._gaze.loss(page.ends.to(self._device), where, wanted)
                losses["gaze"] = _GAZE_WEIGHT * look
        learning = self.model if page.kept is None else self.model.model.language_model
        self._descend(_sum(losses), learning)  # what learns no more may have gradients of before
        right = (logits.detach().argmax(-1) == targets).float()
        first = page.first.to(self._device)
        fine = (page.fine & page.first).to(self._device)
        return _detached(losses) | {
            "right": (right * first).sum() / first.sum(),
            "fine": (right * fine).sum() / fine.sum().clamp(min=1),
        }

    def _dense(self, page: Page, seen: Sequence[Tensor]) -> Losses:
        losses = self.heads.overview_losses(seen[-1], page.ground.to(self._device))
        if page.native is not None:
            losses |= self.heads.native_losses(seen[0], page.native.to(self._device))[0]
        return losses

    def logits(self, batch: Batch, where: Tensor, features: Tensor) -> Tensor:
        """Logits [labels, vocabulary].

        Args:
            where: bool[sequences, length], the image tokens.
            features: [image tokens, text_dim], what the tower made of them, sequence by sequence.
        """
        ids = batch.input_ids.to(self._device)
        embedded = self.model.get_input_embeddings()(ids)
        language_model = self.model.model.language_model
        with packed(language_model):
            hidden = language_model(
                inputs_embeds=embedded.masked_scatter(where[..., None], features.to(embedded.dtype)),
                position_ids=batch.positions.to(self._device),
                attention_mask={"full_attention": PackedMask.of(batch, self._device)},
                use_cache=False,
            ).last_hidden_state
        sequences, tokens = batch.labelled.to(self._device).unbind(1)
        logits: Tensor = self.model.lm_head(hidden[sequences, tokens])
        return logits

    def _begin(self, groups: list[dict[str, Any]], peak_rate: float) -> None:
        self._optimizer = torch.optim.AdamW(groups, lr=peak_rate, betas=(0.9, 0.98))
        if self._waiting is not None:
            self._optimizer.load_state_dict(self._waiting)
            self._waiting = None

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
        told = json.dumps(asdict(self._progress), indent=1) + "\n"
        write_atomically(self._folder / "training.json", told, durable=True)
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
        self._waiting = saved["optimizer"]
        now = self._progress
        plan = {"recipe": now.recipe, "precision": now.precision, "device": now.device}
        self._progress = Progress(**(saved["progress"] | plan))
        self._progress.resumed_at.append(self._progress.step)


def _workers() -> int:
    """Threads that make ready what the next steps read."""
    return min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))


def _sum(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _detached(losses: Losses) -> Losses:
    return {name: loss.detach() for name, loss in losses.items()}


def _decayed(modules: Sequence[nn.Module], undecayed: Sequence[nn.Module]) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay, vectors and the heads that are thrown away do not."""
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
    return {name: round(float(torch.stack([one[name] for one in recent]).mean()), 4) for name in recent[-1]}


def wants_windows(recipe: Recipe, folder: Path, *, resume: bool) -> bool:
    """Whether a Seeing stage that looks at windows is not over, in the folder's state if that is resumed."""
    state, step = folder / STATE_FILE, 0
    if resume and state.is_file():
        step = torch.load(state, weights_only=True, map_location="cpu", mmap=True)["progress"]["step"]
    ends = accumulate(seeing.steps for seeing in recipe.seeings)  # these are the first stages
    return any(one.windows_per_step and step < end for one, end in zip(recipe.seeings, ends, strict=True))


def build(recipe: Recipe) -> tuple[Any, Any]:
    """Build processor and untrained model of a recipe."""
    processor = build_processor(
        vocabulary(),
        largest_px=max(recipe.tile_px or 0, OVERVIEW_PX),
        patch_px=recipe.patch_px,
        merge=recipe.merge,
    )
    model = Qwen2VLForConditionalGeneration(build_config(recipe, processor.tokenizer))
    start_as_waves(model.model.visual.patch_embed.proj.weight)
    return processor, model


def save_model(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    """Save processor, views and a copy of the model in half precision; the model in hand stays as it is.

    Each file is made elsewhere in the folder, and put in its place when all are whole.
    """
    with TemporaryDirectory(dir=folder, prefix=".saving-") as made:
        _save_files(model, processor, recipe, Path(made))
        for file in Path(made).iterdir():
            file.replace(folder / file.name)


def _save_files(model: Any, processor: Any, recipe: Recipe, folder: Path) -> None:
    half = {name: value.half().cpu() for name, value in model.state_dict().items()}
    before, model.config.dtype = model.config.dtype, torch.float16
    model.save_pretrained(folder, state_dict=half)
    model.config.dtype = before
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)
    images = processor.image_processor
    video = {"video_processor_type": "Qwen2VLVideoProcessor"}  # AutoProcessor asks for it, with torchvision
    sizes = {name: getattr(images, name) for name in ("patch_size", "temporal_patch_size", "merge_size")}
    (folder / VIDEO_FILE).write_text(json.dumps(video | sizes) + "\n", encoding="utf-8")
    (folder / VIEWS_FILE).write_text(json.dumps(asdict(recipe.views)) + "\n", encoding="utf-8")


def halves_are_faster() -> bool:
    """Whether this processor multiplies in bfloat16 at least 1.5 times as fast as in float32; by trial."""
    return _product_s(torch.bfloat16) * 1.5 < _product_s(torch.float32)


def _product_s(dtype: torch.dtype) -> float:
    one, other = torch.ones(2048, 192, dtype=dtype), torch.ones(192, 768, dtype=dtype)
    times = []
    for _ in range(12):
        begun = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2]
