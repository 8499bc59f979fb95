"""Windows of fine content, fuller than those of frames, for a tower to practise on.

In a frame's window one plot of nine has rows and a few objects count: so little to learn from that the
direction of rows was not found in 1,500 steps. Here half of the plots have rows, and any number of objects
count. Crowns are those of the train split.
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
from nodes.lab.eo_mini.windows import WINDOW_PX, draw_practice
from nodes.lab.training.examples.frames import TOKEN_PX, Content
from nodes.lab.training.examples.targets import KINDS, Truths, truths_of

Crowns = Sequence[NDArray[np.uint8]]
WINDOWS = 12_000
_PER_CALL = 200
_SEED = 77


@dataclass(frozen=True)
class Windows:
    """Pixels, uint8[windows, WINDOW_PX, WINDOW_PX, 3], and what lies under their tokens."""

    pixels: Tensor
    truths: Truths


def practice_windows(cache: Path, count: int = WINDOWS) -> Windows:
    """Draw `count` windows, a third of each fine kind, the same each time; a process for each core.

    Raises SourceError.
    """
    crowns = open_sources(cache).crowns["train"]
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(partial(_drawn, crowns), range(-(-count // _PER_CALL))))
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in parts])[:count])
    return Windows(pixels, stacked([one for _, contents in parts for one in contents][:count]))


def _drawn(crowns: Crowns, number: int) -> tuple[NDArray[np.uint8], list[Content]]:
    rng = np.random.default_rng((_SEED, number))
    drawn = [draw_window(kind, crowns, rng) for kind in (KINDS[1:] * _PER_CALL)[:_PER_CALL]]
    return np.stack([pixels for pixels, _ in drawn]), [content for _, content in drawn]


def stacked(contents: Sequence[Content]) -> Truths:
    """What lies under the tokens of windows that each hold one content."""
    whole = (0, 0, WINDOW_PX, WINDOW_PX)
    return Truths.stacked([truths_of([one], whole, WINDOW_PX // TOKEN_PX) for one in contents])


def draw_window(kind: str, crowns: Crowns, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Content]:
    """Draw one window, compressed as frames are: uint8[WINDOW_PX, WINDOW_PX, 3]."""
    pixels, found = draw_practice(kind, crowns, rng)
    edge = float(WINDOW_PX)
    return _compressed(pixels), Content(kind, (0.0, 0.0, edge, edge), tuple(found))


def _compressed(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=2)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))
