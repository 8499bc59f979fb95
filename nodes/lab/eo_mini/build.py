"""Draws a split of eo-mini and writes it: frames, `prompts.jsonl`, and what the gates need to know."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nodes.contract.files import write_atomically
from nodes.lab.eo_mini.ground import CLOUD_SHARES, Floats, Ground, draw_ground
from nodes.lab.eo_mini.places import CELL_PX, FRAME_PX, Split
from nodes.lab.eo_mini.prompts import ASKED, Balance, Question, about_clouds, about_ground
from nodes.lab.eo_mini.sources import Sources
from nodes.lab.eo_mini.windows import ANSWERS, PROMPTS, WINDOW_PX, Window, draw_window

SEEDS: dict[Split, int] = {"train": 1, "val": 2, "test": 3}
FRAMES: dict[Split, int] = {"train": 1600, "val": 96, "test": 96}
CELLS = FRAME_PX // CELL_PX
JPEG_QUALITY = 76
_WATER_CELL, _LAND_CELL = 0.9, 0.6  # share of a cell, for a window to lie there
_WINDOW_MARGIN_PX = 12


@dataclass(frozen=True)
class Placed:
    """A window and where its upper left corner is, px of the frame."""

    window: Window
    left_px: int
    top_px: int


@dataclass(frozen=True)
class Frame:
    """One frame: `pixels` uint8[FRAME_PX, FRAME_PX, 3], what was composited, and what is asked.

    `cloud`: float32[FRAME_PX, FRAME_PX], opacity of the clouds, none over what was composited.
    """

    ground: Ground
    cloud: Floats
    pixels: NDArray[np.uint8]
    windows: tuple[Placed, ...]
    questions: tuple[Question, ...]


def draw_frames(sources: Sources, split: Split, count: int, seed: int) -> Iterator[Frame]:
    """Draw frames one after another; the same for the same seed.

    Each has its own generator, so that a change in how one is drawn leaves the others alone; the balance of
    answers goes through all of them.
    """
    balance = Balance()
    turns = np.random.default_rng([SEEDS[split], seed])
    answers = {kind: _in_turn(names, count, turns) for kind, names in ANSWERS.items()}
    amounts = _in_turn(tuple(CLOUD_SHARES), count, turns)
    mains = _in_turn((*ASKED, None), count, turns)
    for number in range(count):
        rng = np.random.default_rng([SEEDS[split], seed, number])
        ground = draw_ground(sources, split, mains[number], amounts[number], rng)
        asked = {kind: names[number] for kind, names in answers.items()}
        yield _draw_frame(sources, split, ground, amounts[number], asked, balance, rng)


def _in_turn(names: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """Each name equally often, in random order."""
    return [names[n % len(names)] for n in rng.permutation(count)]


def _draw_frame(
    sources: Sources,
    split: Split,
    ground: Ground,
    amount: str,
    answers: dict[str, str],
    balance: Balance,
    rng: np.random.Generator,
) -> Frame:
    placed = []
    for kind, cell in _cells(ground, rng).items():
        window = draw_window(kind, answers[kind], sources.crowns[split], rng)
        low, high = _WINDOW_MARGIN_PX, CELL_PX - WINDOW_PX - _WINDOW_MARGIN_PX
        top, left = (int(n * CELL_PX + rng.integers(low, high)) for n in divmod(cell, CELLS))
        placed.append(Placed(window, left, top))
    cloud = _cleared(ground.cloud, placed)
    pixels = ground.seen(cloud)
    for one in placed:
        area = pixels[one.top_px : one.top_px + WINDOW_PX, one.left_px : one.left_px + WINDOW_PX]
        opacity = one.window.opacity[..., None]
        area[:] = area * (1 - opacity) + one.window.pixels * opacity
    found = about_clouds(amount, cloud)
    if amount in ("none", "some"):
        found += about_ground(ground.shares)
    fine = [Question(one.window.kind, PROMPTS[one.window.kind], one.window.answer) for one in placed]
    questions = (*balance.choose(found, rng), *fine)
    return Frame(ground, cloud, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), tuple(placed), questions)


def _cells(ground: Ground, rng: np.random.Generator) -> dict[str, int]:
    """A cell for each fine kind: ships where there is water, if there is any; the others on land, or not."""
    side = ground.cover.shape[0] // CELLS
    water = (ground.cover == 0).reshape(CELLS, side, CELLS, side).mean(axis=(1, 3)).ravel()
    order = [int(cell) for cell in rng.permutation(CELLS * CELLS)]
    sea = [cell for cell in order if water[cell] >= _WATER_CELL]
    chosen = {"ships": (sea or order)[0]}
    land = [cell for cell in order if 1 - water[cell] >= _LAND_CELL and cell not in chosen.values()]
    return chosen | dict(zip(("rows", "crowns"), land, strict=False))


def _cleared(cloud: Floats, placed: Sequence[Placed]) -> Floats:
    """The clouds without what would lie over a window."""
    cleared: Floats = cloud.copy()
    for one in placed:
        area = cleared[one.top_px : one.top_px + WINDOW_PX, one.left_px : one.left_px + WINDOW_PX]
        area *= 1 - one.window.opacity
    return cleared


def write(
    frames: Iterator[Frame], folder: Path, on_frame: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Write frames and `prompts.jsonl`; returns its lines. What is not whole has no `prompts.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for number, frame in enumerate(frames):
        name = f"e{number:04d}"
        octets = encoded(frame.pixels)
        (folder / f"{name}.jpg").write_bytes(octets)
        lines += _lines(name, frame, hashlib.sha256(octets).hexdigest())
        on_frame()
    write_atomically(folder / "prompts.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return lines


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """The frame as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=2, optimize=True)
    return buffer.getvalue()


def _lines(name: str, frame: Frame, digest: str) -> Iterator[dict[str, Any]]:
    placed = {one.window.kind: one for one in frame.windows}
    for question in frame.questions:
        line: dict[str, Any] = {
            "frame": name,
            "image": f"{name}.jpg",
            "prompt": question.prompt,
            "truth": question.answer,
            "kind": question.kind,
            "family": "fine" if question.kind in placed else "coarse",
            "latitude_deg": round(frame.ground.place.latitude_deg, 3),
            "longitude_deg": round(frame.ground.place.longitude_deg, 3),
            "sha256": digest,
        }
        if one := placed.get(question.kind):
            edges = (one.left_px, one.top_px, one.left_px + WINDOW_PX, one.top_px + WINDOW_PX)
            line["box"] = [edge / FRAME_PX for edge in edges]
            line["cell"] = one.top_px // CELL_PX * CELLS + one.left_px // CELL_PX
            line["marks_px"] = [
                [round(one.left_px + x, 1), round(one.top_px + y, 1)] for x, y in one.window.marks
            ]
        yield line
