"""Figures of each policy in each case, and paired comparisons with every other policy.

Intervals are over places (places.py). A comparison pairs the prompts: it is the interval of the mean
difference on the same prompts, which says more than two separate intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nodes.contract.evaluation import JobCase
from nodes.contract.files import is_policy_file
from nodes.contract.latency import PARTS
from nodes.data.pairs import Pair
from nodes.lab.evaluation.event_model.replay import ReplayedPair
from nodes.lab.evaluation.figures import paired, share
from nodes.policies import ABLATIONS

OURS = "spaceverse"
BOUND = "oracle"
# Kinds of baseline in published comparisons; the paper's figures are against a mean of such.
PUBLISHED = ("satellite-only", "ground-only", "offload-after", "cascade", "two-threshold")

_Rows = Sequence[Mapping[str, Any]]


def row_of(case: JobCase, policy: str, result: ReplayedPair, pair: Pair, place: str) -> dict[str, Any]:
    """Return a row of `pairs.csv`."""
    end_s = result.trace_end_s if result.answered_s is None else result.answered_s
    latency_s = end_s - result.capture_s
    return {
        "case": case.title,
        "policy": policy,
        "link": result.link,
        "pair": result.pair,
        "frame": pair.frame,
        "place": place,
        "kind": pair.kind,
        "truth": pair.truth,
        "answer": result.answer,
        "answered_by": result.answered_by or "",
        "decision": result.decision,
        "stage": result.stage,
        "right": result.right,
        "timely": result.timely,
        "answered": result.answered_s is not None,
        "capture_s": result.capture_s,
        "received_s": float("nan") if result.received_s is None else result.received_s,
        "latency_s": latency_s,
        "beyond_wait_s": latency_s - max(0.0, result.contact_s - result.capture_s),
        "bytes_down": result.bytes_down,
        **{name: getattr(result.latency, name, float("nan")) for name in PARTS},
        "onboard_inference_s": result.onboard_inference_s,
    }


def summary_of_case(
    case: JobCase,
    rows: _Rows,
    policies: Sequence[str],
    load: float,
    with_contact_rule: Sequence[str],
) -> dict[str, Any]:
    """Return the figures of a case.

    Args:
        case: The case.
        rows: Its rows of `pairs.csv`.
        policies: Names of the policies, in the order of the table.
        load: Bytes of all frames as captured over the bytes that the links carry.
        with_contact_rule: Policies that answer on board what cannot come down in time.
    """
    by_name = {name: [row for row in rows if row["policy"] == name] for name in policies}
    figures = {
        name: {
            **summary(of_policy),
            "contact_rule": name in with_contact_rule,
        }
        for name, of_policy in by_name.items()
    }
    same = same_rows(by_name)
    subjects = [name for name in policies if name == OURS or is_policy_file(name)]
    return {
        "name": case.title,
        "rate_bit_s": case.rate_bit_s,
        "load": load,
        "policies": figures,
        "same_rows": same,
        "paired": {
            subject: {
                other: compare(by_name[subject], by_name[other]) for other in policies if other != subject
            }
            for subject in subjects
        },
        "headline": headline(figures, same, load),
    }


def summary(rows: _Rows) -> dict[str, Any]:
    """Return the figures of one policy in one case.

    A prompt that waits in vain has a latency up to the trace's end. One that was dropped is wrong and
    unanswered, but has no latency: a policy that drops much would else raise the mean that others are
    compared with.
    """
    places = [str(row["place"]) for row in rows]
    frames = {str(row["frame"]) for row in rows}
    kept = [row for row in rows if row["decision"] != "Drop"] or rows
    latency_s = np.array([row["latency_s"] for row in kept])
    bytes_down = float(np.sum([row["bytes_down"] for row in rows]))
    answered = [row for row in rows if row["answered"]]
    return {
        "pairs": len(rows),
        "frames": len(frames),
        "places": len(set(places)),
        "accuracy": asdict(share(places, [row["right"] for row in rows])),
        "timely_accuracy": asdict(share(places, [row["timely"] for row in rows])),
        "latency_mean_s": float(latency_s.mean()),
        "latency_median_s": float(np.median(latency_s)),
        "latency_p95_s": float(np.quantile(latency_s, 0.95)),
        "latency_beyond_wait_mean_s": float(np.mean([row["beyond_wait_s"] for row in kept])),
        "dropped": sum(row["decision"] == "Drop" for row in rows),
        "unanswered": len(rows) - len(answered),
        "bytes_per_frame": bytes_down / len(frames),
        "bytes_per_prompt": bytes_down / len(rows),
        "onboard_inference_s": float(np.mean([row["onboard_inference_s"] for row in rows])),
        "share_on_board": float(np.mean([row["answered_by"] == "satellite" for row in rows])),
        "latency_parts_mean_s": {
            name: float(np.mean([row[name] for row in answered])) if answered else None for name in PARTS
        },
    }


def compare(ours: _Rows, theirs: _Rows) -> dict[str, Any]:
    """Return paired differences, ours minus theirs, on the same prompts."""
    other = {row["pair"]: row for row in theirs}
    both = [(row, other[row["pair"]]) for row in ours if row["pair"] in other]
    answered = [one for one in both if "Drop" not in (one[0]["decision"], one[1]["decision"])] or both

    def difference(column: str, of: Sequence[tuple[Any, Any]] = both) -> dict[str, float]:
        places = [str(row["place"]) for row, _ in of]
        return asdict(paired(places, [float(a[column]) - float(b[column]) for a, b in of]))

    spent, spent_theirs = (float(sum(row["bytes_down"] for row in rows)) for rows in (ours, theirs))
    return {
        "n": len(both),
        "places": len({row["place"] for row, _ in both}),
        "timely_accuracy": difference("timely"),
        "accuracy": difference("right"),
        "latency_s": difference("latency_s", answered),
        "bytes_ratio": spent / spent_theirs if spent_theirs else None,
    }


def same_rows(by_name: Mapping[str, _Rows]) -> list[list[str]]:
    """Return groups of policies with the same outcome for every prompt."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, rows in by_name.items():
        key = tuple(
            sorted((row["pair"], row["answered_by"], row["latency_s"], row["bytes_down"]) for row in rows)
        )
        groups.setdefault(key, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def headline(
    figures: Mapping[str, Mapping[str, Any]], same: Sequence[Sequence[str]], load: float
) -> dict[str, Any] | None:
    """Compare `spaceverse` with the mean of the published kinds of baseline.

    Baselines with the same outcome for every prompt count once. The comparison with each baseline is in
    `paired`; a mean depends on its roster and on the load, which are named.
    """
    ours = figures.get(OURS)
    twins = {name for names in same for name in [n for n in names if n in PUBLISHED][1:]}
    roster = [name for name in PUBLISHED if name in figures and name not in twins]
    if ours is None or not roster:
        return None
    timely = float(np.mean([figures[name]["timely_accuracy"]["value"] for name in roster]))
    latency_s, beyond_wait_s = (
        float(np.mean([figures[name][column] for name in roster]))
        for column in ("latency_mean_s", "latency_beyond_wait_mean_s")
    )
    ground = figures.get("ground-only")
    rivals = [name for name in figures if name not in (OURS, BOUND, *ABLATIONS)]
    return {
        "roster": roster,
        "load": load,
        "timely_gain": ours["timely_accuracy"]["value"] / timely - 1 if timely else None,
        "latency_change": ours["latency_mean_s"] / latency_s - 1,
        "latency_beyond_wait_change": (
            ours["latency_beyond_wait_mean_s"] / beyond_wait_s - 1 if beyond_wait_s else None
        ),
        "better_in_both": [
            name
            for name in rivals
            if figures[name]["timely_accuracy"]["value"] > ours["timely_accuracy"]["value"]
            and figures[name]["latency_mean_s"] < ours["latency_mean_s"]
        ],
        "accuracy_minus_ground_only": (
            ours["accuracy"]["value"] - ground["accuracy"]["value"] if ground else None
        ),
        "bytes_of_ground_only": ours["bytes_per_frame"] / ground["bytes_per_frame"] if ground else None,
    }
