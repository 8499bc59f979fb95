"""Windows of dense fine content for vision stages.

A frame's window has rows in one plot of nine and few objects to count, too sparse a signal to learn from.
Here half of the plots have rows, and any number of objects counts. Crowns are those of the train split.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nodes.lab.eo_mini.build import JPEG_QUALITY
from nodes.lab.eo_mini.sources import open_sources
from nodes.lab.eo_mini.windows import WINDOW_PX, draw_dense_window
from nodes.lab.training.examples.frames import TOKEN_PX, Content
from nodes.lab.training.examples.targets import KINDS, DenseTargets, dense_targets

Crowns = Sequence[NDArray[np.uint8]]
WINDOWS = 12_000
_PER_CALL = 200
_SEED = 77


@dataclass(frozen=True)
class PretrainingWindows:
    """Pixels, uint8[windows, WINDOW_PX, WINDOW_PX, 3], and their dense targets."""

    pixels: Tensor
    targets: DenseTargets


def pretraining_windows(cache: Path, count: int = WINDOWS) -> PretrainingWindows:
    """Render `count` windows, a third of each fine kind, with a fixed seed and a process per core.

    Raises:
        SourceError: The imagery cannot be fetched or read.
    """
    crowns = open_sources(cache).crowns["train"]
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(partial(_drawn, crowns), range(-(-count // _PER_CALL))))
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts])[:count])
    return PretrainingWindows(
        pixels, window_targets([content for _, contents in parts for content in contents][:count])
    )


def _drawn(crowns: Crowns, number: int) -> tuple[NDArray[np.uint8], list[Content]]:
    rng = np.random.default_rng((_SEED, number))
    drawn = [draw_window(kind, crowns, rng) for kind in (KINDS[1:] * _PER_CALL)[:_PER_CALL]]
    return np.stack([pixels for pixels, _ in drawn]), [content for _, content in drawn]


def window_targets(contents: Sequence[Content]) -> DenseTargets:
    """Return the dense targets of windows with one content each."""
    whole = (0, 0, WINDOW_PX, WINDOW_PX)
    return DenseTargets.stacked(
        [dense_targets([content], whole, WINDOW_PX // TOKEN_PX) for content in contents]
    )


def draw_window(kind: str, crowns: Crowns, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Content]:
    """Render one window with the frames' JPEG compression: uint8[WINDOW_PX, WINDOW_PX, 3]."""
    pixels, marks = draw_dense_window(kind, crowns, rng)
    edge = float(WINDOW_PX)
    return _compressed(pixels), Content(kind, (0.0, 0.0, edge, edge), tuple(marks))


def _compressed(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=2)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))
