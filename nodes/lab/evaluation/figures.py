"""Statistics of answers: intervals over places, separation (AUROC) and calibration.

Shares have the interval of `nodes.contract.intervals`. Other statistics have a bootstrap interval by place,
widened by what the frames may not have shown: a kind of frame that m frames do not contain has, with 97.5 %
confidence, a share of at most u = 1 - 0.025^(1/m) among all frames (Clopper and Pearson 1934 for 0 of m;
Hanley and Lippman-Hand 1983). Such frames can move a mean by at most u times its distance from either end
of its range. The interval is at least that wide, so it never collapses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.contract.intervals import share_interval

RESAMPLES = 1000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(
    groups: Sequence[str],
    figure: Callable[[NDArray[np.intp]], float],
    *,
    least: float = 0.0,
    most: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of rows, with an interval by resampling groups, as described for this module.

    Args:
        groups: Group of each row; rows of one group, such as prompts about one frame, are drawn together.
        figure: Function that computes the statistic of the rows with these indices.
        least: Lower end of the statistic's range.
        most: Upper end of its range.
        resamples: Number of draws. Draws without a finite statistic are left out.
        seed: Random seed.
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
    value = float(figure(np.arange(len(groups))))
    unseen = 1 - 0.025 ** (1 / len(names))
    return Interval(
        value,
        min(float(low), value - unseen * (value - least)),
        max(float(high), value + unseen * (most - value)),
    )


def paired(
    groups: Sequence[str], differences: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return a mean difference with its bootstrap interval by group; NaN limits with a single group.

    The spread is widened by sqrt(m / (m - 1)) for m groups, as a bootstrap of few groups is too narrow.
    """
    names = sorted(set(groups))
    place = {name: number for number, name in enumerate(names)}
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for group, difference in zip(groups, differences, strict=True):
        sums[place[group]] += difference
        counts[place[group]] += 1
    value = float(sums.sum() / counts.sum())
    if len(names) < 2:
        return Interval(value, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), resamples)
    means = drawn @ sums / (drawn @ counts)
    low, high = value + (np.quantile(means, [0.025, 0.975]) - value) * np.sqrt(len(names) / (len(names) - 1))
    return Interval(value, float(low), float(high))


def share(groups: Sequence[str], hits: Sequence[bool]) -> Interval:
    """Return the share of hits; NaN without rows."""
    return Interval(float(np.mean(hits)) if len(hits) else float("nan"), *share_interval(groups, hits))


def auroc(scores: Floats, hits: NDArray[np.bool_]) -> float:
    """Return the probability that a hit scores higher than a miss; ties count half.

    It is NaN without hits or without misses.
    """
    hit, miss = scores[hits], np.sort(scores[~hits])
    if not len(hit) or not len(miss):
        return float("nan")
    below, upto = np.searchsorted(miss, hit, side="left"), np.searchsorted(miss, hit, side="right")
    return float((below + upto).mean() / 2 / len(miss))


def auroc_within(scores: Floats, hits: NDArray[np.bool_], kinds: Sequence[str]) -> float:
    """Return the AUROC over pairs of one kind, which excludes differences in difficulty between kinds."""
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
    """Return the expected calibration error over bins of equal width (Guo et al., ICML 2017, equation 3)."""
    filled = reliability(scores, hits, bins)
    return float(sum(bin_["n"] / len(hits) * abs(bin_["accuracy"] - bin_["confidence"]) for bin_ in filled))


def reliability(scores: Floats, hits: NDArray[np.bool_], bins: int = 10) -> list[dict[str, float]]:
    """Return mean score, share of hits and number of rows of each bin that is not empty."""
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
