"""Runs a job: outcomes, selection on validation pairs, then every policy over every case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nodes import data as shipped_data
from nodes import models as shipped_models
from nodes.contract.evaluation import Job, JobCase
from nodes.contract.files import replacing, write_atomically
from nodes.contract.latency import PARTS
from nodes.data.pairs import Pair, read_pairs
from nodes.errors import DataError
from nodes.lab.evaluation.calibration import figures_on_test_pairs, figures_on_validation_pairs
from nodes.lab.evaluation.compute_times import (
    FEW_PAIRS,
    FEW_REPEATS,
    REPEATS,
    ComputeTimes,
    measure_compute_times,
)
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.event_model.replay import ReplayedPair, replay
from nodes.lab.evaluation.figures import share
from nodes.lab.evaluation.outcomes import Cache, Outcomes, image_digest, key_of, message_of
from nodes.lab.evaluation.parallel import precompute
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.selection import (
    BUDGET_SHARE,
    SHARES,
    ValidationOutcomes,
    region_decisions,
    select_heads,
    select_parameters,
    train_network,
    validation_decisions,
    validation_outcomes,
)
from nodes.onboard.judge import Judge
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.onboard.message import read_regions
from nodes.policies import (
    BASELINES,
    Decision,
    FramePolicy,
    SendReduced,
    SendWhole,
    policy_named,
)
from nodes.profiles.profile import check_comparable, read_profile
from nodes.regions.drawing import draw_kept
from nodes.vlm.folder import fingerprint


def shipped(name: str) -> str:
    """Return the folder of a shipped model or data set by its name; return other names unchanged."""
    for module in (shipped_models, shipped_data):
        value = getattr(module, name.upper().replace("-", "_"), None)
        if isinstance(value, Path):
            return str(value)
    return name


def run_job(job: Job, progress: Progress) -> dict[str, Any]:
    """Run a job, write its results below its output folder, and return the content of `results.json`."""
    for name in job.policies:
        policy_named(name)  # a wrong name fails before any work
    selection_pairs, test_pairs = split_pairs(job)
    for case in job.cases:
        check_captures(case, len(test_pairs))
    outcomes = outcomes_of(job)
    times = compute_times(job, outcomes, selection_pairs, progress)
    chosen, judge = select(job, outcomes, times, selection_pairs, progress)
    evaluated_pairs = [EvaluatedPair(pair, outcomes, times, judge) for pair in test_pairs]
    with progress.step("compact model on test pairs", len(evaluated_pairs)) as tick:
        for evaluated in evaluated_pairs:
            _ = evaluated.onboard
            tick()
    shares = chosen["parameters"]["oracle"]["shares"]
    requests = [
        (evaluated, decision)
        for evaluated in evaluated_pairs
        for decision in certain_decisions(job.policies, evaluated, shares)
    ]
    precompute(outcomes, requests, job.jobs, "regular model on test pairs", progress)
    by_name = {pair.name: pair for pair in test_pairs}
    rows: list[dict[str, Any]] = []
    emulated_rows: list[dict[str, Any]] = []
    every = [*((case, rows) for case in job.cases), *((case, emulated_rows) for case in job.emulated)]
    with progress.step("policies over links", len(every) * len(job.policies)) as tick:
        for case, rows_of_case in every:
            for name in job.policies:
                policy = policy_named(name, chosen["parameters"].get(name))
                replayed = replay_case(
                    case,
                    policy,
                    evaluated_pairs,
                    job,
                    reporting_s=times.reporting_s,
                    foresight=name == "oracle",
                )
                rows_of_case += [_row(case, name, result, by_name[result.pair]) for result in replayed]
                tick()
    results = {
        "models": {"compact": shipped(job.compact), "regular": shipped(job.regular)},
        "options": job.options.model_dump(exclude_none=True),
        "pairs": len(test_pairs),
        "frames": len({pair.frame for pair in test_pairs}),
        "pairs_chosen_on": len(selection_pairs),
        "compute_times": {**asdict(times), "profile": None if job.times is None else str(job.times)},
        "target": job.target,
        "answer_within_s": job.answer_within_s,
        "send_order": job.send_order,
        "chosen": chosen,
        "test": figures_on_test_pairs(evaluated_pairs, judge),
        "cases": summaries(rows, [case.rate_bit_s for case in job.cases], job.policies),
    }
    write_selection(job, judge, chosen["parameters"], len(selection_pairs))
    write_questions(job.output, test_pairs)
    if emulated_rows:
        write_rows(job.output / "modelled.csv", emulated_rows)
    write_results(job.output, results, rows)
    draw_examples(evaluated_pairs, chosen["parameters"]["spaceverse"]["shares"][-1], job.output)
    return results


def certain_decisions(
    policies: Sequence[str], evaluated: EvaluatedPair, shares: Sequence[float]
) -> list[Decision]:
    """Return the decisions that shipped policies take or try on a pair over any link."""
    decisions: list[Decision] = []
    if "ground-only" in policies:
        decisions.append(SendWhole())
    if "ground-only-downsampled" in policies:
        decisions.append(SendReduced(2))
    if "oracle" in policies and not evaluated.right_on_board():
        decisions += region_decisions(evaluated, shares)
    return decisions


def check_captures(case: JobCase, pairs: int) -> None:
    """Check that a complete case has a capture for every pair.

    Raises:
        DataError: There are more pairs than captures.
    """
    captures = sum(len(pass_.captures_s) for pass_ in case.passes)
    if captures < pairs and not case.part:
        raise DataError(
            f"{pairs} pairs, but the passes have {captures} captures: add passes, shorten the interval "
            "between frames, or limit the number of pairs"
        )


def outcomes_of(job: Job) -> Outcomes:
    """Return the outcomes of the job's models, with the job's cache."""
    return Outcomes(
        shipped(job.compact),
        shipped(job.regular),
        job.cache,
        options=job.options,
    )


def train_confidence(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train a job's network on its selection pairs, save it, and return its cross-fitted calibration."""
    selection_pairs, _ = split_pairs(job)
    outcomes = outcomes_of(job)
    times = compute_times(job, outcomes, selection_pairs, progress)
    chosen, judge = select(job, outcomes, times, selection_pairs, progress)
    judge.save(folder, about_network(job, len(selection_pairs)))
    figures: dict[str, Any] = chosen["calibration"]
    return figures


