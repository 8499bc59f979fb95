"""Writes the model cards from what was measured; no number in them is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nodes.lab.eo_mini.places import BANDS_DEG
from nodes.lab.evaluation.figures import Interval
from nodes.lab.training.evaluate import (
    TOP,
    Row,
    accuracy,
    lead_over,
    lead_over_blind,
    majority,
    separation,
    separation_within_kinds,
    share,
)

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
FAMILIES = ("coarse", "fine")


@dataclass(frozen=True)
class Measured:
    """One model's answers and the facts of its folder; `training` is its training.json."""

    name: str
    rows: Sequence[Row]
    parameters: int
    weights_bytes: int
    training: Mapping[str, Any]
    heads: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Other:
    """A model that does not ship: its answers, and its training.json without the curve where it is kept."""

    rows: Sequence[Row]
    training: Mapping[str, Any] | None


def card(measured: Measured, partner: Measured, others: Mapping[str, Other]) -> str:
    """The card as Markdown; `partner` is the other model of the pair, `others` do not ship."""
    parts = [
        _front(measured),
        _summary(measured, partner),
        _per_kind(measured.rows),
        _others(measured, partner, others),
        _confidence(measured.rows),
        _training(measured.training),
    ]
    return "\n".join(part for part in parts if part)


def _front(measured: Measured) -> str:
    role = "a 2B model on a satellite" if measured.name == "compact" else "a 7B model on the ground"
    size_mb = measured.weights_bytes / 1e6
    seen = (
        "the frame reduced to 224 px"
        if measured.name == "compact"
        else "64 tiles of 168 px, the frame's own pixels, and then an overview of 224 px, as several images "
        "of one prompt (`views.json`)"
    )
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
---
# The {measured.name} model of the small pair

**A stand-in.** It takes the place of {role}, so that the testbed runs with nothing to
download. It answers the prompts of eo-mini, and nothing else. Results on it say something about the testbed
and about policies on this pair; they say nothing about real vision-language models.

* Qwen2-VL architecture, stock classes: {measured.parameters:,} parameters, {size_mb:.1f} MB (fp16).
* It is shown {seen}.
* Trained from scratch by `python -m nodes.lab.training train {measured.name}`.
* `python -m nodes.lab.training evaluate` writes this card; `evaluation.csv` has every answer behind it.
"""


def _summary(measured: Measured, partner: Measured) -> str:
    rows = measured.rows
    frames = len({row.frame for row in rows})
    fine = lead_over_blind(of_family(rows, "fine"))
    test = ", ".join(f"{west:g} to {east:g}" for west, east in BANDS_DEG["test"])
    lines = [
        "## On the test split of eo-mini",
        f"{len(rows)} prompts about {frames} frames between longitudes {test} degrees east, where",
        "nothing was trained; greedy answers, right when equal to the truth. Intervals: 95 %, by frame.",
        "",
        f"* accuracy {_percent(accuracy(rows))}",
        *(f"  * {family} kinds {_percent(accuracy(of_family(rows, family)))}" for family in FAMILIES),
        f"* question-only baseline (best answer per prompt, from training frames) {_percent(_blind(rows))}; "
        f"lead over it {_points(lead_over_blind(rows))}",
        f"  * on fine kinds {_points(fine)}{_meaning(measured.name, fine)}",
        f"* majority baseline (commonest truth of each kind in this very test) {100 * majority(rows):.1f} %",
        f"* lead over the {partner.name} model {_points(lead_over(rows, partner.rows))}",
        *(
            f"  * on {family} kinds "
            f"{_points(lead_over(of_family(rows, family), of_family(partner.rows, family)))}"
            for family in FAMILIES
        ),
        f"* seconds a prompt, one thread, as timed in this evaluation: median "
        f"{median(row.total_s for row in rows):.3f}",
        f"* both models' weights together {(measured.weights_bytes + partner.weights_bytes) / 1e6:.1f} MB",
    ]
    placed = [row for row in rows if row.gaze_rank is not None]
    if placed:
        heads = ", ".join(f"{layer}.{head}" for layer, head in measured.heads)
        lines.append(
            f"* attention: the cell that holds a fine prompt's content is among the {TOP} of "
            "16 that the prompt's last token looks at most for "
            f"{_percent(share(placed, _found))} of {len(placed)} prompts "
            f"(layer.head {heads}, chosen on the val split)"
        )
    return "\n".join(lines) + "\n"


def _meaning(name: str, fine: Interval) -> str:
    """What a lead on fine kinds whose interval holds 0 stands for."""
    if fine.low > 0:
        return ""
    told = "as it should be: they cannot be told" if name == "compact" else "**it has not learnt them**"
    return f": {told}" + (" from a reduced frame" if name == "compact" else "")


def _found(row: Row) -> float:
    return float(row.gaze_rank is not None and row.gaze_rank < TOP)


def of_family(rows: Sequence[Row], family: str) -> list[Row]:
    """The rows of coarse or fine kinds."""
    return [row for row in rows if row.family == family]


def _blind(rows: Sequence[Row]) -> Interval:
    return share(rows, lambda row: float(row.blind_right))


def _per_kind(rows: Sequence[Row]) -> str:
    lines = [
        "| kind | family | n | accuracy | question-only % | majority % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for family, kind in sorted({(row.family, row.kind) for row in rows}):
        here = [row for row in rows if row.kind == kind]
        lines.append(
            f"| {kind} | {family} | {len(here)} | {_percent(accuracy(here))} "
            f"| {100 * _blind(here).value:.1f} | {100 * majority(here):.1f} |"
        )
    return "\n".join(lines) + "\n"


def _others(measured: Measured, partner: Measured, others: Mapping[str, Other]) -> str:
    if not others:
        return ""
    every = {f"{one.name} (ships)": one.rows for one in (measured, partner)}
    every |= {name: other.rows for name, other in others.items()}
    lines = [
        "## Other seeds, and what the gap is made of",
        "`regular-reduced` is the control: the regular model's size and training, shown the overview alone. "
        "What it leads the compact model by is size; what the regular model leads it by is resolution.",
        "",
        "| model | all | coarse | fine |",
        "| --- | --- | --- | --- |",
    ]
    for name, rows in sorted(every.items()):
        told = [accuracy(rows), *(accuracy(of_family(rows, family)) for family in FAMILIES)]
        lines.append(f"| {name} | {' | '.join(map(_percent, told))} |")
    lines.append("")
    for name, other in sorted(others.items()):
        if other.training is not None:
            lines += [f"{name}:", *_stages(other.training), ""]
    return "\n".join(lines)


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


def _training(training: Mapping[str, Any]) -> str:
    last = training["curve"][-1]
    losses = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name != "step")
    stages = "\n".join(_stages(training))
    return f"""## Training
