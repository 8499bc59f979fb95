"""Chooses the frames of a first run: sixteen of the test split, one prompt each, by seed.

No model is asked while they are chosen: what it answers right or wrong must not decide what is shown.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nodes.lab.eo_mini.gates import Line, read_lines

FRAMES = 16
_SEED = 2018_01_20


def choose_first_light(split: Path, folder: Path) -> list[Line]:
    """Write `folder/prompts.jsonl`, whose images lie in `split`; returns its lines. Raises SplitError.

    Every kind comes equally often, as far as sixteen goes, and no frame twice.
    """
    rng = np.random.default_rng(_SEED)
    lines = read_lines(split)
    kinds = sorted({line["kind"] for line in lines})
    wanted = [kinds[n % len(kinds)] for n in range(FRAMES)]
    chosen: list[Line] = []
    for kind in rng.permutation(wanted):
        taken = {line["frame"] for line in chosen}
        free = [line for line in lines if line["kind"] == kind and line["frame"] not in taken]
        chosen.append(dict(free[int(rng.integers(len(free)))]))
    folder.mkdir(parents=True, exist_ok=True)
    for line in chosen:
        line["image"] = f"../{split.name}/{line['image']}"
    text = "".join(json.dumps(line) + "\n" for line in chosen)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return chosen
