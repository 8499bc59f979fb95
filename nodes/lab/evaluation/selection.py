"""Selection of thresholds and heads, on validation pairs only.

* Confidence heads are trained for both targets, with regularisation selected by cross-validation over frames.
  Thresholds are selected on cross-fitted confidences, whose heads have not seen the frame.
* The goal is either the best accuracy within a byte budget per frame, or the fewest bytes at an accuracy of
  at least that of sending everything minus `SLACK` (if no thresholds reach it, the best accuracy).
* Early stages may only anticipate the final decision: their thresholds are the widest for which a given share
  of the affected frames would have ended alike. That share is selected jointly with the final threshold.
* Layers and heads whose attention ranks regions are selected by how often the true region of a question is
  among the top four; without known regions all heads count equally.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.data.pairs import Pair
from nodes.errors import ConfidenceError
from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.outcomes import OnboardOutcome
from nodes.onboard.confidence import (
    END,
    ConfidenceNetwork,
    Floats,
    choose_regularization,
    cross_fitted,
    train_head,
)
from nodes.policies import Decision, SendReduced, SendRegions, SendWhole

SLACK = 0.01
BUDGET_SHARE = 0.35  # default budget as a share of the bytes of sending everything
PRECISIONS = (0.9, 0.95, 0.98, 1.0, 1.01)  # the last cannot be reached: no early decisions
SHARES = (0.18, 0.26, 0.34)  # an overview and about one, two, three regions of sixteen
KNOWN_FROM = (0.0, 0.5, 0.75, 0.9)  # accuracy of a kind of prompts on board that counts as known
TOP = 4
TARGETS = ("correctness", "agreement")
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ValidationOutcomes:
    """Both models' outcomes for the validation pairs; arrays over pairs."""

    frames: list[str]
    kinds: list[str]
    onboard: list[OnboardOutcome]
    onboard_right: Bools
    agreement: Bools
    whole_right: Bools
    whole_bytes: Floats
    regions_right: dict[float, Bools]
    regions_bytes: dict[float, Floats]
    reduced_right: Bools
    prompts: list[str] = field(default_factory=list)

    @property
    def token_confidence(self) -> Floats:
        """Geometric mean of the token probabilities of the whole answer."""
        return np.array([outcome.token_confidence(len(outcome.token_ids)) for outcome in self.onboard])

    def target(self, name: str) -> Bools:
        """Return the labels that a head is trained to predict."""
        return self.onboard_right if name == "correctness" else self.agreement


def validation_decisions(evaluated: EvaluatedPair, shares: Sequence[float]) -> list[Decision]:
    """Return the decisions whose ground outcomes are needed for a validation pair."""
    return [SendWhole(), SendReduced(2), *region_decisions(evaluated, shares)]


def region_decisions(evaluated: EvaluatedPair, shares: Sequence[float]) -> list[Decision]:
    """Return decisions to send regions, one for each share of a frame's bytes."""
    return [SendRegions(round(share * evaluated.whole_bytes)) for share in shares]


def validation_outcomes(
    evaluated_pairs: Sequence[EvaluatedPair],
    shares: Sequence[float],
    tick: Callable[[], None] = lambda: None,
) -> ValidationOutcomes:
    """Return both models' outcomes for every validation pair, with regions at every share."""
    rows: list[dict[str, Any]] = []
    for evaluated in evaluated_pairs:
        whole = evaluated.sent(SendWhole())
        regions = dict(zip(shares, map(evaluated.sent, region_decisions(evaluated, shares)), strict=True))
        rows.append(
            {
                "onboard": evaluated.onboard,
                "right": evaluated.right_on_board(),
                "agrees": evaluated.onboard.text == whole.answer,
                "whole": whole,
                "regions": regions,
                "reduced": evaluated.sent(SendReduced(2)).right,
            }
        )
        tick()
    return ValidationOutcomes(
        frames=[evaluated.pair.frame for evaluated in evaluated_pairs],
        kinds=[evaluated.pair.kind for evaluated in evaluated_pairs],
        prompts=[evaluated.pair.prompt for evaluated in evaluated_pairs],
        onboard=[row["onboard"] for row in rows],
        onboard_right=np.array([row["right"] for row in rows]),
        agreement=np.array([row["agrees"] for row in rows]),
        whole_right=np.array([row["whole"].right for row in rows]),
        whole_bytes=np.array([float(row["whole"].size_bytes) for row in rows]),
        regions_right={s: np.array([row["regions"][s].right for row in rows]) for s in shares},
        regions_bytes={s: np.array([float(row["regions"][s].size_bytes) for row in rows]) for s in shares},
        reduced_right=np.array([row["reduced"] for row in rows]),
    )


