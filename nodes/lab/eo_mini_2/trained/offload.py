"""What it is worth to send a share of the prompts to the regular model, by how they are chosen.

A prompt that is sent gets the regular model's score, another one the compact model's. Each prompt counts as
equally large, so a share of the prompts is a share of the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nodes.onboard.confidence import Floats


def with_oracle(compact: Floats, regular: Floats, share: float) -> float:
    """Return the mean score if those prompts are sent that gain most by it."""
    gains = np.sort(regular - compact)[::-1]
    return float((compact.sum() + np.maximum(gains, 0)[: round(share * len(gains))].sum()) / len(gains))


def by_kind(compact: Floats, regular: Floats, kinds: Sequence[str], share: float) -> float:
    """Return the mean score of the best policy that knows a prompt's kind only.

    It sends whole kinds, those first that gain most on average, and a random part of the last one.
    """
    of_row, gains = np.asarray(kinds), regular - compact
    ranked = sorted(
        ((float(gains[of_row == kind].mean()), int((of_row == kind).sum())) for kind in set(kinds)),
        reverse=True,
    )
    left, gained = share * len(gains), 0.0
    for gain, count in ranked:
        sent = min(left, count)
        gained += max(gain, 0) * sent
        left -= sent
    return float((compact.sum() + gained) / len(gains))


def by_confidence(
    compact: Floats, regular: Floats, confidence: Floats, kinds: Sequence[str], share: float
) -> float:
    """Return the mean score if in each kind the prompts with the least confidence are sent."""
    of_row, scores = np.asarray(kinds), compact.copy()
    for kind in set(kinds):
        rows = np.flatnonzero(of_row == kind)
        sent = rows[np.argsort(confidence[rows], kind="stable")[: round(share * len(rows))]]
        scores[sent] = regular[sent]
    return float(scores.mean())


def at_random(compact: Floats, regular: Floats, share: float) -> float:
    """Return the mean score that is expected if random prompts are sent."""
    return float((compact + share * (regular - compact)).mean())
