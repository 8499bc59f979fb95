"""Runs a job: outcomes, selection on validation pairs, then every policy over every case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nodes import data as shipped_data
from nodes import models as shipped_models
from nodes.contract.evaluation import Job, JobCase
from nodes.contract.files import is_policy_file, replacing, write_atomically
from nodes.data.frames import in_place
from nodes.data.pairs import Pair, listed_pairs
from nodes.errors import DataError
from nodes.lab.evaluation.calibration import figures_on_test_pairs, figures_on_validation_pairs
from nodes.lab.evaluation.cells import Cell, Setting, line_of
from nodes.lab.evaluation.compute_times import (
    FEW_PAIRS,
    FEW_REPEATS,
    REPEATS,
    ComputeTimes,
    measure_compute_times,
)
from nodes.lab.evaluation.dealing import check_captures, deal
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import Cache, Outcomes, image_digest, key_of, message_of
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.results.places import places_of
from nodes.lab.evaluation.results.summaries import row_of, summary_of_case
from nodes.lab.evaluation.selection import (
    BUDGET_SHARE,
    SHARES,
    Goal,
    ValidationOutcomes,
    region_decisions,
    select_heads,
    select_parameters,
    train_network,
    validation_decisions,
    validation_outcomes,
)
from nodes.lab.evaluation.tuning import tuned
from nodes.lab.evaluation.workers.choice import Workers, workers_of
from nodes.lab.evaluation.workers.executor import run_tasks
from nodes.lab.evaluation.workers.precompute import precompute_ground, precompute_onboard
from nodes.lab.evaluation.workers.tasks import compute_cell
from nodes.onboard.judge import Judge
from nodes.onboard.message import read_regions
from nodes.policies import (
    Decision,
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
        check_captures(case, len({pair.frame for pair in test_pairs}))
    outcomes = outcomes_of(job)
    with workers_of(job, outcomes) as workers:
        return _run(job, outcomes, workers, (selection_pairs, test_pairs), progress)


def _run(
    job: Job,
    outcomes: Outcomes,
    workers: Workers,
    pairs: tuple[Sequence[Pair], Sequence[Pair]],
    progress: Progress,
) -> dict[str, Any]:
    selection_pairs, test_pairs = pairs
    times = compute_times(job, outcomes, selection_pairs, progress)
    chosen, judge, parameters_within = select(job, outcomes, workers, times, selection_pairs, progress)
    precompute_onboard(workers.compact, outcomes, test_pairs, "compact model on test pairs", progress)
    evaluated_pairs = [EvaluatedPair(pair, outcomes, times, judge) for pair in test_pairs]
    shares = chosen["parameters"]["oracle"]["shares"]
    requests = [
        (evaluated, decision)
        for evaluated in evaluated_pairs
        for decision in certain_decisions(job.policies, evaluated, shares)
    ]
    precompute_ground(workers.regular, outcomes, requests, "regular model on test pairs", progress)
    by_name = {pair.name: pair for pair in test_pairs}
    place_of = dict(zip(by_name, places_of(test_pairs), strict=True))
    budgets: dict[str, float | None] = {}
    rows: list[dict[str, Any]] = []
    emulated_rows: list[dict[str, Any]] = []
    cases = [scaled(case, evaluated_pairs) for case in job.cases]
    frames = [evaluated.pair.frame for evaluated in evaluated_pairs]
    played = [like_its_load(part, cases, frames, job.seed) for part in job.emulated]
    every = [*((case, rows) for case in cases), *((case, emulated_rows) for case in played)]
    setting = pickle.dumps(_setting(job, test_pairs, times, judge))
    work: list[Cell] = []
    for case, _ in every:
        budgets[case.title] = budget = _budget(case, chosen["goal"]["bytes_per_prompt"], len(test_pairs))
        parameters = (
            chosen["parameters"]
            if budget == chosen["goal"]["bytes_per_prompt"]
            else parameters_within(budget)
        )
        work += [Cell(setting, case, name, parameters.get(name)) for name in job.policies]
    of_cells = iter(run_tasks(workers.cells, compute_cell, work, "policies over links", progress))
    for case, rows_of_case in every:
        for name in job.policies:
            rows_of_case += [
                row_of(case, name, result, by_name[result.pair], place_of[result.pair])
                for result in next(of_cells)
            ]
    with_contact_rule = [
        cell.policy
        for cell in work
        if getattr(policy_named(cell.policy, cell.parameters), "contact_aware", False)
    ]
    results = {
        "models": {"compact": shipped(job.compact), "regular": shipped(job.regular)},
        "options": job.options.model_dump(exclude_none=True),
        "pairs": len(test_pairs),
        "frames": len({pair.frame for pair in test_pairs}),
        "places": len(set(place_of.values())),
        "pairs_chosen_on": len(selection_pairs),
        "compute_times": {**asdict(times), "profile": None if job.times is None else str(job.times)},
        "target": job.target,
        "answer_within_s": job.answer_within_s,
        "send_order": job.send_order,
        "ground": {
            "servers": job.ground_servers,
            "profile": None if job.ground_times is None else str(job.ground_times),
        },
        "chosen": chosen,
        "test": figures_on_test_pairs(evaluated_pairs, judge),
        "cases": [
            summary_of_case(
                case,
                [row for row in rows if row["case"] == case.title],
                job.policies,
                load_of(case, evaluated_pairs),
                with_contact_rule,
            )
            | {"budget_bytes_per_prompt": budgets[case.title]}
            for case in cases
        ],
    }
    write_selection(job, judge, chosen["parameters"], len(selection_pairs))
    write_questions(job.output, test_pairs)
    if emulated_rows:
        write_rows(job.output / "modelled.csv", emulated_rows)
    write_results(job.output, results, rows)
    draw_examples(evaluated_pairs, chosen["parameters"]["spaceverse"]["shares"][-1], job.output)
    return results


def _budget(case: JobCase, budget: float | None, prompts: int) -> float | None:
    """Return the bytes per prompt that thresholds are chosen for: no more than the links of a load carry."""
    if budget is None or case.load is None:
        return budget
    bits = sum(line_of(pass_).bits_between(0.0, pass_.end_s) for pass_ in case.passes)
    return min(budget, bits / 8 / prompts)


def _setting(job: Job, pairs: Sequence[Pair], times: ComputeTimes, judge: Judge) -> Setting:
    return Setting(
        pairs=tuple(pairs),
        images=tuple(image_digest(pair.image) for pair in pairs),
        times=times,
        judge=judge,
        answer_within_s=job.answer_within_s,
        send_order=job.send_order,
        ground_servers=job.ground_servers,
        seed=job.seed,
    )


def certain_decisions(
    policies: Sequence[str], evaluated: EvaluatedPair, shares: Sequence[float]
) -> list[Decision]:
    """Return the decisions that shipped policies take or try on a pair over any link."""
    decisions: list[Decision] = []
    if {"ground-only", "ground-only-newest", "serval"} & set(policies):
        decisions.append(SendWhole())
    if "ground-only-downsampled" in policies:
        decisions.append(SendReduced(2))
    if "oracle" in policies and not evaluated.right_on_board():
        decisions += region_decisions(evaluated, shares)
    return decisions


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
    with workers_of(job, outcomes) as workers:
        times = compute_times(job, outcomes, selection_pairs, progress)
        chosen, judge, _ = select(job, outcomes, workers, times, selection_pairs, progress)
    judge.save(folder, about_network(job, len(selection_pairs)))
    figures: dict[str, Any] = chosen["calibration"]
    return figures


def about_network(job: Job, pairs: int) -> dict[str, Any]:
    """Return the description of a network's training data that is saved with it."""
    weights = fingerprint(shipped(job.compact))
    data = job.data.choose_folder or job.data.folder
    return {"compact": job.compact, "weights": weights, "data": data, "pairs": pairs}


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
    source = shipped(job.data.folder)
    if job.data.choose_split is None and job.data.choose_folder is None:
        every = listed_pairs(source, job.data.split)
        apart = [hashlib.sha256(f"{job.seed}{pair.frame}".encode()).digest()[0] % 2 == 0 for pair in every]
        selection_pairs = [pair for pair, is_apart in zip(every, apart, strict=True) if is_apart]
        test_pairs = [pair for pair, is_apart in zip(every, apart, strict=True) if not is_apart]
    else:
        choose_source = shipped(job.data.choose_folder) if job.data.choose_folder else source
        selection_pairs = listed_pairs(choose_source, job.data.choose_split)
        test_pairs = listed_pairs(source, job.data.split)
    selection_pairs, test_pairs = (
        in_place(_thinned(pairs, job.data.limit), job.cache / "frames")
        for pairs in (selection_pairs, test_pairs)
    )
    if not selection_pairs or not test_pairs:
        raise DataError(
            f"{source}: {len(selection_pairs)} pairs for selection, {len(test_pairs)} for testing: "
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
    measured = partial(measured_times, job, outcomes, pairs, progress)
    if job.times is None:
        times = measured()
    else:
        profile = read_profile(job.times)
        check_comparable(profile, job.options)
        times = ComputeTimes.of_profile(profile, measured)
    return times if job.ground_times is None else times.on_ground(read_profile(job.ground_times))


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
    job: Job,
    outcomes: Outcomes,
    workers: Workers,
    times: ComputeTimes,
    pairs: Sequence[Pair],
    progress: Progress,
) -> tuple[dict[str, Any], Judge, Callable[[float | None], dict[str, dict[str, Any]]]]:
    """Select attention heads and thresholds and train the network, all on `pairs` only.

    Returns:
        The selection as stored in `results.json`, the network with its attention heads, and what returns the
        parameters of all policies for another budget of bytes per prompt.
    """
    precompute_onboard(workers.compact, outcomes, pairs, "compact model on validation pairs", progress)
    onboard = [outcomes.onboard(pair) for pair in pairs]
    heads = select_heads(pairs, onboard, outcomes.layout.rows, outcomes.layout.columns)
    untrained = Judge(None, job.target, heads, outcomes.layout)
    evaluated_pairs = [EvaluatedPair(pair, outcomes, times, untrained) for pair in pairs]
    requests = [
        (evaluated, decision)
        for evaluated in evaluated_pairs
        for decision in validation_decisions(evaluated, SHARES)
    ]
    precompute_ground(workers.regular, outcomes, requests, "regular model on validation pairs", progress)
    with progress.step("both models on validation pairs", len(pairs)) as tick:
        validation = validation_outcomes(evaluated_pairs, SHARES, tick)
    network, fitted = train_network(validation)
    budget = job.goal_bytes or BUDGET_SHARE * float(validation.whole_bytes.mean())
    bytes_goal = budget if job.goal == "budget" else None

    def parameters_within(budget: float | None) -> dict[str, dict[str, Any]]:
        of_shipped = select_parameters(validation, fitted, job.target, bytes_goal=budget)
        confidences = fitted.get(job.target, {})
        of_users = {
            name: tuned(name, evaluated_pairs, confidences, Goal.on(validation, budget))
            for name in job.policies
            if is_policy_file(name)
        }
        return {**of_shipped, **of_users}

    parameters = parameters_within(bytes_goal)
    chosen = {
        "goal": {"of": job.goal, "bytes_per_prompt": bytes_goal},
        "attention_heads": heads,
        "parameters": parameters,
        "validation": _validation_figures(validation),
        "calibration": figures_on_validation_pairs(validation, fitted),
    }
    return chosen, replace(untrained, network=network), parameters_within