def about_network(job: Job, pairs: int) -> dict[str, Any]:
    """Return the description of a network's training data that is saved with it."""
    weights = fingerprint(shipped(job.compact))
    return {"compact": job.compact, "weights": weights, "data": job.data.folder, "pairs": pairs}


def write_selection(job: Job, judge: Judge, parameters: Mapping[str, Any], pairs: int) -> None:
    """Write the files that a satellite's program loads: `confidence/` and `policies.json`."""
    judge.save(job.output / "confidence", about_network(job, pairs))
    write_atomically(job.output / "policies.json", json.dumps(parameters, indent=2) + "\n")


def draw_examples(
    evaluated_pairs: Sequence[EvaluatedPair], share_kept: float, folder: Path, count: int = 3
) -> None:
    """Draw the selected regions of the first frames with a wrong compact answer, as `kept-<pair>.png`."""
    for evaluated in [pair for pair in evaluated_pairs if not pair.right_on_board()][:count]:
        (decision,) = region_decisions(evaluated, [share_kept])
        data = message_of(evaluated.pair, decision, evaluated.scores, evaluated.layout).data
        unpacked = read_regions(io.BytesIO(data or b""))
        draw_kept(unpacked, evaluated.scores).save(folder / f"kept-{evaluated.name}.png")


def split_pairs(job: Job) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs for selection and the pairs for testing.

    Raises:
        DataError: They share a frame, or there are none of either.
    """
    folder = Path(shipped(job.data.folder))
    if job.data.choose_split is None and job.data.choose_folder is None:
        every = read_pairs(folder, job.data.split)
        apart = [hashlib.sha256(f"{job.seed}{pair.frame}".encode()).digest()[0] % 2 == 0 for pair in every]
        selection_pairs = [pair for pair, is_apart in zip(every, apart, strict=True) if is_apart]
        test_pairs = [pair for pair, is_apart in zip(every, apart, strict=True) if not is_apart]
    else:
        choose_folder = Path(shipped(job.data.choose_folder)) if job.data.choose_folder else folder
        selection_pairs = read_pairs(choose_folder, job.data.choose_split)
        test_pairs = read_pairs(folder, job.data.split)
    selection_pairs = _thinned(selection_pairs, job.data.limit)
    test_pairs = _thinned(test_pairs, job.data.limit)
    if not selection_pairs or not test_pairs:
        raise DataError(
            f"{folder}: {len(selection_pairs)} pairs for selection, {len(test_pairs)} for testing: "
            "more frames are needed"
        )
    selection_images = {image_digest(pair.image) for pair in selection_pairs}
    for pair in test_pairs:
        if image_digest(pair.image) in selection_images:
            raise DataError(f"{pair.image} is used for selection: test on other frames")
    return selection_pairs, test_pairs


def _thinned(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """Return at most `limit` pairs at regular distances."""
    if limit is None or len(pairs) <= limit:
        return list(pairs)
    return [pairs[index * len(pairs) // limit] for index in range(limit)]


def compute_times(job: Job, outcomes: Outcomes, pairs: Sequence[Pair], progress: Progress) -> ComputeTimes:
    """Return the times of the job's profile; those that it lacks, or all without a profile, are measured."""
    if job.times is None:
        return measured_times(job, outcomes, pairs, progress)
    profile = read_profile(job.times)
    check_comparable(profile, job.options)
    return ComputeTimes.of_profile(profile, lambda: measured_times(job, outcomes, pairs, progress))


