"""Examines model folders and writes their evaluation.csv and cards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.progress import Progress
from safetensors import safe_open

from nodes.training.card import Measured, card, read_training
from nodes.training.evaluate import examine, read_rows, write_rows
from nodes.training.examination import draw_examination
from nodes.training.places import FRAME_PX
from nodes.training.questions import training_balance
from nodes.training.sources import open_rasters
from nodes.vlm import load_model

_ROWS = "evaluation.csv"


def evaluate_folders(folders: Sequence[Path], cache: Path, *, frames: int, seed: int) -> None:
    """Examine each folder's model on one thread, and write its evaluation.csv and README.md.

    A card compares the model with its neighbour in the same place, whose card is written again too.
    """
    rasters = open_rasters(cache)
    balance = training_balance(rasters)
    examined = list(draw_examination(rasters, balance, frames, seed=seed))
    for folder in folders:
        model = load_model(folder, threads=1)
        model.answer(examined[0].image(), examined[0].questions[0].prompt, max_new_tokens=2)  # warm up
        with Progress() as bar:
            task = bar.add_task(folder.name, total=len(examined))
            rows = examine(model, examined, balance, partial(bar.advance, task))
        write_rows(rows, folder / _ROWS)
    for place in sorted({beside for folder in folders for beside in (folder, *_neighbours(folder))}):
        (place / "README.md").write_text(show_card(place), encoding="utf-8")
        print(f"wrote {place / 'README.md'}")


def show_card(folder: Path) -> str:
    """Compute a card from evaluation.csv, against the first neighbour that was asked the same prompts."""
    mine = _measured(folder)
    asked = {(row.frame, row.prompt) for row in mine.rows}
    others = [_measured(beside) for beside in _neighbours(folder)]
    same = [other for other in others if {(row.frame, row.prompt) for row in other.rows} == asked]
    return card(mine, read_training(folder), same[0] if same else None)


def _neighbours(folder: Path) -> list[Path]:
    return [
        path.parent for path in sorted(folder.parent.glob(f"*/{_ROWS}")) if path.parent.name != folder.name
    ]


def _measured(folder: Path) -> Measured:
    training = read_training(folder)
    return Measured(
        name=folder.name,
        rows=read_rows(folder / _ROWS),
        parameters=_parameters(folder / "model.safetensors"),
        weights_bytes=(folder / "model.safetensors").stat().st_size,
        input_px=FRAME_PX // int(training["recipe"]["reduce"]),
    )


def _parameters(weights: Path) -> int:
    with safe_open(weights, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no dict
