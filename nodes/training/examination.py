"""The test questions: frames of places that were never trained on, as the shipped programs would get them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nodes.training.questions import Balance, Question
from nodes.training.scene import Scene, draw_scene
from nodes.training.sources import Rasters

JPEG_QUALITY = 90
QUESTIONS_PER_FRAME = 5
_SPACING_DEG = 4.0


@dataclass(frozen=True)
class Examined:
    """One test frame, compressed, and what is asked about it."""

    name: str
    scene: Scene
    jpeg: bytes
    questions: tuple[Question, ...]

    def image(self) -> Image.Image:
        """Decode the frame, as a node does."""
        return Image.open(io.BytesIO(self.jpeg)).convert("RGB")


def draw_examination(rasters: Rasters, balance: Balance, frames: int, *, seed: int = 1) -> Iterator[Examined]:
    """Draw `frames` test frames with up to 5 questions each; equal seeds draw equal frames.

    Centres are at least 4 degrees apart, so that frames are not nearly the same; they may still overlap.
    """
    rng = np.random.default_rng((seed, 2 * 10**9))
    taken: list[Scene] = []
    while len(taken) < frames:
        scene = draw_scene(rasters, "test", rng)
        if any(_close(scene, other) for other in taken):
            continue
        questions = balance.draw(scene, QUESTIONS_PER_FRAME, rng)
        if not questions:
            continue
        taken.append(scene)
        yield Examined(f"t{len(taken):03d}", scene, encode(scene), tuple(questions))


def encode(scene: Scene) -> bytes:
    """Compress a scene's frame as the shipped frames are."""
    buffer = io.BytesIO()
    Image.fromarray(scene.pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _close(scene: Scene, other: Scene) -> bool:
    return (
        abs(scene.place.latitude_deg - other.place.latitude_deg) < _SPACING_DEG
        and abs(scene.place.longitude_deg - other.place.longitude_deg) < _SPACING_DEG
    )
