"""Figures over answers: intervals by bootstrap over frames, separation, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    groups: Sequence[str],
    figure: Callable[[NDArray[np.intp]], float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A figure of rows, its interval by drawing groups again.

    Args:
        groups: of each row; rows of one group (prompts about one frame) are drawn together.
        figure: of the rows with these indices.

    Draws for which the figure is no number are left out.
    """
    names = sorted(set(groups))
    place = {name: number for number, name in enumerate(names)}
    of_row = np.array([place[group] for group in groups])
    rows_of = [np.flatnonzero(of_row == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(names), len(names))
        values.append(figure(np.concatenate([rows_of[number] for number in drawn])))
    kept = np.array([value for value in values if np.isfinite(value)])
    if not len(kept):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(kept, [0.025, 0.975])
    return Interval(float(figure(np.arange(len(groups)))), float(low), float(high))


def share(groups: Sequence[str], hits: Sequence[bool]) -> Interval:
    """Share of hits."""
    values = np.asarray(hits, dtype=np.float64)
    return bootstrap(groups, lambda rows: float(values[rows].mean()))


def auroc(scores: Floats, hits: NDArray[np.bool_]) -> float:
    """The chance that a hit has a higher score than a miss, ties half; NaN without both."""
    hit, miss = scores[hits], np.sort(scores[~hits])
    if not len(hit) or not len(miss):
        return float("nan")
    below, upto = np.searchsorted(miss, hit, side="left"), np.searchsorted(miss, hit, side="right")
    return float((below + upto).mean() / 2 / len(miss))


def auroc_within(scores: Floats, hits: NDArray[np.bool_], kinds: Sequence[str]) -> float:
    """AUROC over pairs of the same kind only: that a kind is easy or hard then tells nothing."""
    total = weight = 0.0
    of_row = np.asarray(kinds)
    for kind in sorted(set(kinds)):
        rows = of_row == kind
        pairs = float(hits[rows].sum()) * float((~hits[rows]).sum())
        if pairs:
            total += pairs * auroc(scores[rows], hits[rows])
            weight += pairs
    return total / weight if weight else float("nan")


def calibration_error(scores: Floats, hits: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Guo et al., ICML 2017, equation 3)."""
    bin_of = np.clip((scores * bins).astype(int), 0, bins - 1)
    gaps = [
        (bin_of == number).mean() * abs(hits[bin_of == number].mean() - scores[bin_of == number].mean())
        for number in range(bins)
        if (bin_of == number).any()
    ]
    return float(sum(gaps))


def reliability(scores: Floats, hits: NDArray[np.bool_], bins: int = 10) -> list[dict[str, float]]:
    """Per bin: mean score, share of hits, number of rows."""
    bin_of = np.clip((scores * bins).astype(int), 0, bins - 1)
    return [
        {
            "confidence": float(scores[bin_of == number].mean()),
            "accuracy": float(hits[bin_of == number].mean()),
            "n": int((bin_of == number).sum()),
        }
        for number in range(bins)
        if (bin_of == number).any()
    ]
