"""What is chosen on validation pairs, on made-up outcomes whose best choice is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.data.pairs import Pair
from nodes.lab.evaluation.outcomes import OnboardOutcome
from nodes.lab.evaluation.selection import (
    ValidationOutcomes,
    anticipating,
    platt,
    region_of,
    select_heads,
    select_parameters,
)
from nodes.onboard.confidence import END


def outcome(confidence: float, attention: np.ndarray | None = None) -> OnboardOutcome:
    looked = np.full((2, 2, 16), 1 / 16, dtype=np.float32) if attention is None else attention
    return OnboardOutcome("two", (3,), (float(np.log(confidence)),), {}, looked)


def made(count: int = 100) -> ValidationOutcomes:
    """Right on board where the confidence is above 0.6; the ground is always right; regions need 16 %."""
    confidence = np.linspace(0.01, 0.99, count)
    right = confidence > 0.6
    always = np.ones(count, dtype=bool)
    return ValidationOutcomes(
        frames=[f"f{number}" for number in range(count)],
        kinds=["count"] * count,
        onboard=[outcome(value) for value in confidence],
        onboard_right=right,
        agreement=right,
        whole_right=always,
        whole_bytes=np.full(count, 1000.0),
        regions_right={0.08: np.arange(count) % 2 == 0, 0.16: always, 0.32: always},
        regions_bytes={share: np.full(count, 1000.0 * share) for share in (0.08, 0.16, 0.32)},
        reduced_right=always,
    )


def test_thresholds_meet_the_floor_with_the_fewest_bytes() -> None:
    validation = made()
    tokens = validation.token_confidence
    chosen = select_parameters(
        validation, {"correctness": {END: tokens, 1: tokens, 0: tokens}}, "correctness"
    )
    ours = chosen["spaceverse"]
    assert 0.55 < ours["accept_at_end"] <= 0.62
    assert ours["shares"] == (0.08, 0.16)  # the smallest share that loses nothing, and what is below it
    assert ours["offload_share"] == pytest.approx(0.6, abs=0.03)
    assert ours["offload_below_at_0"] == pytest.approx(ours["accept_at_end"], abs=0.06)
    assert ours["accept_from"] == pytest.approx(ours["accept_at_end"], abs=0.06)
    assert 0.55 < chosen["two-threshold"]["accept_confidence"] <= 0.65
    assert chosen["two-threshold"]["drop_below"] < 0.03  # to drop costs accuracy here
    cascade = chosen["cascade"]
    probability = 1 / (1 + np.exp(-(cascade["slope"] * np.log(0.6 / 0.4) + cascade["offset"])))
    assert probability == pytest.approx(0.5, abs=0.1)
    assert cascade["slope"] > 1
    assert chosen["oracle"] == {"shares": (0.08, 0.16)}


def test_a_byte_goal_is_kept() -> None:
    validation = made()
    chosen = select_parameters(
        validation, {"correctness": {END: validation.token_confidence}}, "correctness", bytes_goal=48.0
    )["spaceverse"]
    sent = validation.token_confidence < chosen["accept_at_end"]
    assert 0.25 < sent.mean() <= 0.31  # 160 bytes each
    assert sent.mean() * 160 <= 48


def test_every_ablation_keeps_the_goal_with_thresholds_of_its_own() -> None:
    """Stage 0 knows half of what the end knows; whole frames cost six times what regions do."""
    validation = made(200)
    rng = np.random.default_rng(0)
    end = validation.token_confidence
    stages = {"correctness": {0: np.clip(end + rng.normal(0, 0.2, 200), 0, 1), END: end}}
    goal_bytes = 100.0
    chosen = select_parameters(validation, stages, "correctness", bytes_goal=goal_bytes)

    def spent(name: str, size_bytes: float) -> float:
        return float(chosen[name]["offload_share"]) * size_bytes

    assert 0.8 * goal_bytes < spent("spaceverse-without-regions", 1000.0) <= goal_bytes
    assert spent("spaceverse-without-stage-0", 160.0) <= goal_bytes
    alone = stages["correctness"][0] < chosen["spaceverse-without-later-stages"]["accept_at_end"]
    assert 0.8 * goal_bytes < alone.mean() * 160.0 <= goal_bytes


def test_a_threshold_more_is_no_worse_than_one() -> None:
    validation = made(200)
    chosen = select_parameters(validation, {}, "correctness", bytes_goal=300.0)
    two, tokens = chosen["two-threshold"], validation.token_confidence
    cascade = chosen["cascade"]
    calibrated = 1 / (1 + np.exp(-(cascade["slope"] * np.log(tokens / (1 - tokens)) + cascade["offset"])))
    by_one = np.where(calibrated >= cascade["accept_probability"], validation.onboard_right, True)
    kept = tokens >= two["accept_confidence"]
    by_two = np.where(kept, validation.onboard_right, tokens >= two["drop_below"])
    assert by_two.mean() >= by_one.mean() - 0.005


def test_without_a_ground_that_helps_nothing_is_sent() -> None:
    validation = made()
    hopeless = ValidationOutcomes(**{**vars(validation), "whole_right": np.zeros(100, dtype=bool)})
    two = select_parameters(hopeless, {}, "correctness")["two-threshold"]
    assert two["accept_confidence"] <= 0.61


def test_early_stages_only_anticipate_the_end() -> None:
    scores = np.linspace(0, 1, 101)
    ends = scores < 0.4
    edge = anticipating(scores, ends, 0.95, below=True)
    assert 0.4 <= edge <= 0.43  # 95 % of those below it end so
    assert anticipating(scores, ~ends, 0.95, below=False) == pytest.approx(0.37, abs=0.02)
    none = np.zeros(101, dtype=bool)
    assert anticipating(scores, none, 0.95, below=True) == 0.0
    assert anticipating(scores, none, 0.95, below=False) == 1.01
    assert anticipating(scores, ends, 1.01, below=True) == 0.0
    assert anticipating(np.array([]), np.array([], dtype=bool), 0.95, below=True) == 0.0


def test_a_stage_that_costs_accuracy_ends_nothing_early() -> None:
    """Stage 0 errs in a tenth of the frames, the end never."""
    validation = made()
    right = validation.onboard_right
    end, start = np.where(right, 0.9, 0.1), np.where(right, 0.9, 0.1)
    start[np.flatnonzero(right)[:5]] = 0.05
    stages = {"correctness": {0: start, END: end}}
    chosen = select_parameters(validation, stages, "correctness", bytes_goal=160.0)["spaceverse"]
    assert chosen["offload_below_at_0"] == 0.0
    assert 0.1 < chosen["accept_at_end"] <= 0.9
    knowing = {"correctness": {0: end, END: end}}
    early = select_parameters(validation, knowing, "correctness", bytes_goal=160.0)["spaceverse"]
    assert 0.1 < early["offload_below_at_0"] <= 0.9


def test_platt_finds_slope_and_offset() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 4000)
    hits = rng.random(4000) < 1 / (1 + np.exp(-(0.5 * logit + 1)))
    slope, offset = platt(1 / (1 + np.exp(-logit)), hits)
    assert slope == pytest.approx(0.5, abs=0.06)
    assert offset == pytest.approx(1, abs=0.12)


def test_heads_are_those_that_find_the_place(tmp_path: Path) -> None:
    pairs, outcomes = [], []
    for number in range(12):
        attention = np.random.default_rng(number).random((2, 2, 16)).astype(np.float32)
        attention[1, 0, number] = 5
        outcomes.append(outcome(0.5, attention))
        row, column = divmod(number, 4)
        box = (column / 4 + 0.1, row / 4 + 0.1, column / 4 + 0.2, row / 4 + 0.2)
        pairs.append(Pair(f"p{number}", "f", tmp_path, "?", "", box=box))
        assert region_of(box, 4, 4) == number
    assert select_heads(pairs, outcomes, 4, 4)[0] == (1, 0)
    assert select_heads([Pair("p", "f", tmp_path, "?", "")], outcomes[:1], 4, 4) == []


def test_a_lookup_offloads_the_kinds_that_gain_most_per_byte() -> None:
    validation = made()
    kinds = ["ships" if right else "fields" for right in validation.onboard_right]
    kinds[0] = "ships"  # the only one of its kind that fails on board
    prompts = [f"how many {kind}?" for kind in kinds]
    known = ValidationOutcomes(**{**vars(validation), "kinds": kinds, "prompts": prompts})
    chosen = select_parameters(known, {}, "correctness", bytes_goal=100.0)
    lookup = chosen["kind-lookup"]
    assert (lookup["sent_prompts"], lookup["kept_prompts"]) == (["how many fields?"], ["how many ships?"])
    assert lookup["offload_share"] == pytest.approx(0.6, abs=0.03)
    assert select_parameters(known, {}, "correctness", bytes_goal=1.0)["kind-lookup"]["sent_prompts"] == [""]
    tests = select_parameters(known, {}, "correctness", bytes_goal=1000.0)["grace-two-tests"]
    assert set(tests["known_prompts"]) | set(tests["other_prompts"]) >= set(prompts)


def test_the_same_budget_holds_for_all_policies() -> None:
    validation = made()
    chosen = select_parameters(validation, {}, "correctness", bytes_goal=80.0)
    tokens = validation.token_confidence
    whole = [chosen[name]["accept_confidence"] for name in ("offload-after", "offload-after-contact")]
    assert all(0 < (tokens < threshold).mean() * 1000 <= 80 for threshold in whole)
    regions = (tokens < chosen["token-regions"]["accept_confidence"]).mean() * 160
    assert 60 < regions <= 80
    assert (tokens < chosen["serval"]["urgent_below"]).mean() * 1000 <= 80
