"""Runs a job: outcomes, choices on validation pairs, then every policy over every case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
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
from nodes.lab.evaluation.calibration import of_study, on_test_pairs
from nodes.lab.evaluation.compute_times import ComputeTimes, measure
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.event_model.replay import Played, replay
from nodes.lab.evaluation.figures import share
from nodes.lab.evaluation.outcomes import Cache, Outcomes, key_of, message_of
from nodes.lab.evaluation.parallel import precompute
from nodes.lab.evaluation.progress import Progress
from nodes.lab.evaluation.selection import (
    BUDGET_SHARE,
    SHARES,
    Study,
    regions_of,
    select_heads,
    select_parameters,
    studied_decisions,
    study,
    train_network,
)
from nodes.onboard.judge import Judge
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.onboard.message import read_regions
from nodes.policies import (
    BASELINES,
    Decision,
    FramePolicy,
    SendReduced,
    SendRegions,
    SendWhole,
    policy_named,
)
from nodes.profiles.profile import read_profile
from nodes.regions.drawing import draw_kept
from nodes.vlm.folder import fingerprint


def shipped(name: str) -> str:
    """The folder of a model or data set that ships, by its name; else the name as it is."""
    for module in (shipped_models, shipped_data):
        value = getattr(module, name.upper().replace("-", "_"), None)
        if isinstance(value, Path):
            return str(value)
    return name


def run_job(job: Job, progress: Progress) -> dict[str, Any]:
    """Do it all, write `results.json` and `pairs.csv` below the job's output; returns the results."""
    policies = [(name, policy_named(name)) for name in job.policies]  # a wrong name fails before any work
    to_choose, to_test = split_pairs(job)
    for case in job.cases:
        check_captures(case, len(to_test))
    outcomes = outcomes_of(job)
    times = compute_times(job, outcomes, to_choose, progress)
    chosen, judge = select(job, outcomes, times, to_choose, progress)
    subjects = [EvaluatedPair(pair, outcomes, times, judge) for pair in to_test]
    with progress.step("compact model on test pairs", len(subjects)) as tick:
        for subject in subjects:
            _ = subject.onboard
            tick()
    shares = chosen["parameters"]["oracle"]["shares"]
    asked = [
        (subject, one) for subject in subjects for one in certain_decisions(job.policies, subject, shares)
    ]
    precompute(outcomes, asked, job.jobs, "regular model on test pairs", progress)
    rows: list[dict[str, Any]] = []
    played_rows: list[dict[str, Any]] = []
    every = [*((case, rows) for case in job.cases), *((case, played_rows) for case in job.emulated)]
    with progress.step("policies over links", len(every) * len(policies)) as tick:
        for case, into in every:
            for name, _ in policies:
                policy = policy_named(name, chosen["parameters"].get(name))
                played = play_case(
                    case, policy, subjects, job, pass_on_s=times.pass_on_s, foresight=name == "oracle"
                )
                into += [_row(case, name, one, subjects_by_name(subjects)) for one in played]
                tick()
    results = {
        "models": {"compact": shipped(job.compact), "regular": shipped(job.regular)},
        "pairs": len(to_test),
        "frames": len({pair.frame for pair in to_test}),
        "pairs_chosen_on": len(to_choose),
        "compute_times": {**asdict(times), "profile": None if job.times is None else str(job.times)},
        "target": job.target,
        "answer_within_s": job.answer_within_s,
        "chosen": chosen,
        "test": on_test_pairs(subjects, judge),
        "cases": summaries(rows, [case.rate_bit_s for case in job.cases], job.policies),
    }
    write_selection(job, judge, chosen["parameters"], len(to_choose))
    write_questions(job.output, to_test)
    if played_rows:
        write_rows(job.output / "modelled.csv", played_rows)
    write_results(job.output, results, rows)
    draw_examples(subjects, chosen["parameters"]["spaceverse"]["shares"][-1], job.output)
    return results


