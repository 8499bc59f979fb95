"""Evaluation of whole model folders on eo-mini: writes evaluation.csv files and model cards.

nodes/models/<name>/evaluation.csv, README.md    the pair that ships
nodes/models/others/<name>.csv, <name>.json      other seeds, the control, retrained models; no weights
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress
from safetensors import safe_open

from nodes.contract.files import write_atomically
from nodes.data import EO_MINI
from nodes.lab.eo_mini.gates import read_lines
from nodes.lab.training.card import EvaluatedModel, ReferenceModel, card
from nodes.lab.training.evaluate import examine, question_only_answers, read_rows, select_heads, write_rows
from nodes.models import FOLDER
from nodes.vlm.model import load_model

_ROWS, _TRAINING = "evaluation.csv", "training.json"
OTHERS = FOLDER / "others"


def evaluate_folders(
    folders: Sequence[Path], blind_from: Sequence[tuple[str, str]], validation: Path
) -> None:
    """Evaluate each folder's model on one thread, write its evaluation.csv, then regenerate all cards.

    Args:
        folders: Model folders. The rows of a model that does not ship go to `others`.
        blind_from: Prompt and truth of each training question, for the question-only baseline.
        validation: Folder of the val split, on which attention heads are selected.
    """
    blind = question_only_answers(blind_from)
    lines = len(read_lines(EO_MINI))
    for folder in folders:
        model = load_model(folder, threads=1)
        model.warm_up()
        heads = [] if model.views and model.views.tile_px else select_heads(model, validation)
        with Progress() as bar:
            task = bar.add_task(folder.name, total=lines)
            rows = examine(model, EO_MINI, blind, heads=heads, on_prompt=partial(bar.advance, task))
        if folder.parent != FOLDER:
            OTHERS.mkdir(exist_ok=True)
            write_rows(rows, OTHERS / f"{folder.name}.csv")
            _store_facts(folder / _TRAINING, OTHERS / f"{folder.name}.json")
        else:
            write_rows(rows, folder / _ROWS)
            write_atomically(folder / "heads.json", json.dumps(heads) + "\n")
    for folder in (FOLDER / "compact", FOLDER / "regular"):
        write_atomically(folder / "README.md", show_card(folder))
        print(f"wrote {folder / 'README.md'}")


def show_card(folder: Path) -> str:
    """Return a shipped model's card, computed from the evaluation.csv files."""
    names = [name for name in ("compact", "regular") if name != folder.name]
    others = {path.stem: _reference_model(path) for path in sorted(OTHERS.glob("*.csv"))}
    return card(_evaluated(folder), _evaluated(folder.parent / names[0]), others)


def _store_facts(of_training: Path, path: Path) -> None:
    """Copy a training.json without its curve, which is long."""
    training: dict[str, Any] = json.loads(of_training.read_text(encoding="utf-8"))
    facts = {name: value for name, value in training.items() if name != "curve"}
    write_atomically(path, json.dumps(facts, indent=1) + "\n")


def _reference_model(rows: Path) -> ReferenceModel:
    facts = rows.with_suffix(".json")  # missing for the first models
    training = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else None
    return ReferenceModel(read_rows(rows), training)


def _evaluated(folder: Path) -> EvaluatedModel:
    training: dict[str, Any] = json.loads((folder / _TRAINING).read_text(encoding="utf-8"))
    heads = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
    return EvaluatedModel(
        name=folder.name,
        rows=read_rows(folder / _ROWS),
        parameters=_parameters(folder / "model.safetensors"),
        weights_bytes=(folder / "model.safetensors").stat().st_size,
        training=training,
        heads=[(int(layer), int(head)) for layer, head in heads],
    )


def _parameters(weights: Path) -> int:
    with safe_open(weights, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no dict