def measured_times(job: Job, outcomes: Outcomes, pairs: Sequence[Pair], progress: Progress) -> ComputeTimes:
    """Return the times of this machine from the cache, or measure them."""
    cache = Cache(job.cache)
    machine = f"{platform.node()} {platform.processor()} {os.cpu_count()}"
    sizes = sorted({pair.image.stat().st_size for pair in pairs})
    key = key_of(
        "times of pasted regions",
        *outcomes.ids.values(),
        machine,
        job.device,
        job.model_threads,
        repr(outcomes.layout),
        repr(sizes),
        *ComputeTimes.stored_names(),
    )
    repeats = REPEATS
    known = cache.get(key)
    if known is None and len(pairs) <= FEW_PAIRS:
        repeats, key = FEW_REPEATS, key_of(key, FEW_REPEATS)
        known = cache.get(key)
    if known is not None:
        return ComputeTimes.from_stored(known)
    with progress.step("compute times", repeats + 1) as tick:
        times = measure_compute_times(outcomes, pairs, job.output, tick, repeats=repeats)
    cache.put(key, times.to_stored())
    return times


def select(
    job: Job, outcomes: Outcomes, times: ComputeTimes, pairs: Sequence[Pair], progress: Progress
) -> tuple[dict[str, Any], Judge]:
    """Select attention heads and thresholds and train the network, all on `pairs` only.

    Returns:
        The selection as stored in `results.json`, and the network with its attention heads.
    """
    with progress.step("compact model on validation pairs", len(pairs)) as tick:
        onboard = []
        for pair in pairs:
            onboard.append(outcomes.onboard(pair))
            tick()
    heads = select_heads(pairs, onboard, outcomes.layout.rows, outcomes.layout.columns)
    untrained = Judge(None, job.target, heads, outcomes.layout)
    evaluated_pairs = [EvaluatedPair(pair, outcomes, times, untrained) for pair in pairs]
    requests = [
        (evaluated, decision)
        for evaluated in evaluated_pairs
        for decision in validation_decisions(evaluated, SHARES)
    ]
    precompute(outcomes, requests, job.jobs, "regular model on validation pairs", progress)
    with progress.step("both models on validation pairs", len(pairs)) as tick:
        validation = validation_outcomes(evaluated_pairs, SHARES, tick)
    network, fitted = train_network(validation)
    budget = job.goal_bytes or BUDGET_SHARE * float(validation.whole_bytes.mean())
    bytes_goal = budget if job.goal == "budget" else None
    parameters = select_parameters(validation, fitted, job.target, bytes_goal=bytes_goal)
    chosen = {
        "goal": {"of": job.goal, "bytes_a_frame": bytes_goal},
        "attention_heads": heads,
        "parameters": parameters,
        "validation": _validation_figures(validation),
        "calibration": figures_on_validation_pairs(validation, fitted),
    }
    return chosen, replace(untrained, network=network)


def _validation_figures(validation: ValidationOutcomes) -> dict[str, Any]:
    return {
        "compact": float(validation.onboard_right.mean()),
        "regular_whole": float(validation.whole_right.mean()),
        "regular_reduced": float(validation.reduced_right.mean()),
        "regular_regions": {str(key): float(hits.mean()) for key, hits in validation.regions_right.items()},
        "agreement": float(validation.agreement.mean()),
    }


def replay_case(
    case: JobCase,
    policy: FramePolicy,
    evaluated_pairs: Sequence[EvaluatedPair],
    job: Job,
    *,
    reporting_s: float,
    foresight: bool,
) -> list[ReplayedPair]:
    """Assign the pairs to the captures of all passes, and replay each pass.

    The order of pairs is the same for all policies and rates. Pairs without a capture are left out.
    """
    order = np.random.default_rng(job.seed).permutation(len(evaluated_pairs))
    slots = [(number, time_s) for number, pass_ in enumerate(case.passes) for time_s in pass_.captures_s]
    replayed: list[ReplayedPair] = []
    for number, pass_ in enumerate(case.passes):
        captures = [
            (time_s, evaluated_pairs[int(index)])
            for (pass_number, time_s), index in zip(slots, order, strict=False)
            if pass_number == number
        ]
        if captures:
            line = LinkForecast([ForecastRow(**row.model_dump()) for row in pass_.rows], pass_.end_s)
            for result in replay(
                policy,
                captures,
                line,
                answer_within_s=job.answer_within_s,
                send_order=job.send_order,
                reporting_s=reporting_s,
                with_foresight=foresight,
            ):
                result.link, result.trace_end_s = pass_.name, pass_.end_s
                replayed.append(result)
    return replayed


