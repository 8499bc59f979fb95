"""Confidence heads of a pair: trained on the validation split, measured on further frames.

A head reads what a stage of the compact model's answer shows. Its target is that the answer is right; with a
regular model's answers also, as in the paper, that both models agree. Both are measured by right answers, and
compared with the probability of the tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nodes.errors import ConfidenceError
from nodes.lab.eo_mini_2.trained.conformal import accept_from, offload_below
from nodes.lab.eo_mini_2.trained.gates import fitting_scenes, measured_scenes
from nodes.lab.eo_mini_2.trained.outcomes import Outcome, outcomes_of
from nodes.lab.eo_mini_2.trained.stages import LAYOUT, StagedOutcome, staged_outcomes_of
from nodes.lab.evaluation.figures import (
    Floats,
    Interval,
    auroc_within,
    bootstrap,
    calibration_error,
    share,
)
from nodes.lab.evaluation.outcomes import OnboardOutcome
from nodes.lab.evaluation.selection import ValidationOutcomes, train_network
from nodes.onboard.confidence import ConfidenceNetwork
from nodes.onboard.judge import Judge
from nodes.vlm.folder import fingerprint

TARGET = "correctness"  # the one that policies read
GROUPS = {"counts": "count", "comparisons": "compare", "lists": "list"}
_RESAMPLES = 300

Fitted = dict[str, dict[int, Floats]]


@dataclass(frozen=True)
class Quality:
    """How good a head is for a group of prompts about usable frames; intervals are 95 %, by frame.

    Attributes:
        group: Name of the group in GROUPS.
        target: The head's target.
        stage: Its stage.
        prompts: Number of prompts that reach the stage.
        auroc: AUROC of its confidence within a kind.
        tokens: The same of the probability of the tokens so far; None before the first.
        lead: The first less the second, computed within each draw.
        error: Expected calibration error.
    """

    group: str
    target: str
    stage: int
    prompts: int
    auroc: Interval
    tokens: Interval | None
    lead: Interval | None
    error: Interval


@dataclass(frozen=True)
class Threshold:
    """Thresholds of a stage for a stated rate of errors, and what they do on measured frames.

    Attributes:
        target: The head's target.
        stage: Its stage.
        accept_from: Confidence from which an answer is accepted.
        accepted: Share of the prompts whose answer is then accepted.
        accepted_wrong: Share of the prompts whose answer is accepted and wrong.
        offload_below: Confidence below which a prompt is offloaded.
        offloaded: Share of the prompts that are then offloaded.
        offloaded_right: Share of the prompts that are offloaded although their answer is right.
    """

    target: str
    stage: int
    accept_from: float
    accepted: float
    accepted_wrong: Interval
    offload_below: float
    offloaded: float
    offloaded_right: Interval


@dataclass(frozen=True)
class Trained:
    """Heads that were trained, what they are good for, and where they are."""

    folder: Path
    pairs: int
    error_rate: float
    qualities: list[Quality]
    thresholds: list[Threshold]


def train_confidence(
    compact: Path,
    regular: Path | None = None,
    error_rate: float = 0.1,
    on_frame: Callable[[], None] = lambda: None,
) -> Trained:
    """Train the heads of a model, measure them, and save them in `confidence/` of its folder.

    A satellite loads that folder. The figures are saved with the heads.

    Args:
        compact: The compact model.
        regular: The regular model, for heads that foretell agreement with it.
        error_rate: Largest share of all prompts on which a threshold may decide wrongly.
        on_frame: Called after each frame that a model answered about.

    Raises:
        ConfidenceError: No head can be trained, since all answers are right or none is.
        ModelError: A model cannot be loaded.
        OSError: A file cannot be written.
        ValueError: `error_rate` is not between 0 and 1.
    """
    if not 0 < error_rate < 1:
        raise ValueError(f"an error rate is a share between 0 and 1, not {error_rate}")
    scenes = fitting_scenes()
    fitting = staged_outcomes_of(compact, "val", scenes, on_frame)
    others = None if regular is None else outcomes_of(regular, "val", scenes, on_frame).rows
    network, fitted = train(fitting, others)
    if TARGET not in network.heads:
        raise ConfidenceError(f"{compact}: its {len(fitting)} answers are all right or all wrong")
    measured = staged_outcomes_of(compact, "further", measured_scenes("val"), on_frame)
    trained = Trained(
        compact / "confidence",
        len(fitting),
        error_rate,
        qualities(network, measured),
        thresholds(network, fitted, fitting, measured, error_rate),
    )
    about = {
        "compact": compact.name,
        "weights": fingerprint(compact),
        "data": "eo-mini-2, validation split",
        "pairs": len(fitting),
        "error_rate": error_rate,
        "qualities": [asdict(one) for one in trained.qualities],
        "thresholds": [asdict(one) for one in trained.thresholds],
    }
    Judge(network, TARGET, layout=LAYOUT).save(trained.folder, about)
    return trained


def train(
    fitting: Sequence[StagedOutcome], regular: Sequence[Outcome] | None = None
) -> tuple[ConfidenceNetwork, Fitted]:
    """Train the heads of every stage.

    Args:
        fitting: The compact model's answers.
        regular: The regular model's answers to the same prompts; None: there are no heads for agreement.

    Returns:
        The network, and the confidence in each answer by heads that have not seen its frame, by target and
        stage; NaN where the answer does not reach the stage.
    """
    rows = [one.outcome for one in fitting]
    unknown, none = np.full(len(rows), np.nan), np.zeros(len(rows), dtype=bool)
    return train_network(
        ValidationOutcomes(
            frames=[row.frame for row in rows],
            kinds=[row.kind for row in rows],
            prompts=[row.prompt for row in rows],
            onboard=[_onboard(one) for one in fitting],
            onboard_right=np.array([row.right for row in rows]),
            agreement=none if regular is None else _agree(rows, regular),
            whole_right=none if regular is None else np.array([row.right for row in regular]),
            whole_bytes=unknown,
            regions_right={},
            regions_bytes={},
            reduced_right=none,
        )
    )


def _onboard(one: StagedOutcome) -> OnboardOutcome:
    no_attention = np.zeros((0, 0, 0), np.float32)
    return OnboardOutcome(one.outcome.answer, (), one.outcome.logprobs, one.features, no_attention)


def _agree(compact: Sequence[Outcome], regular: Sequence[Outcome]) -> NDArray[np.bool_]:
    """Return whether each answer would be right if the regular model's were the truth."""
    if [(row.frame, row.prompt) for row in compact] != [(row.frame, row.prompt) for row in regular]:
        raise ValueError("the two models answered different prompts")
    return np.array(
        [replace(one, truth=other.answer).right for one, other in zip(compact, regular, strict=True)]
    )


