"""What must hold of a split of eo-mini before a model is trained on it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from nodes.lab.eo_mini.footprint import Footprint
from nodes.lab.eo_mini.oracle import Score, scores
from nodes.lab.eo_mini.places import BANDS_DEG, CELL_PX, FRAME_HEIGHT_DEG, FRAME_PX, Split
from nodes.lab.eo_mini.windows import ANSWERS

NATIVE_LEAST, REDUCED_MOST = 0.90, 0.50
COARSE_APART_MOST = 0.05
UNBALANCED_MOST = 0.12  # the commonest answer's share of a kind, beyond an equal one
Line = dict[str, Any]


class SplitError(ValueError):
    """A folder that holds no split of eo-mini; one line: what, where."""

    exit_code = 2


@dataclass(frozen=True)
class Gate:
    """One condition: what was found, what is asked, whether it holds."""

    name: str
    found: str
    asked: str
    kept: bool


def read_lines(folder: Path) -> list[Line]:
    """The lines of `prompts.jsonl`. Raises SplitError."""
    path = folder / "prompts.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SplitError(
            f"{path} is no list of prompts: {error}; build one: python -m nodes.lab.eo_mini"
        ) from error
    if not lines:
        raise SplitError(f"{path} is empty: build it again")
    return lines


def check(folder: Path, split: Split, on_frame: Callable[[], None] = lambda: None) -> list[Gate]:
    """Check everything, detectors included. Raises SplitError."""
    lines = read_lines(folder)
    found = scores(lines, lambda name: Image.open(folder / name), on_frame)
    return [*_files(folder, lines), *_places(lines, split), *_answers(lines), *resolution_gates(found)]


def resolution_gates(found: Sequence[Score]) -> list[Gate]:
    """Fine kinds are there natively and gone in the reduced frame; coarse kinds are alike in both."""
    gates = []
    for score in found:
        told = f"{score.native:.1%} native, {score.reduced:.1%} reduced, n={score.pairs}"
        if score.kind in ANSWERS:
            kept = score.native >= NATIVE_LEAST and score.reduced <= REDUCED_MOST
            asked = f">= {NATIVE_LEAST:.0%} native, <= {REDUCED_MOST:.0%} reduced"
        else:
            kept = abs(score.native - score.reduced) <= COARSE_APART_MOST
            asked = f"within {COARSE_APART_MOST:.0%} of each other"
        gates.append(Gate(f"oracle, {score.kind}", told, asked, kept))
    return gates


def _files(folder: Path, lines: Sequence[Line]) -> list[Gate]:
    wrong = []
    for name, digest in sorted({(line["image"], line["sha256"]) for line in lines}):
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            wrong.append(name)
            continue
        with Image.open(path) as opened:
            if opened.size != (FRAME_PX, FRAME_PX):
                wrong.append(name)
    return [Gate("files are the ones listed", ", ".join(wrong) or "all", "all", not wrong)]


def _places(lines: Sequence[Line], split: Split) -> list[Gate]:
    outside = set()
    for line in lines:
        place = Footprint(line["latitude_deg"], line["longitude_deg"], FRAME_HEIGHT_DEG)
        west, east = (line["longitude_deg"] + sign * place.half_width_deg for sign in (-1, 1))
        if not any(low - 0.01 <= west and east <= high + 0.01 for low, high in BANDS_DEG[split]):
            outside.add(line["frame"])
    torn = [
        line["frame"]
        for line in lines
        if "box" in line
        and len(
            {(int(x * FRAME_PX) // CELL_PX, int(y * FRAME_PX) // CELL_PX) for x, y in _corners(line["box"])}
        )
        > 1
    ]
    return [
        Gate("frames within their split's longitudes", f"{len(outside)} outside", "0", not outside),
        Gate("windows within one cell", f"{len(torn)} not", "0", not torn),
    ]


def _corners(box: Sequence[float]) -> list[tuple[float, float]]:
    left, upper, right, lower = box
    return [(left, upper), (right - 1e-6, lower - 1e-6)]


def _answers(lines: Sequence[Line]) -> list[Gate]:
    gates = []
    for kind in sorted({line["kind"] for line in lines}):
        given = Counter(line["truth"] for line in lines if line["kind"] == kind)
        share, most = max(given.values()) / sum(given.values()), 1 / len(given) + UNBALANCED_MOST
        told = f"{share:.0%} {given.most_common(1)[0][0]}; blind {blind(lines, kind):.0%}"
        gates.append(Gate(f"answers in balance, {kind}", told, f"<= {most:.0%}", share <= most))
    return gates


def blind(lines: Sequence[Line], kind: str | None = None) -> float:
    """Share right for who knows the commonest answer to each prompt, and never sees a frame."""
    given: dict[str, Counter[str]] = {}
    for line in lines:
        if kind in (None, line["kind"]):
            given.setdefault(line["prompt"], Counter())[line["truth"]] += 1
    return sum(max(count.values()) for count in given.values()) / sum(
        sum(count.values()) for count in given.values()
    )


def majority(lines: Sequence[Line], kind: str | None = None) -> float:
    """Share right for who gives every prompt of a kind that kind's commonest answer."""
    kinds = {line["kind"] for line in lines} if kind is None else {kind}
    given = [Counter(line["truth"] for line in lines if line["kind"] == one) for one in kinds]
    return sum(max(count.values()) for count in given) / sum(sum(count.values()) for count in given)