def certain_decisions(
    policies: Sequence[str], subject: EvaluatedPair, shares: Sequence[float]
) -> list[Decision]:
    """What policies that ship ask the ground about a pair, whatever the links are like."""
    asked: list[Decision] = []
    if "ground-only" in policies:
        asked.append(SendWhole())
    if "ground-only-downsampled" in policies:
        asked.append(SendReduced(2))
    if "oracle" in policies and not subject.right_on_board():
        asked += regions_of(subject, shares)
    return asked


def check_captures(case: JobCase, pairs: int) -> None:
    """Raise DataError where there are more pairs than captures, unless the case is but a part of one."""
    captures = sum(len(one.captures_s) for one in case.passes)
    if captures < pairs and not case.part:
        raise DataError(
            f"{pairs} pairs, but the passes have {captures} captures: more passes, a shorter interval "
            "between frames, or a limit on the pairs would do"
        )


def outcomes_of(job: Job) -> Outcomes:
    """The outcomes of the job's models, as far as they are known already."""
    return Outcomes(
        shipped(job.compact),
        shipped(job.regular),
        job.cache,
        device=job.device,
        threads=job.threads,
        max_new_tokens=job.max_new_tokens,
    )


def train_confidence(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Train a job's network on its pairs to choose on, and save it; returns cross-fitted calibration."""
    to_choose, _ = split_pairs(job)
    outcomes = outcomes_of(job)
    times = compute_times(job, outcomes, to_choose, progress)
    chosen, judge = select(job, outcomes, times, to_choose, progress)
    judge.save(folder, about_network(job, len(to_choose)))
    figures: dict[str, Any] = chosen["calibration"]
    return figures


def about_network(job: Job, pairs: int) -> dict[str, Any]:
    """What is kept with a network: what it was trained on."""
    weights = fingerprint(shipped(job.compact))
    return {"compact": job.compact, "weights": weights, "data": job.data.folder, "pairs": pairs}


def write_selection(job: Job, judge: Judge, parameters: Mapping[str, Any], pairs: int) -> None:
    """Write what a satellite's program loads: the network into `confidence/`, thresholds by policy."""
    judge.save(job.output / "confidence", about_network(job, pairs))
    write_atomically(job.output / "policies.json", json.dumps(parameters, indent=2) + "\n")


def draw_examples(subjects: Sequence[EvaluatedPair], share_kept: float, folder: Path, count: int = 3) -> None:
    """Draw what is kept of the first frames whose compact answer is wrong: `kept-<pair>.png`."""
    for subject in [one for one in subjects if not one.right_on_board()][:count]:
        decision = SendRegions(round(share_kept * subject.whole_bytes))
        data = message_of(subject.pair, decision, subject.scores, subject.layout).data
        unpacked = read_regions(io.BytesIO(data or b""))
        draw_kept(unpacked, subject.scores).save(folder / f"kept-{subject.name}.png")


def split_pairs(job: Job) -> tuple[list[Pair], list[Pair]]:
    """(pairs to choose on, pairs to test on). Raises DataError where they share a frame."""
    folder = Path(shipped(job.data.folder))
    if job.data.choose_split is None and job.data.choose_folder is None:
        every = read_pairs(folder, job.data.split)
        apart = [hashlib.sha256(f"{job.seed}{pair.frame}".encode()).digest()[0] % 2 == 0 for pair in every]
        choose_on = [pair for pair, here in zip(every, apart, strict=True) if here]
        test_on = [pair for pair, here in zip(every, apart, strict=True) if not here]
    else:
        choose_folder = Path(shipped(job.data.choose_folder)) if job.data.choose_folder else folder
        choose_on = read_pairs(choose_folder, job.data.choose_split)
        test_on = read_pairs(folder, job.data.split)
    choose_on, test_on = (_thinned(pairs, job.data.limit) for pairs in (choose_on, test_on))
    if not choose_on or not test_on:
        raise DataError(
            f"{folder}: {len(choose_on)} pairs to choose on, {len(test_on)} to test: give more frames"
        )
    pictures = {hashlib.sha256(pair.image.read_bytes()).digest() for pair in choose_on}
    for pair in test_on:
        if hashlib.sha256(pair.image.read_bytes()).digest() in pictures:
            raise DataError(f"{pair.image} is among the frames to choose on: test on other frames")
    return choose_on, test_on


def _thinned(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    if limit is None or len(pairs) <= limit:
        return list(pairs)
    return [pairs[index * len(pairs) // limit] for index in range(limit)]


def compute_times(job: Job, outcomes: Outcomes, pairs: Sequence[Pair], progress: Progress) -> ComputeTimes:
    """Those of the profile that the job names; what it does not hold, or all, as measured here."""
    if job.times is None:
        return measured_times(job, outcomes, pairs, progress)
    profile = read_profile(job.times)
    return ComputeTimes.of_profile(profile, lambda: measured_times(job, outcomes, pairs, progress))


def measured_times(job: Job, outcomes: Outcomes, pairs: Sequence[Pair], progress: Progress) -> ComputeTimes:
    """Those measured here before, or measured now."""
    cache = Cache(job.cache)
    machine = f"{platform.node()} {platform.processor()} {os.cpu_count()}"
    sizes = sorted({pair.image.stat().st_size for pair in pairs})
    key = key_of(
        "times of pasted regions",
        *outcomes.ids.values(),
        machine,
        job.device,
        job.threads,
        repr(outcomes.layout),
        repr(sizes),
        *(field.name for field in fields(ComputeTimes)),
    )
    known = cache.get(key)
    if known is not None:
        return ComputeTimes(**known)
    with progress.step("compute times", 8) as tick:
        times = measure(outcomes, pairs, job.output, tick)
    cache.put(key, asdict(times))
    return times


def select(
    job: Job, outcomes: Outcomes, times: ComputeTimes, pairs: Sequence[Pair], progress: Progress
) -> tuple[dict[str, Any], Judge]:
    """(what was chosen, the trained network with its attention heads), all from `pairs` alone."""
    with progress.step("compact model on validation pairs", len(pairs)) as tick:
        onboard = []
        for pair in pairs:
            onboard.append(outcomes.onboard(pair))
            tick()
    heads = select_heads(pairs, onboard, outcomes.layout.rows, outcomes.layout.columns)
    untrained = Judge(None, job.target, heads, outcomes.layout)
    subjects = [EvaluatedPair(pair, outcomes, times, untrained) for pair in pairs]
    asked = [(subject, decision) for subject in subjects for decision in studied_decisions(subject, SHARES)]
    precompute(outcomes, asked, job.jobs, "regular model on validation pairs", progress)
    with progress.step("both models on validation pairs", len(pairs)) as tick:
        made = study(subjects, SHARES, tick)
    network, fitted = train_network(made)
    budget = job.goal_bytes or BUDGET_SHARE * float(made.whole_bytes.mean())
    bytes_goal = budget if job.goal == "budget" else None
    parameters = select_parameters(made, fitted, job.target, bytes_goal=bytes_goal)
    chosen = {
        "goal": {"of": job.goal, "bytes_a_frame": bytes_goal},
        "attention_heads": heads,
        "parameters": parameters,
        "validation": _validation_figures(made),
        "calibration": of_study(made, fitted),
    }
    return chosen, replace(untrained, network=network)


def _validation_figures(made: Study) -> dict[str, Any]:
    return {
        "compact": float(made.onboard_right.mean()),
        "regular_whole": float(made.whole_right.mean()),
        "regular_reduced": float(made.reduced_right.mean()),
        "regular_regions": {str(key): float(hits.mean()) for key, hits in made.regions_right.items()},
        "agreement": float(made.agreement.mean()),
    }


def play_case(
    case: JobCase,
    policy: FramePolicy,
    subjects: Sequence[EvaluatedPair],
    job: Job,
    *,
    pass_on_s: float,
    foresight: bool,
) -> list[Played]:
    """Deal the pairs over the passes' captures, in one order for all policies and rates, and play each pass.

    Pairs for which there is no capture are left out.
    """
    order = np.random.default_rng(job.seed).permutation(len(subjects))
    slots = [(number, time_s) for number, one in enumerate(case.passes) for time_s in one.captures_s]
    played: list[Played] = []
    for number, one in enumerate(case.passes):
        dealt = [
            (time_s, subjects[int(index)])
            for (place, time_s), index in zip(slots, order, strict=False)
            if place == number
        ]
        if dealt:
            line = LinkForecast([ForecastRow(**row.model_dump()) for row in one.rows], one.end_s)
            for row in replay(
                policy,
                dealt,
                line,
                answer_within_s=job.answer_within_s,
                pass_on_s=pass_on_s,
                with_foresight=foresight,
            ):
                row.link, row.trace_end_s = one.name, one.end_s
                played.append(row)
    return played


def subjects_by_name(subjects: Sequence[EvaluatedPair]) -> Mapping[str, EvaluatedPair]:
    """For looking them up."""
    return {subject.name: subject for subject in subjects}


def _row(case: JobCase, policy: str, one: Played, by_name: Mapping[str, EvaluatedPair]) -> dict[str, Any]:
    pair = by_name[one.pair].pair
    answered = one.answered_s is not None
    latency_s = (one.answered_s if one.answered_s is not None else one.trace_end_s) - one.capture_s
    return {
        "rate_bit_s": case.rate_bit_s,
        "policy": policy,
        "link": one.link,
        "pair": one.pair,
        "frame": pair.frame,
        "kind": pair.kind,
        "truth": pair.truth,
        "answer": one.answer,
        "answered_by": one.answered_by or "",
        "decision": one.decision,
        "stage": one.stage,
        "right": one.right,
        "timely": one.timely,
        "answered": answered,
        "capture_s": one.capture_s,
        "received_s": one.received_s if one.received_s is not None else float("nan"),
        "latency_s": latency_s,
        "bytes_down": one.bytes_down,
        **{name: getattr(one.latency, name, float("nan")) for name in PARTS},
        "onboard_inference_s": one.onboard_inference_s,
    }


def summaries(
    rows: Sequence[Mapping[str, Any]], rates_bit_s: Sequence[float], policies: Sequence[str]
) -> list[dict[str, Any]]:
    """Figures per rate and policy, and per rate the comparison with the mean of the baselines."""
    cases = []
    for rate_bit_s in rates_bit_s:
        of_rate = {
            name: summary([r for r in rows if r["rate_bit_s"] == rate_bit_s and r["policy"] == name])
            for name in policies
        }
        cases.append({"rate_bit_s": rate_bit_s, "policies": of_rate, "headline": headline(of_rate)})
    return cases


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of one policy at one rate. An unanswered frame's latency counts up to the trace's end."""
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
    """`spaceverse` against the mean of the baselines: relative gain and cut, and who is better in both."""
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
    """Write `questions.json`: image, prompt, truth and kind of each pair, for who plays them elsewhere."""
    asked = {
        pair.name: {
            "image": str(pair.image.absolute()),
            "prompt": pair.prompt,
            "truth": pair.truth,
            "kind": pair.kind,
        }
        for pair in pairs
    }
    write_atomically(folder / "questions.json", json.dumps(asked, indent=2) + "\n")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_results(folder: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `results.json` and `pairs.csv`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "pairs.csv", rows)
    text = json.dumps(_plain(results), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "results.json", text)


def _plain(value: Any) -> Any:
    """JSON has no NaN: null stands for what is not known."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