def _validation_figures(validation: ValidationOutcomes) -> dict[str, Any]:
    return {
        "compact": float(validation.onboard_right.mean()),
        "regular_whole": float(validation.whole_right.mean()),
        "regular_reduced": float(validation.reduced_right.mean()),
        "regular_regions": {str(key): float(hits.mean()) for key, hits in validation.regions_right.items()},
        "agreement": float(validation.agreement.mean()),
    }


def scaled(case: JobCase, evaluated_pairs: Sequence[EvaluatedPair]) -> JobCase:
    """Return a case with the rates that give the load it asks for."""
    if case.load is None:
        return case
    factor = load_of(case, evaluated_pairs) / case.load
    passes = [
        pass_.model_copy(
            update={
                "rows": [row.model_copy(update={"down_bit_s": row.down_bit_s * factor}) for row in pass_.rows]
            }
        )
        for pass_ in case.passes
    ]
    return case.model_copy(update={"passes": passes, "rate_bit_s": case.rate_bit_s * factor})


def like_its_load(part: JobCase, cases: Sequence[JobCase], frames: Sequence[str], seed: int) -> JobCase:
    """Return a part of a load with the load's rates, and captures where the load has frames.

    Args:
        part: The part; one of a case without a load stays as it is.
        cases: The job's cases with their scaled rates.
        frames: Frame of each pair.
        seed: Seed of the order of frames.

    Raises:
        DataError: The load has no frame there.
    """
    if not part.of_load:
        return part
    load = next(case for case in cases if case.name == part.of_load)
    factor = load.rate_bit_s / part.rate_bit_s
    used_s = {round(time_s, 6) for dealt in deal(frames, load, seed) for time_s, _ in dealt}
    (pass_,) = part.passes
    captures_s = [time_s for time_s in pass_.captures_s if round(time_s + part.begins_s, 6) in used_s]
    if not captures_s:
        raise DataError(
            f"{part.title}: the load has no frame in this part: use a longer --emulated or --lead"
        )
    rows = [row.model_copy(update={"down_bit_s": row.down_bit_s * factor}) for row in pass_.rows]
    passes = [pass_.model_copy(update={"rows": rows, "captures_s": captures_s})]
    return part.model_copy(update={"passes": passes, "rate_bit_s": load.rate_bit_s})


def load_of(case: JobCase, evaluated_pairs: Sequence[EvaluatedPair]) -> float:
    """Return the bytes of all frames as captured over the bytes that the links of a case carry."""
    sizes = {evaluated.pair.frame: evaluated.whole_bytes for evaluated in evaluated_pairs}
    bits = sum(line_of(pass_).bits_between(0.0, pass_.end_s) for pass_ in case.passes)
    return sum(sizes.values()) * 8 / bits


def write_questions(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write `questions.json`: image, prompt, right answers and kind of each pair, for emulated runs."""
    questions = {
        pair.name: {
            "image": str(pair.image.absolute()),
            "prompt": pair.prompt,
            "truth": pair.truth,
            "kind": pair.kind,
            "also_right": pair.also_right,
            **({} if pair.record is None else {"record": pair.record}),
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
