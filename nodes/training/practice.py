"""Windows of fine content drawn anew, fuller than those of frames, for a tower to practise on.

In a frame's window one plot of nine has rows and a few objects count: so little to learn from that the
direction of rows was not found in 1,500 steps. Here half of the plots have rows, and any number of objects
count. Crowns are those of the train split.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.eo_mini.build import JPEG_QUALITY
from nodes.eo_mini.windows import WINDOW_PX, draw_practice
from nodes.training.architecture import TOKEN_PX
from nodes.training.frames import Content
from nodes.training.looks import Look
from nodes.training.targets import KINDS, truths_of

Crowns = Sequence[NDArray[np.uint8]]


def practice(crowns: Crowns, rng: np.random.Generator) -> list[Look]:
    """One window of each kind, compressed as frames are."""
    looks = []
    for kind in KINDS[1:]:
        pixels, found = draw_practice(kind, crowns, rng)
        content = Content(kind, (0.0, 0.0, float(WINDOW_PX), float(WINDOW_PX)), tuple(found))
        truths = truths_of([content], (0, 0, WINDOW_PX, WINDOW_PX), WINDOW_PX // TOKEN_PX, 0)
        looks.append(Look(_compressed(pixels), truths))
    return looks


def _compressed(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=2)
    with Image.open(buffer) as opened:
        return np.asarray(opened.convert("RGB"))
