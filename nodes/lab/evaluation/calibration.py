"""Calibration of confidences against correctness, in comparison with plain token probabilities.

These figures are reported only; nothing is selected by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.figures import (
    Interval,
    auroc,
    auroc_within,
    bootstrap,
    calibration_error,
    reliability,
    share,
)
from nodes.lab.evaluation.results.places import places_of
from nodes.lab.evaluation.selection import TOP, Bools, ValidationOutcomes, region_of
from nodes.onboard.confidence import END, Floats
from nodes.onboard.judge import Judge

TOKENS = "token probability"  # of the whole answer, the baseline


def head_name(target: str, stage: int) -> str:
    """Return a head's name in tables."""
    return f"{target}, {'end' if stage == END else f'stage {stage}'}"


def figures_on_validation_pairs(
    validation: ValidationOutcomes, fitted: Mapping[str, Mapping[int, Floats]]
) -> dict[str, Any]:
    """Return the figures of cross-fitted confidences on the validation pairs."""
    scores = {TOKENS: validation.token_confidence}
    for target, stages in fitted.items():
        scores |= {head_name(target, stage): values for stage, values in stages.items()}
    return confidence_figures(scores, validation.onboard_right, validation.frames, validation.kinds)


def figures_on_test_pairs(evaluated_pairs: Sequence[EvaluatedPair], judge: Judge) -> dict[str, Any]:
    """Return the figures of the compact model, the confidence heads and the attention on the test pairs."""
    frames = places_of([evaluated.pair for evaluated in evaluated_pairs])
    kinds = [evaluated.pair.kind for evaluated in evaluated_pairs]
    hits = np.array([evaluated.right_on_board() for evaluated in evaluated_pairs])
    scores = {TOKENS: np.array([_token_confidence(evaluated) for evaluated in evaluated_pairs])}
    for target, stages in (judge.network.heads if judge.network is not None else {}).items():
        for stage, head in stages.items():
            features = [evaluated.onboard.features.get(stage) for evaluated in evaluated_pairs]
            values = [np.nan if row is None else float(head.predict(row)) for row in features]
            scores[head_name(target, stage)] = np.array(values)
    in_top = [_region_in_top(evaluated) for evaluated in evaluated_pairs if evaluated.pair.box is not None]
    return {
        "compact_accuracy": asdict(share(frames, hits.tolist())),
        "calibration": confidence_figures(scores, hits, frames, kinds),
        f"region_in_top_{TOP}": {"n": len(in_top), "share": float(np.mean(in_top)) if in_top else None},
    }


def confidence_figures(
    scores: Mapping[str, Floats], hits: Bools, frames: Sequence[str], kinds: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of each confidence, and its AUROC minus that of the token probability.

    The difference is computed within each draw, so its interval is narrower than the two separate ones
    suggest.

    Args:
        scores: Confidences by name; NaN for pairs without one.
        hits: Whether the answer to each pair is correct.
        frames: Place or frame of each pair, by which intervals are computed.
        kinds: Kind of each pair.
    """
    known = {name: values for name, values in scores.items() if np.isfinite(values).any()}
    return {name: _figures(values, scores[TOKENS], hits, frames, kinds) for name, values in known.items()}


def _figures(
    scores: Floats, tokens: Floats, hits: Bools, frames: Sequence[str], kinds: Sequence[str]
) -> dict[str, Any]:
    has = np.isfinite(scores)
    scores, tokens, hits = scores[has], tokens[has], hits[has]
    frames = [frame for frame, here in zip(frames, has, strict=True) if here]
    of_kind = np.asarray([kind for kind, here in zip(kinds, has, strict=True) if here])
    figures = {
        "auroc": bootstrap(frames, lambda rows: auroc(scores[rows], hits[rows])),
        "auroc_less_tokens": Interval(0.0, 0.0, 0.0)
        if np.array_equal(scores, tokens)  # not a measurement
        else bootstrap(
            frames,
            lambda rows: auroc(scores[rows], hits[rows]) - auroc(tokens[rows], hits[rows]),
            least=-1.0,
        ),
        "auroc_within_kinds": bootstrap(
            frames,
            lambda rows: auroc_within(scores[rows], hits[rows], of_kind[rows].tolist()),
            resamples=300,
        ),
        "ece": bootstrap(frames, lambda rows: calibration_error(scores[rows], hits[rows])),
    }
    return {
        "n": len(hits),
        **{name: asdict(interval) for name, interval in figures.items()},
        "reliability": reliability(scores, hits),
    }


def _token_confidence(evaluated: EvaluatedPair) -> float:
    return evaluated.onboard.token_confidence(len(evaluated.onboard.token_ids))


def _region_in_top(evaluated: EvaluatedPair) -> bool:
    layout, box = evaluated.layout, evaluated.pair.box
    if box is None:
        return False
    top = np.argsort(-np.array(evaluated.scores))[:TOP].tolist()
    return region_of(box, layout.rows, layout.columns) in top