def select_heads(
    pairs: Sequence[Pair], onboard: Sequence[OnboardOutcome], rows: int, columns: int
) -> list[tuple[int, int]]:
    """Return up to three (layer, head) whose attention best ranks the true regions; none without regions."""
    placed = [
        (pair.box, outcome) for pair, outcome in zip(pairs, onboard, strict=True) if pair.box is not None
    ]
    if not placed:
        return []
    hits = np.zeros(onboard[0].attention.shape[:2])
    for box, outcome in placed:
        top = np.argsort(-outcome.attention, axis=2)[:, :, :TOP]
        hits += (top == region_of(box, rows, columns)).any(axis=2)
    best = np.argsort(-hits, axis=None, kind="stable")[:3]
    layers, heads = np.unravel_index(best, hits.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def region_of(box: tuple[float, float, float, float], rows: int, columns: int) -> int:
    """Return the region that holds a box's centre."""
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return min(int(down * rows), rows - 1) * columns + min(int(across * columns), columns - 1)


def train_network(validation: ValidationOutcomes) -> tuple[ConfidenceNetwork, dict[str, dict[int, Floats]]]:
    """Train heads for both targets.

    A target that has the same label for every pair gets no heads.

    Returns:
        The network, and the cross-fitted confidences by target and stage: one value per pair, NaN where the
        answer ends before that stage.
    """
    stages = sorted({stage for outcome in validation.onboard for stage in outcome.features})
    heads: dict[str, Any] = {}
    fitted: dict[str, dict[int, Floats]] = {}
    for target in TARGETS:
        for stage in stages:
            has = np.array([stage in outcome.features for outcome in validation.onboard])
            rows = np.array(
                [o.features[stage] for o, here in zip(validation.onboard, has, strict=True) if here]
            )
            hits = validation.target(target)[has]
            groups = [frame for frame, here in zip(validation.frames, has, strict=True) if here]
            regularization = choose_regularization(rows, hits, groups)
            try:
                head = train_head(rows, hits, regularization)
            except ConfidenceError:
                continue
            values = np.full(len(has), np.nan)
            values[has] = cross_fitted(rows, hits, groups, regularization)
            heads.setdefault(target, {})[stage] = head
            fitted.setdefault(target, {})[stage] = values
    return ConfidenceNetwork(heads, {}), fitted


def select_parameters(
    validation: ValidationOutcomes,
    fitted: dict[str, dict[int, Floats]],
    target: str,
    *,
    bytes_goal: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the parameters of every policy that has any, by name.

    Args:
        validation: Outcomes to select on.
        fitted: Cross-fitted confidences by target and stage.
        target: Target whose confidences the policies use.
        bytes_goal: Budget in mean bytes per prompt, within which the most accurate thresholds are selected;
            None selects for the accuracy floor instead.
    """
    goal = Goal.on(validation, bytes_goal)
    tokens = validation.token_confidence
    slope, offset = platt(tokens, validation.onboard_right)
    confidence = fitted.get(target, {}).get(END, tokens)
    usual = _usual_share(validation)
    sent = validation.regions_right[usual], validation.regions_bytes[usual]
    whole = validation.whole_right, validation.whole_bytes
    stages = fitted.get(target, {})
    at_0 = stages.get(0, confidence)
    shares = tuple(share for share in sorted(validation.regions_right) if share <= usual)
    spaceverse = {**_stage_thresholds(validation, stages, confidence, sent, goal), "shares": shares}
    later = {stage: values for stage, values in stages.items() if stage}
    offload_after = goal.best(_candidates(tokens), lambda t: _mix(validation, tokens >= t, *whole))
    token_regions = goal.best(_candidates(tokens), lambda t: _mix(validation, tokens >= t, *sent))
    calibrated = 1 / (1 + np.exp(-(slope * _logit(tokens) + offset)))
    accept = goal.best(_candidates(calibrated), lambda t: _mix(validation, calibrated >= t, *whole))
    low, high = goal.best(
        [pair for pair in product(_candidates(tokens), repeat=2) if pair[0] <= pair[1]],
        lambda t: _two(validation, tokens, *t),
    )
    without_0 = _stage_thresholds(validation, later, confidence, sent, goal)
    without_later = _stage_thresholds(validation, {}, at_0, sent, goal)
    return {
        "spaceverse": spaceverse,
        "spaceverse-without-stage-0": {**without_0, "shares": shares},
        "spaceverse-without-later-stages": {**without_later, "shares": shares},
        "spaceverse-without-contact": spaceverse,
        "spaceverse-without-regions": _stage_thresholds(validation, stages, confidence, whole, goal),
        "offload-after": {"accept_confidence": offload_after},
        "offload-after-contact": {
            "accept_confidence": offload_after,
            "offload_share": float((tokens < offload_after).mean()),
        },
        "serval": {"urgent_below": offload_after},
        "token-regions": {
            "accept_confidence": token_regions,
            "shares": shares,
            "offload_share": float((tokens < token_regions).mean()),
        },
        "kind-lookup": {**_kind_lookup(validation, sent, goal), "shares": shares},
        "grace-two-tests": _two_tests(validation, tokens, goal),
        "cascade": {"slope": slope, "offset": offset, "accept_probability": accept},
        "two-threshold": {"drop_below": low, "accept_confidence": high},
        "oracle": {"shares": shares},
    }


@dataclass(frozen=True)
class Goal:
    """What thresholds are selected for.

    Attributes:
        floor: Least accuracy, at which the fewest bytes are best.
        bytes_goal: Most mean bytes per prompt, within which the highest accuracy is best; None for the floor.
    """

    floor: float
    bytes_goal: float | None

    @classmethod
    def on(cls, validation: ValidationOutcomes, bytes_goal: float | None) -> Goal:
        """Return the goal with the floor that sending everything gives."""
        return cls(float(validation.whole_right.mean()) - SLACK, bytes_goal)

    def best(self, candidates: Sequence[Any], of: Callable[[Any], tuple[float, float]]) -> Any:
        """Return the candidate whose (accuracy, mean bytes) meets the goal best."""
        scored = [(candidate, *of(candidate)) for candidate in candidates]
        if self.bytes_goal is not None:
            within = [s for s in scored if s[2] <= self.bytes_goal] or [min(scored, key=lambda s: s[2])]
            return max(within, key=lambda s: (s[1], -s[2]))[0]
        within = [s for s in scored if s[1] >= self.floor]
        if within:
            return min(within, key=lambda s: (s[2], -s[1]))[0]
        return max(scored, key=lambda s: (s[1], -s[2]))[0]


def _candidates(scores: Floats, count: int = 60) -> list[float]:
    finite = scores[np.isfinite(scores)]
    inner = np.quantile(finite, np.linspace(0, 1, count)).tolist() if len(finite) else []
    return sorted({0.0, *(round(value, 6) for value in inner), 1.01})


def _mix(
    validation: ValidationOutcomes, accepted: Bools, sent_right: Bools, sent_bytes: Floats
) -> tuple[float, float]:
    hits = np.where(accepted, validation.onboard_right, sent_right)
    return float(hits.mean()), float(np.where(accepted, 0.0, sent_bytes).mean())


def _two(validation: ValidationOutcomes, tokens: Floats, low: float, high: float) -> tuple[float, float]:
    accepted, dropped = tokens >= high, (tokens < low) & (tokens < high)
    hits = np.where(accepted, validation.onboard_right, validation.whole_right & ~dropped)
    return float(hits.mean()), float(np.where(accepted | dropped, 0.0, validation.whole_bytes).mean())


def _kind_lookup(validation: ValidationOutcomes, sent: tuple[Bools, Floats], goal: Goal) -> dict[str, Any]:
    """Select the kinds of prompts that are offloaded: those that gain most per byte come first."""
    kinds = np.asarray(validation.kinds)

    def gain(kind: str) -> float:
        rows = kinds == kind
        gained = float(sent[0][rows].mean()) - float(validation.onboard_right[rows].mean())
        return gained / float(sent[1][rows].mean())

    order = sorted(set(validation.kinds), key=lambda kind: (-gain(kind), kind))
    sets = [order[:count] for count in range(len(order) + 1)]
    best = goal.best(sets, lambda chosen: _mix(validation, ~np.isin(kinds, chosen), *sent))
    offloaded = np.isin(kinds, best)
    return {
        "sent_prompts": _prompts_of(validation, offloaded),
        "kept_prompts": _prompts_of(validation, ~offloaded),
        "offload_share": float(offloaded.mean()),
    }


def _two_tests(validation: ValidationOutcomes, tokens: Floats, goal: Goal) -> dict[str, Any]:
    """Select the accuracy from which a kind of prompts counts as known, and the threshold for those."""
    kinds = np.asarray(validation.kinds)
    accuracy = {kind: float(validation.onboard_right[kinds == kind].mean()) for kind in set(validation.kinds)}
    of_row = np.array([accuracy[kind] for kind in validation.kinds])
    whole = validation.whole_right, validation.whole_bytes
    known_from, threshold = goal.best(
        list(product(KNOWN_FROM, _candidates(tokens))),
        lambda tests: _mix(validation, (of_row >= tests[0]) & (tokens >= tests[1]), *whole),
    )
    return {
        "known_prompts": _prompts_of(validation, of_row >= known_from),
        "other_prompts": _prompts_of(validation, of_row < known_from),
        "accept_confidence": threshold,
    }


def _prompts_of(validation: ValidationOutcomes, rows: Bools) -> list[str]:
    """Return the different prompts of some rows; one empty prompt stands for none."""
    chosen = {prompt for prompt, here in zip(validation.prompts, rows.tolist(), strict=False) if here}
    return sorted(chosen) or [""]


def _usual_share(validation: ValidationOutcomes) -> float:
    """Return the smallest share whose accuracy is within SLACK of the best share's."""
    best = max(float(hits.mean()) for hits in validation.regions_right.values())
    return min(share for share, hits in validation.regions_right.items() if hits.mean() >= best - SLACK)


def _stage_thresholds(
    validation: ValidationOutcomes,
    stages: dict[int, Floats],
    confidence: Floats,
    sent: tuple[Bools, Floats],
    goal: Goal,
) -> dict[str, float]:
    """Select the thresholds of a policy.

    Args:
        validation: Outcomes to select on.
        stages: Confidences at the stages that the policy uses before the end of the answer.
        confidence: Confidence at the end of the answer.
        sent: Correctness and size of frames as the policy offloads them.
        goal: Goal of the selection.
    """
    candidates = [
        _early_ends(stages, confidence, end, precision)
        for end, precision in product(_candidates(confidence), PRECISIONS)
    ]
    chosen = goal.best(
        candidates, lambda thresholds: _mix(validation, _accepted(stages, confidence, thresholds), *sent)
    )
    return {**chosen, "offload_share": float((~_accepted(stages, confidence, chosen)).mean())}


def _early_ends(
    stages: dict[int, Floats], confidence: Floats, end: float, precision: float
) -> dict[str, float]:
    """Return the thresholds of all stages for a threshold at the end."""
    accepts = confidence >= end
    later = [values for stage, values in stages.items() if stage > 0]
    between = np.concatenate(later) if later else np.array([])
    ends = np.tile(accepts, max(1, len(later)))[: len(between)]
    at_0 = stages.get(0, np.array([]))
    return {
        "offload_below_at_0": anticipating(at_0, ~accepts[: len(at_0)], precision, below=True),
        "offload_below": anticipating(between, ~ends, precision, below=True),
        "accept_from": anticipating(between, ends, precision, below=False),
        "accept_at_end": end,
    }


def _accepted(stages: dict[int, Floats], confidence: Floats, thresholds: Mapping[str, float]) -> Bools:
    """Return for each pair whether the policy accepts it; stages that an answer lacks are skipped."""
    accepted, decided = np.zeros(len(confidence), dtype=bool), np.zeros(len(confidence), dtype=bool)
    if 0 in stages:
        decided |= stages[0] < thresholds["offload_below_at_0"]
    for stage in sorted(stage for stage in stages if stage > 0):
        accepted |= ~decided & (stages[stage] >= thresholds["accept_from"])
        decided |= accepted | (stages[stage] < thresholds["offload_below"])
    accepted |= ~decided & (confidence >= thresholds["accept_at_end"])
    return accepted


def anticipating(scores: Floats, ends_so: Bools, precision: float, *, below: bool) -> float:
    """Return the widest threshold at which early decisions anticipate the final ones.

    Args:
        scores: Confidences at the early stage; NaN where there is none.
        ends_so: Whether the final decision is the one that the early stage would take.
        precision: Least share of such frames among those on the threshold's side.
        below: Whether the early decision is taken below the threshold rather than from it on.

    Returns:
        The threshold; 0 (below) or 1.01 (above), which affect no frame, if none is precise enough.
    """
    has = np.isfinite(scores)
    scores, ends_so = scores[has], ends_so[has]
    order = np.argsort(scores if below else -scores, kind="stable")
    share = np.cumsum(ends_so[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= precision)
    if not len(good) or good[-1] < 4:  # too few frames to rely on
        return 0.0 if below else 1.01
    edge = float(scores[order][good[-1]])
    return float(np.nextafter(edge, 2)) if below else edge


def platt(scores: Floats, hits: Bools) -> tuple[float, float]:
    """Fit the slope and offset of Platt scaling on the logit.

    Newton's method, with a weak ridge penalty because the scores may separate hits from misses.
    """
    x = np.stack([_logit(scores), np.ones(len(scores))], axis=1)
    y = hits.astype(np.float64)
    weights = np.array([1.0, 0.0])
    ridge = np.diag([1e-2, 1e-2])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        step = np.linalg.solve(
            (x.T * (p * (1 - p))) @ x + ridge, x.T @ (p - y) + ridge @ (weights - [1.0, 0.0])
        )
        weights = weights - np.clip(step, -2, 2)
    return float(weights[0]), float(weights[1])


def _logit(scores: Floats) -> Floats:
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))
