"""Files of the benchmark: a split with its frames, and the pictures of the documentation."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nodes.contract.files import write_atomically
from nodes.lab.eo_mini_2.compose import FRAMES, draw_scenes
from nodes.lab.eo_mini_2.questions import questions
from nodes.lab.eo_mini_2.render import Pixels, native, render
from nodes.lab.eo_mini_2.scene import FRAME_PX, Scene, to_json

JPEG_QUALITY = 80
_SHOWN_PX, _DETAIL_PX, _PICTURE_QUALITY = 336, 336, 72


def write(scenes: Iterable[Scene], folder: Path, on_frame: Callable[[], None] = lambda: None) -> int:
    """Write frames, then `scenes.jsonl` and `prompts.jsonl`, and return the number of prompts.

    A folder without `prompts.jsonl` is incomplete.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described, lines = [], []
    for scene in scenes:
        octets = encoded(native(scene), JPEG_QUALITY)
        write_atomically(folder / f"{scene.name}.jpg", octets)
        described.append(to_json(scene) + "\n")
        for question in questions(scene):
            line = {
                "frame": scene.name,
                "image": f"{scene.name}.jpg",
                "prompt": question.prompt,
                "truth": question.truth,
                "kind": question.kind,
                "cells": question.cells,
                "condition": scene.condition,
                "sensor_bytes": scene.sensor_bytes,
                "sha256": hashlib.sha256(octets).hexdigest(),
            }
            lines.append(json.dumps(line) + "\n")
        on_frame()
    write_atomically(folder / "scenes.jsonl", "".join(described))
    write_atomically(folder / "prompts.jsonl", "".join(lines))
    return len(lines)


def encoded(pixels: Pixels, quality: int) -> bytes:
    """Return pixels as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2, optimize=True)
    return buffer.getvalue()


def draw_pictures(folder: Path) -> Iterator[Path]:
    """Write pictures of ten usable test frames, a clouded and a dark one, and yield their paths.

    Each picture has the reduced frame, enlarged by half, and beside it 336 native pixels around one thing.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = {"usable": 10, "clouded": 1, "dark": 1}
    for scene in draw_scenes("test", FRAMES["test"]):
        room[scene.condition] -= 1
        if room[scene.condition] < 0:
            continue
        path = folder / f"{scene.name}.jpg"
        write_atomically(path, encoded(_picture(scene), _PICTURE_QUALITY))
        yield path


def _picture(scene: Scene) -> Pixels:
    whole = Image.fromarray(render(scene)).resize((_SHOWN_PX, _SHOWN_PX), Image.Resampling.NEAREST)
    thing = scene.things[0]
    left, top = (
        int(np.clip(at - _DETAIL_PX / 2, 0, FRAME_PX - _DETAIL_PX)) for at in (thing.x_px, thing.y_px)
    )
    detail = native(scene, left, top, _DETAIL_PX, _DETAIL_PX)
    gap = np.full((_SHOWN_PX, 6, 3), 255, np.uint8)
    return np.hstack([np.asarray(whole), gap, detail])
