"""Conditions that a split of eo-mini must meet before a model is trained on it."""

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
UNBALANCED_MOST = 0.12  # excess of the commonest answer's share over an equal share
Line = dict[str, Any]


class SplitError(ValueError):
    """A folder that holds no split of eo-mini; the text is one line."""

    exit_code = 2


@dataclass(frozen=True)
class Gate:
    """One condition: the measured and the required value as text, and whether the condition holds."""

    name: str
    measured: str
    required: str
    passed: bool


def read_lines(folder: Path) -> list[Line]:
    """Return the lines of `prompts.jsonl`.

    Raises:
        SplitError: The file is empty or cannot be read.
    """
    path = folder / "prompts.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise SplitError(
            f"{path} is not a list of prompts: {error}; build one: python -m nodes.lab.eo_mini"
        ) from error
    if not lines:
        raise SplitError(f"{path} is empty: build it again")
    return lines


def check(folder: Path, split: Split, on_frame: Callable[[], None] = lambda: None) -> list[Gate]:
    """Check a split against all gates, with the detectors.

    Raises:
        SplitError: The folder holds no split of eo-mini.
    """
    lines = read_lines(folder)
    detected = scores(lines, lambda name: Image.open(folder / name), on_frame)
    return [*_files(folder, lines), *_places(lines, split), *_answers(lines), *resolution_gates(detected)]


def resolution_gates(detected: Sequence[Score]) -> list[Gate]:
    """Check that detectors need native resolution for fine kinds only."""
    gates = []
    for score in detected:
        measured = f"{score.native:.1%} native, {score.reduced:.1%} reduced, n={score.pairs}"
        if score.kind in ANSWERS:
            passed = score.native >= NATIVE_LEAST and score.reduced <= REDUCED_MOST
            required = f">= {NATIVE_LEAST:.0%} native, <= {REDUCED_MOST:.0%} reduced"
        else:
            passed = abs(score.native - score.reduced) <= COARSE_APART_MOST
            required = f"within {COARSE_APART_MOST:.0%} of each other"
        gates.append(Gate(f"oracle, {score.kind}", measured, required, passed))
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
    return [Gate("images match their checksums", ", ".join(wrong) or "all", "all", not wrong)]


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
        Gate("frames within the longitudes of their split", f"{len(outside)} outside", "0", not outside),
        Gate("windows within one cell", f"{len(torn)} across cells", "0", not torn),
    ]


def _corners(box: Sequence[float]) -> list[tuple[float, float]]:
    left, upper, right, lower = box
    return [(left, upper), (right - 1e-6, lower - 1e-6)]


def _answers(lines: Sequence[Line]) -> list[Gate]:
    gates = []
    for kind in sorted({line["kind"] for line in lines}):
        truths = Counter(line["truth"] for line in lines if line["kind"] == kind)
        share, most = max(truths.values()) / truths.total(), 1 / len(truths) + UNBALANCED_MOST
        measured = f"{share:.0%} {truths.most_common(1)[0][0]}; blind {blind(lines, kind):.0%}"
        gates.append(Gate(f"balance of answers, {kind}", measured, f"<= {most:.0%}", share <= most))
    return gates


def blind(lines: Sequence[Line], kind: str | None = None) -> float:
    """Return the accuracy of giving the commonest answer to each prompt without seeing a frame."""
    return _share_of_commonest(lines, kind, "prompt")


def majority(lines: Sequence[Line], kind: str | None = None) -> float:
    """Return the accuracy of giving every prompt the commonest answer to its kind."""
    return _share_of_commonest(lines, kind, "kind")


def _share_of_commonest(lines: Sequence[Line], kind: str | None, by: str) -> float:
    """Return the share of lines with the commonest truth among the lines that agree with them in `by`."""
    truths: dict[str, Counter[str]] = {}
    for line in lines:
        if kind in (None, line["kind"]):
            truths.setdefault(line[by], Counter())[line["truth"]] += 1
    return sum(max(count.values()) for count in truths.values()) / sum(
        count.total() for count in truths.values()
    )