def qualities(network: ConfidenceNetwork, measured: Sequence[StagedOutcome]) -> list[Quality]:
    """Measure every head on answers about other frames."""
    found = []
    for group, begin in GROUPS.items():
        of_group = [one for one in measured if one.outcome.usable and one.outcome.kind.startswith(begin)]
        for target, stages in network.heads.items():
            for stage in sorted(stages, key=_order):
                reach = [one for one in of_group if stage in one.features]
                if reach:
                    found.append(_quality(group, network, target, stage, reach))
    return found


def _order(stage: int) -> float:
    """Return a key that puts the end last."""
    return stage if stage >= 0 else float("inf")


def _quality(
    group: str, network: ConfidenceNetwork, target: str, stage: int, reach: Sequence[StagedOutcome]
) -> Quality:
    frames, kinds = [one.outcome.frame for one in reach], np.array([one.outcome.kind for one in reach])
    right = np.array([one.outcome.right for one in reach])
    scores = network.heads[target][stage].predict(np.stack([one.features[stage] for one in reach]))

    def within(values: Floats, rows: NDArray[np.intp]) -> float:
        return auroc_within(values[rows], right[rows], kinds[rows].tolist())

    tokens = lead = None
    if stage:
        probability = np.array([one.token_confidence(stage) for one in reach])
        tokens = bootstrap(frames, lambda rows: within(probability, rows), resamples=_RESAMPLES)
        lead = bootstrap(
            frames,
            lambda rows: within(scores, rows) - within(probability, rows),
            least=-1.0,
            resamples=_RESAMPLES,
        )
    return Quality(
        group,
        target,
        stage,
        len(reach),
        bootstrap(frames, lambda rows: within(scores, rows), resamples=_RESAMPLES),
        tokens,
        lead,
        bootstrap(frames, lambda rows: calibration_error(scores[rows], right[rows]), resamples=_RESAMPLES),
    )


def thresholds(
    network: ConfidenceNetwork,
    fitted: Fitted,
    fitting: Sequence[StagedOutcome],
    measured: Sequence[StagedOutcome],
    error_rate: float,
) -> list[Threshold]:
    """Choose each stage's thresholds on the frames of the training, and try them on others.

    Args:
        network: The heads.
        fitted: Confidences of `train`.
        fitting: What `train` was given.
        measured: Answers about other frames.
        error_rate: Largest share of all prompts on which a decision may be wrong.
    """
    right = np.array([one.outcome.right for one in fitting])
    frames = [one.outcome.frame for one in fitting]
    found = []
    for target, stages in network.heads.items():
        for stage in sorted(stages, key=_order):
            chosen = fitted[target][stage], right, frames, error_rate
            accept, offload = accept_from(*chosen), offload_below(*chosen)
            found.append(_tried(network, target, stage, accept, offload, measured))
    return found


def _tried(
    network: ConfidenceNetwork,
    target: str,
    stage: int,
    accept: float,
    offload: float,
    measured: Sequence[StagedOutcome],
) -> Threshold:
    right = np.array([one.outcome.right for one in measured])
    frames = [one.outcome.frame for one in measured]
    head = network.heads[target][stage]
    scores = np.array(
        [float(head.predict(one.features[stage])) if stage in one.features else np.nan for one in measured]
    )
    accepted, offloaded = scores >= accept, scores < offload
    return Threshold(
        target,
        stage,
        accept,
        float(accepted.mean()),
        share(frames, (accepted & ~right).tolist()),
        offload,
        float(offloaded.mean()),
        share(frames, (offloaded & right).tolist()),
    )
