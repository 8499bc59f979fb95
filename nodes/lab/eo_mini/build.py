"""Draws a split of eo-mini and writes its frames and `prompts.jsonl`, with the fields that the gates need."""

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
from nodes.lab.eo_mini.prompts import ASKED_COVERS, Balance, Question, about_clouds, about_ground
from nodes.lab.eo_mini.sources import Sources
from nodes.lab.eo_mini.windows import ANSWERS, PROMPTS, WINDOW_PX, Window, draw_window

SEEDS: dict[Split, int] = {"train": 1, "val": 2, "test": 3}
FRAMES: dict[Split, int] = {"train": 1600, "val": 96, "test": 96}
CELLS = FRAME_PX // CELL_PX
JPEG_QUALITY = 76
_WATER_CELL, _LAND_CELL = 0.9, 0.6  # least share of water or land in a cell that takes a window
_WINDOW_MARGIN_PX = 12


@dataclass(frozen=True)
class Placed:
    """A window, and its upper left corner in pixels of the frame."""

    window: Window
    left_px: int
    top_px: int


@dataclass(frozen=True)
class Frame:
    """One frame, its composited windows and its questions.

    Attributes:
        ground: Ground and clouds before anything is composited.
        cloud: Opacity of the clouds, 0 over windows; float32[FRAME_PX, FRAME_PX].
        pixels: The finished picture; uint8[FRAME_PX, FRAME_PX, 3].
        windows: Composited windows, at most one of each fine kind.
        questions: Coarse questions, then one about each window.
    """

    ground: Ground
    cloud: Floats
    pixels: NDArray[np.uint8]
    windows: tuple[Placed, ...]
    questions: tuple[Question, ...]


def draw_frames(sources: Sources, split: Split, count: int, seed: int) -> Iterator[Frame]:
    """Draw frames one after another; the same seed draws the same frames.

    Each frame has its own generator, so a change in the drawing of one leaves the others alone. The balance
    of answers is kept over all of them.
    """
    balance = Balance()
    order = np.random.default_rng([SEEDS[split], seed])
    answers = {kind: _equally_often(names, count, order) for kind, names in ANSWERS.items()}
    amounts = _equally_often(tuple(CLOUD_SHARES), count, order)
    mains = _equally_often((*ASKED_COVERS, None), count, order)
    for number in range(count):
        rng = np.random.default_rng([SEEDS[split], seed, number])
        ground = draw_ground(sources, split, mains[number], amounts[number], rng)
        fine_answers = {kind: names[number] for kind, names in answers.items()}
        yield _draw_frame(sources, split, ground, amounts[number], fine_answers, balance, rng)


def _equally_often(names: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """Return `count` names in random order, each equally often."""
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
    for spot in placed:
        area = _area(pixels, spot)
        opacity = spot.window.opacity[..., None]
        area[:] = area * (1 - opacity) + spot.window.pixels * opacity
    coarse = about_clouds(amount, cloud)
    if amount in ("none", "some"):
        coarse += about_ground(ground.shares)
    fine = [Question(spot.window.kind, PROMPTS[spot.window.kind], spot.window.answer) for spot in placed]
    questions = (*balance.choose(coarse, rng), *fine)
    return Frame(ground, cloud, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), tuple(placed), questions)


def _cells(ground: Ground, rng: np.random.Generator) -> dict[str, int]:
    """Choose a cell for each fine kind: ships on water if there is any; the others on land, or not at all."""
    side = ground.cover.shape[0] // CELLS
    water = (ground.cover == 0).reshape(CELLS, side, CELLS, side).mean(axis=(1, 3)).ravel()
    order = [int(cell) for cell in rng.permutation(CELLS * CELLS)]
    sea = [cell for cell in order if water[cell] >= _WATER_CELL]
    chosen = {"ships": (sea or order)[0]}
    land = [cell for cell in order if 1 - water[cell] >= _LAND_CELL and cell not in chosen.values()]
    return chosen | dict(zip(("rows", "crowns"), land, strict=False))


def _cleared(cloud: Floats, placed: Sequence[Placed]) -> Floats:
    """Return the clouds with holes at the windows."""
    cleared: Floats = cloud.copy()
    for spot in placed:
        area = _area(cleared, spot)
        area *= 1 - spot.window.opacity
    return cleared


def _area(raster: Floats, spot: Placed) -> Floats:
    """Return the view of a frame's raster that a window covers."""
    return raster[spot.top_px : spot.top_px + WINDOW_PX, spot.left_px : spot.left_px + WINDOW_PX]


def write(
    frames: Iterator[Frame], folder: Path, on_frame: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Write frames, then `prompts.jsonl`, and return its lines.

    A folder without `prompts.jsonl` is incomplete.
    """
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
    """Return a frame as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=2, optimize=True)
    return buffer.getvalue()


def _lines(name: str, frame: Frame, digest: str) -> Iterator[dict[str, Any]]:
    placed = {spot.window.kind: spot for spot in frame.windows}
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
        if spot := placed.get(question.kind):
            edges = (spot.left_px, spot.top_px, spot.left_px + WINDOW_PX, spot.top_px + WINDOW_PX)
            line["box"] = [edge / FRAME_PX for edge in edges]
            line["cell"] = spot.top_px // CELL_PX * CELLS + spot.left_px // CELL_PX
            line["marks_px"] = [
                [round(spot.left_px + x, 1), round(spot.top_px + y, 1)] for x, y in spot.window.marks
            ]
        yield line