* {training["frames"]} frames of eo-mini's train split, drawn anew from their sources; turned and mirrored.
{stages}
* At the end: {losses}. `training.json` has the whole curve and the recipe.

## Limits
Made-up targets in made-up places: see the data card. Words outside its small vocabulary are unknown to it.
Confidence is not calibrated.
"""


def _stages(training: Mapping[str, Any]) -> list[str]:
    """What it learnt in, and what that took, as a list."""
    recipe = training["recipe"]
    seeings = "; ".join(
        f"{one['steps']} steps of {one['frames_per_step']} overviews"
        + (f" and {one['windows_per_step']} windows of fine content" if one["windows_per_step"] else "")
        + (f" ({one['window_px']} px)" if one["windows_per_step"] and "window_px" in one else "")
        for one in recipe["seeings"]
    )
    readings = "; ".join(
        f"{one['steps']} steps of {one['frames_per_step']} frames"
        + (f" with {one['tiles']} tiles each" if one["tiles"] else "")
        for one in recipe["readings"]
    )
    recallings = "; ".join(
        f"{one['steps']} steps of {one['frames_per_step']} frames with {' to '.join(map(str, one['tiles']))} "
        f"tiles each, of {one['of_frames']} frames"
        for one in recipe.get("recallings", ())
    )
    minutes = f"{training['wall_s'] / 60:.1f} minutes by the clock, {training['cpu_s'] / 60:.1f} of CPU time"
    resumed = ", ".join(map(str, training["resumed_at"]))
    lines = [f"Seeing, the vision tower with dense targets: {seeings}."] if seeings else []
    if readings:
        lines.append(f"Reading, tower and language model together: {readings}.")
    if recallings:
        lines.append(f"Recalling, the language model alone, from what the tower saw: {recallings}.")
    return [
        *(f"* {line}" for line in lines),
        f"* Seed {training['seed']}, products in {training['precision']} on {training['device']}; {minutes}.",
        f"* {f'Interrupted and resumed at step {resumed}.' if resumed else 'Not interrupted.'}",
        *([f"* {training['note']}"] if "note" in training else []),
    ]


def _percent(value: Interval) -> str:
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _points(value: Interval) -> str:
    return f"{100 * value.value:+.1f} points ({100 * value.low:+.1f} to {100 * value.high:+.1f})"
