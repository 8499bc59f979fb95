"""Tables of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

PAPER_GAIN, PAPER_CUT = 0.312, -0.512
_NOTE = (
    "accuracy: share of correct answers at any time; dropped frames count as wrong. timely: share of correct "
    "answers on the ground before the end of the pass and within {within:.0f} s of capture. beyond wait: "
    "mean latency without the wait for the first contact. Intervals: 95 %, over {places} places whose frames "
    'overlap; see "Intervals" in the docs. The latency of an unanswered frame is its time to the end of the '
    "trace; a dropped one has none. kB: sent down; prompts about a frame "
    "share what is sent of it. contact rule: the policy answers on board what "
    "cannot come down in time. All parameters were selected on {chosen} other pairs, for {goal}. load: bytes "
    "of all frames over those that the link carries. The oracle is an upper bound, not a policy."
)
_ACCURACY_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "accuracy %": lambda figures: _interval(figures["accuracy"]),
    "timely %": lambda figures: _interval(figures["timely_accuracy"]),
}
_LATENCY_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "mean s": lambda figures: f"{figures['latency_mean_s']:.2f}",
    "median s": lambda figures: f"{figures['latency_median_s']:.2f}",
    "p95 s": lambda figures: f"{figures['latency_p95_s']:.2f}",
    "beyond wait s": lambda figures: f"{figures['latency_beyond_wait_mean_s']:.2f}",
    "unanswered": lambda figures: str(figures["unanswered"]),
}
_COST_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "kB/frame": lambda figures: f"{figures['bytes_per_frame'] / 1e3:.1f}",
    "kB/prompt": lambda figures: f"{figures['bytes_per_prompt'] / 1e3:.1f}",
    "board s": lambda figures: f"{figures['onboard_inference_s']:.3f}",
    "on board %": lambda figures: f"{figures['share_on_board'] * 100:.0f}",
    "contact rule": lambda figures: "yes" if figures["contact_rule"] else "",
}
_WIDE = 190  # characters that all columns need


def results_table(results: Mapping[str, Any], width: int = _WIDE) -> RenderableType:
    """Return a table per rate with a comparison, a table of confidence, and a legend.

    Args:
        results: content of results.json.
        width: characters of the console; below 190 a table is split into accuracy, latency and cost.
    """
    wide = width >= _WIDE
    columns = (
        [{**_ACCURACY_COLUMNS, **_LATENCY_COLUMNS, **_COST_COLUMNS}]
        if wide
        else [_ACCURACY_COLUMNS, _LATENCY_COLUMNS, _COST_COLUMNS]
    )
    parts: list[RenderableType] = []
    for case in results["cases"]:
        parts += [*(_table(case, results, part, wide=wide) for part in columns), _same_rows(case)]
        parts += [*(_paired(case, subject, wide=wide) for subject in case["paired"]), _headline(case)]
    goal = results["chosen"]["goal"]
    note = _NOTE.format(
        within=results["answer_within_s"],
        chosen=results["pairs_chosen_on"],
        places=results["places"],
        goal="the fewest bytes at the accuracy of sending everything"
        if goal["of"] == "floor"
        else f"the best accuracy within {goal['bytes_per_prompt'] / 1e3:.1f} kB per prompt",
    )
    confidence = _confidence(results, wide=wide)
    return Group(*parts, confidence, Text(confidence_text(results)), Text(note, style="dim"))


def _table(
    case: Mapping[str, Any],
    results: Mapping[str, Any],
    columns: Mapping[str, Callable[[Mapping[str, Any]], str]],
    *,
    wide: bool,
) -> Table:
    table = _empty_table(
        f"{case['name']}, load {case['load']:.2g}{_budget(case)}: "
        f"{results['pairs']} prompts, {results['frames']} frames, {results['places']} places",
        ("policy", *columns),
        wide=wide,
    )
    for name, figures in case["policies"].items():
        table.add_row(name, *(text(figures) for text in columns.values()))
    return table


def _budget(case: Mapping[str, Any]) -> str:
    budget = case.get("budget_bytes_per_prompt")
    return "" if budget is None else f", thresholds for {budget / 1e3:.1f} kB per prompt"


def _empty_table(title: str, headings: Sequence[str], *, wide: bool) -> Table:
    """Return a table without rows; a narrow one has no frame, and its headings may wrap."""
    table = Table(title=title) if wide else Table(title=title, box=None, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        justify: JustifyMethod = "right" if number else "left"
        whole = wide or not number or heading in _ACCURACY_COLUMNS
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=whole)
    return table


def _interval(share: Mapping[str, float]) -> str:
    return f"{share['value'] * 100:.1f} ({share['low'] * 100:.1f} to {share['high'] * 100:.1f})"


def _same_rows(case: Mapping[str, Any]) -> Text:
    said = [f"{', '.join(names)}: same outcome for every prompt" for names in case["same_rows"]]
    return Text("".join(f"{line}\n" for line in said), style="dim")


def _paired(case: Mapping[str, Any], subject: str, *, wide: bool) -> Table:
    """Return the table of paired differences between a policy and every other one."""
    headings = ("other policy", "n", "timely, points", "accuracy, points", "latency, s", "bytes, times")
    table = _empty_table(
        f"{Path(subject).stem} minus the other policy, on the same prompts", headings, wide=wide
    )
    for name, one in case["paired"][subject].items():
        ratio = "-" if one["bytes_ratio"] is None else f"{one['bytes_ratio']:.2f}"
        points = (_signed(one[key], 100) for key in ("timely_accuracy", "accuracy"))
        table.add_row(name, str(one["n"]), *points, _signed(one["latency_s"], 1), ratio)
    return table


def _signed(figure: Mapping[str, float | None], scale: float) -> str:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "-"
    limits = "" if low is None or high is None else f" ({low * scale:+.1f} to {high * scale:+.1f})"
    return f"{value * scale:+.1f}{limits}"


def _headline(case: Mapping[str, Any]) -> Text:
    line = case["headline"]
    if line is None:
        return Text("")
    gain = "-" if line["timely_gain"] is None else f"{line['timely_gain'] * 100:+.1f} %"
    text = (
        f"spaceverse against the mean of {', '.join(line['roster'])} at load {line['load']:.2g}: timely "
        f"accuracy {gain} (abstract of the paper: {PAPER_GAIN * 100:+.1f} % accuracy, with other models and "
        f"links), mean latency {line['latency_change'] * 100:+.1f} % (paper: {PAPER_CUT * 100:+.1f} %)"
    )
    if line["latency_beyond_wait_change"] is not None:
        text += f", beyond the wait for contact {line['latency_beyond_wait_change'] * 100:+.1f} %"
    if line["accuracy_minus_ground_only"] is not None:
        text += (
            f"; against ground-only {line['accuracy_minus_ground_only'] * 100:+.1f} points of accuracy with "
            f"{line['bytes_of_ground_only'] * 100:.0f} % of its bytes"
        )
    if line["better_in_both"]:
        text += f"; better in both: {', '.join(line['better_in_both'])}"
    return Text(text + "\n")


def _confidence(results: Mapping[str, Any], *, wide: bool) -> Table:
    headings = ("", "n", "AUROC", "AUROC minus token AUROC", "AUROC within kinds", "ECE")
    table = _empty_table("confidence against correctness, on the test pairs", headings, wide=wide)
    for name, figures in results["test"]["calibration"].items():
        keys = ("auroc", "auroc_less_tokens", "auroc_within_kinds", "ece")
        table.add_row(name, str(figures["n"]), *(_plain(figures[key]) for key in keys))
    return table


def confidence_text(results: Mapping[str, Any]) -> str:
    """Return whether the network separates correct from wrong answers better than token probabilities do."""
    known = results["test"]["calibration"]
    tokens = known["token probability"]["auroc"]
    ours = {
        name: figures["auroc"]
        for name, figures in known.items()
        if name.startswith(f"{results['target']},") and figures["auroc"]["value"] is not None
    }
    if not ours or tokens["value"] is None:
        return "confidence: too few correct or wrong answers to compare"
    name = next((name for name in ours if name.endswith("end")), next(iter(ours)))
    best = ours[name]
    if best["low"] > tokens["high"]:
        verdict = "above token probabilities, with disjoint intervals"
    elif best["high"] < tokens["low"]:
        verdict = "below token probabilities, with disjoint intervals: the network does not help"
    else:
        verdict = "no significant difference from token probabilities: the intervals overlap"
    return f"confidence, {name}: AUROC {_plain(best)} against {_plain(tokens)}: {verdict}"


def _plain(figure: Mapping[str, float | None]) -> str:
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