def _row(case: JobCase, policy: str, result: ReplayedPair, pair: Pair) -> dict[str, Any]:
    """Return a row of `pairs.csv`."""
    end_s = result.trace_end_s if result.answered_s is None else result.answered_s
    return {
        "rate_bit_s": case.rate_bit_s,
        "policy": policy,
        "link": result.link,
        "pair": result.pair,
        "frame": pair.frame,
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
        "latency_s": end_s - result.capture_s,
        "bytes_down": result.bytes_down,
        **{name: getattr(result.latency, name, float("nan")) for name in PARTS},
        "onboard_inference_s": result.onboard_inference_s,
    }


def summaries(
    rows: Sequence[Mapping[str, Any]], rates_bit_s: Sequence[float], policies: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the figures of each policy at each rate, with a comparison with the mean of the baselines."""
    cases = []
    for rate_bit_s in rates_bit_s:
        of_rate = {
            name: summary([r for r in rows if r["rate_bit_s"] == rate_bit_s and r["policy"] == name])
            for name in policies
        }
        cases.append({"rate_bit_s": rate_bit_s, "policies": of_rate, "headline": headline(of_rate)})
    return cases


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of one policy at one rate; unanswered frames count up to the trace's end."""
    frames = [str(row["frame"]) for row in rows]
    latency_s = np.array([row["latency_s"] for row in rows])
    answered = [row for row in rows if row["answered"]]
    return {
        "pairs": len(rows),
        "accuracy": asdict(share(frames, [row["right"] for row in rows])),
        "timely_accuracy": asdict(share(frames, [row["timely"] for row in rows])),
        "latency_mean_s": float(latency_s.mean()),
        "latency_median_s": float(np.median(latency_s)),
        "latency_p95_s": float(np.quantile(latency_s, 0.95)),
        "unanswered": len(rows) - len(answered),
        "bytes_per_frame": float(np.mean([row["bytes_down"] for row in rows])),
        "onboard_inference_s": float(np.mean([row["onboard_inference_s"] for row in rows])),
        "share_on_board": float(np.mean([row["answered_by"] == "satellite" for row in rows])),
        "latency_parts_mean_s": {
            name: float(np.mean([row[name] for row in answered])) if answered else None for name in PARTS
        },
    }


def headline(of_rate: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Compare `spaceverse` with the mean of the baselines, and name baselines better in both respects."""
    others = [of_rate[name] for name in BASELINES if name in of_rate]
    ours = of_rate.get("spaceverse")
    if ours is None or not others:
        return None
    timely = float(np.mean([other["timely_accuracy"]["value"] for other in others]))
    latency_s = float(np.mean([other["latency_mean_s"] for other in others]))
    ground = of_rate.get("ground-only")
    return {
        "timely_gain": ours["timely_accuracy"]["value"] / timely - 1 if timely else None,
        "latency_change": ours["latency_mean_s"] / latency_s - 1,
        "better_in_both": [
            name
            for name in BASELINES
            if name in of_rate
            and of_rate[name]["timely_accuracy"]["value"] > ours["timely_accuracy"]["value"]
            and of_rate[name]["latency_mean_s"] < ours["latency_mean_s"]
        ],
        "accuracy_minus_ground_only": (
            ours["accuracy"]["value"] - ground["accuracy"]["value"] if ground else None
        ),
        "bytes_of_ground_only": ours["bytes_per_frame"] / ground["bytes_per_frame"] if ground else None,
    }


def write_questions(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write `questions.json`: image, prompt, truth and kind of each pair, for emulated runs."""
    questions = {
        pair.name: {
            "image": str(pair.image.absolute()),
            "prompt": pair.prompt,
            "truth": pair.truth,
            "kind": pair.kind,
        }
        for pair in pairs
    }
    write_atomically(folder / "questions.json", json.dumps(questions, indent=2) + "\n")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_results(folder: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `results.json` and `pairs.csv`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "pairs.csv", rows)
    text = json.dumps(_without_nan(results), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "results.json", text)


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by None."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
