"""Thresholds of a confidence with a stated rate of errors.

They are those of conformal risk control (Angelopoulos et al., ICLR 2024). The rate is the share of all
prompts on which a decision is taken and wrong: for frames drawn like those that the threshold was chosen on,
its expectation is at most the stated one. Prompts about one frame depend on each other, so a frame counts
once, with its share of wrong decisions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nodes.onboard.confidence import Floats

NOTHING_ACCEPTED, NOTHING_OFFLOADED = 1.01, 0.0


def accept_from(
    confidence: Floats, right: NDArray[np.bool_], frames: Sequence[str], error_rate: float
) -> float:
    """Return the least threshold from which answers can be accepted; errors are accepted wrong answers.

    Args:
        confidence: Confidence in each answer, by heads that have not seen its frame; NaN without one.
        right: Whether each answer is right.
        frames: The frame of each answer.
        error_rate: Largest share of all prompts on which the decision may be wrong.

    Returns:
        The threshold; NOTHING_ACCEPTED if there is none, for example because there are too few frames.
    """
    least = _least(confidence, ~right, frames, error_rate)
    return NOTHING_ACCEPTED if least is None else least


def offload_below(
    confidence: Floats, right: NDArray[np.bool_], frames: Sequence[str], error_rate: float
) -> float:
    """Return the largest threshold below which prompts can be offloaded; errors are offloaded right answers.

    Arguments are those of `accept_from`; NOTHING_OFFLOADED if there is none.
    """
    least = _least(-confidence, right, frames, error_rate)
    return NOTHING_OFFLOADED if least is None else float(np.nextafter(-least, 2))


def _least(scores: Floats, wrong: NDArray[np.bool_], frames: Sequence[str], rate: float) -> float | None:
    """Return the least score from which the decision can be taken; None if there is none."""
    names, of_row, prompts = np.unique(np.asarray(frames), return_inverse=True, return_counts=True)
    losses = wrong / prompts[of_row]
    known = np.isfinite(scores)
    order = np.flatnonzero(known)[np.argsort(-scores[known], kind="stable")]
    ranked = scores[order]
    taken = np.cumsum(losses[order])
    # A threshold takes all equal scores at once. The 1 is the loss of the frame that is still to come.
    last_of_its_score = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    fits = np.flatnonzero(last_of_its_score & ((taken + 1) / (len(names) + 1) <= rate))
    return float(ranked[fits[-1]]) if len(fits) else None
