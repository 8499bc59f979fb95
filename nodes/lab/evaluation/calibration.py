"""How far confidences may be believed: against correctness, beside the plain probabilities of the tokens.

Nothing is chosen by what is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.figures import auroc, auroc_within, bootstrap, calibration_error, reliability, share
from nodes.lab.evaluation.selection import TOP, Bools, Study, region_of
from nodes.onboard.confidence import END, Floats
from nodes.onboard.judge import Judge

TOKENS = "token probability"  # of the whole answer: the baseline


def name_of(target: str, stage: int) -> str:
    """As tables call a head."""
    return f"{target}, {'end' if stage == END else f'stage {stage}'}"


def of_study(made: Study, fitted: Mapping[str, Mapping[int, Floats]]) -> dict[str, Any]:
    """Figures of cross-fitted confidences on the pairs that are chosen on."""
    scores = {TOKENS: made.token_confidence}
    for target, stages in fitted.items():
        scores |= {name_of(target, stage): values for stage, values in stages.items()}
    return compared(scores, made.onboard_right, made.frames, made.kinds)


def on_test_pairs(subjects: Sequence[EvaluatedPair], judge: Judge) -> dict[str, Any]:
    """What the test pairs say about the compact model, both targets' confidence, and attention."""
    frames = [subject.pair.frame for subject in subjects]
    kinds = [subject.pair.kind for subject in subjects]
    hits = np.array([subject.right_on_board() for subject in subjects])
    scores = {TOKENS: np.array([_of_tokens(subject) for subject in subjects])}
    for target, stages in (judge.network.heads if judge.network is not None else {}).items():
        for stage, head in stages.items():
            features = [subject.onboard.features.get(stage) for subject in subjects]
            values = [np.nan if row is None else float(head.predict(row)) for row in features]
            scores[name_of(target, stage)] = np.array(values)
    found = [_finds(subject) for subject in subjects if subject.pair.box is not None]
    return {
        "compact_accuracy": asdict(share(frames, hits.tolist())),
        "calibration": compared(scores, hits, frames, kinds),
        f"region_in_top_{TOP}": {"n": len(found), "share": float(np.mean(found)) if found else None},
    }


def compared(
    scores: Mapping[str, Floats], hits: Bools, frames: Sequence[str], kinds: Sequence[str]
) -> dict[str, Any]:
    """Figures of each confidence by its name, each also less the baseline; NaN where a pair has none.

    Intervals are by frame. That of the difference is of the same draws for both, so it is narrower than the
    two intervals suggest.
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
        "auroc_less_tokens": bootstrap(
            frames, lambda rows: auroc(scores[rows], hits[rows]) - auroc(tokens[rows], hits[rows])
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


def _of_tokens(subject: EvaluatedPair) -> float:
    return subject.onboard.token_confidence(len(subject.onboard.token_ids))


def _finds(subject: EvaluatedPair) -> bool:
    layout, box = subject.layout, subject.pair.box
    if box is None:
        return False
    return region_of(box, layout.rows, layout.columns) in np.argsort(-np.array(subject.scores))[:TOP].tolist()
