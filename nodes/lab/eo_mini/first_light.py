"""Selects the frames of a first run: sixteen of the test split, one prompt each, at random from a fixed seed.

No model takes part in the selection, so the sample is not biased by the answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nodes.lab.eo_mini.gates import Line, read_lines

FRAMES = 16
_SEED = 2018_01_20


def choose_first_light(split: Path, folder: Path) -> list[Line]:
    """Write `folder/prompts.jsonl`, whose images are in `split`, and return its lines.

    Kinds are as equally frequent as sixteen prompts allow, and no frame occurs twice.

    Raises:
        SplitError: `split` holds no split of eo-mini.
    """
    rng = np.random.default_rng(_SEED)
    lines = read_lines(split)
    kinds = sorted({line["kind"] for line in lines})
    equally_often = [kinds[n % len(kinds)] for n in range(FRAMES)]
    chosen: list[Line] = []
    for kind in rng.permutation(equally_often):
        taken = {line["frame"] for line in chosen}
        free = [line for line in lines if line["kind"] == kind and line["frame"] not in taken]
        chosen.append(dict(free[int(rng.integers(len(free)))]))
    folder.mkdir(parents=True, exist_ok=True)
    for line in chosen:
        line["image"] = f"../{split.name}/{line['image']}"
    text = "".join(json.dumps(line) + "\n" for line in chosen)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return chosen
