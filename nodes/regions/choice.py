"""Chooses a scale for each region within a byte budget.

This is a multiple-choice knapsack problem: one of each region's offers (dropped, down-sampled, kept) is
taken. It is solved greedily by value per byte along the upper hull of each region's offers (Sinha and
Zoltners, Operations Research 27, 1979). That is optimal for the relaxed problem, and short of the optimum by
less than the one step that no longer fits. Later, smaller steps may still use the remaining bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Choice:
    """The offers taken.

    Attributes:
        levels: The offer taken for each region; 0 for dropped.
        size_bytes: Sum of the sizes.
        value: Sum of the values.
    """

    levels: tuple[int, ...]
    size_bytes: int
    value: float


@dataclass(frozen=True)
class _Step:
    region: int
    level: int
    size_bytes: int
    value: float

    @property
    def order(self) -> tuple[float, int, int]:
        return -self.value / self.size_bytes, self.region, self.level


def choose(
    scores: Sequence[float], sizes_bytes: Sequence[Sequence[int]], worth: Sequence[float], budget_bytes: int
) -> Choice:
    """Choose an offer for each region so that all sizes fit the budget and the value is large.

    Equal inputs give equal choices; of two equal steps, the one with the lower region index is taken.

    Args:
        scores: Relevance of each region, at least 0.
        sizes_bytes: Size of each region's offers, without "dropped", which has no bytes.
        worth: Share of a region's score that each offer yields, 0 to 1.
        budget_bytes: Budget of all regions together.

    Returns:
        The offers taken.

    Raises:
        ValueError: A score is negative or not finite, or lengths do not match.
    """
    _check(scores, sizes_bytes, worth)
    steps = [step for region in range(len(scores)) for step in _hull(region, scores, sizes_bytes, worth)]
    levels = [0] * len(scores)
    spent_bytes, value = 0, 0.0
    blocked: set[int] = set()
    for step in sorted(steps, key=lambda step: step.order):
        if step.region in blocked:
            continue
        if spent_bytes + step.size_bytes > budget_bytes:
            blocked.add(step.region)  # its further steps build on this one
            continue
        levels[step.region] = step.level
        spent_bytes += step.size_bytes
        value += step.value
    return Choice(tuple(levels), spent_bytes, value)


def _check(scores: Sequence[float], sizes_bytes: Sequence[Sequence[int]], worth: Sequence[float]) -> None:
    if len(scores) != len(sizes_bytes) or any(len(offers) != len(worth) for offers in sizes_bytes):
        raise ValueError(
            f"{len(scores)} scores, {len(sizes_bytes)} regions, {len(worth)} offers: the numbers do not match"
        )
    if any(not 0 <= score < float("inf") for score in scores):
        raise ValueError("scores must be finite and not negative")
    if any(size < 1 for offers in sizes_bytes for size in offers):
        raise ValueError("the size of an offer must be at least 1 byte")


def _hull(
    region: int, scores: Sequence[float], sizes_bytes: Sequence[Sequence[int]], worth: Sequence[float]
) -> list[_Step]:
    """Return the steps from each offer to the next larger one, with decreasing value per byte."""
    offers = sorted(
        (size, scores[region] * share, level)
        for level, (size, share) in enumerate(zip(sizes_bytes[region], worth, strict=True), start=1)
    )
    corners: list[tuple[int, float, int]] = [(0, 0.0, 0)]
    for offer in offers:
        if offer[1] <= corners[-1][1]:
            continue  # larger and no better
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) <= _slope(corners[-2], offer):
            corners.pop()
        if offer[0] == corners[-1][0]:
            corners.pop()
        corners.append(offer)
    return [
        _Step(region, after[2], after[0] - before[0], after[1] - before[1])
        for before, after in pairwise(corners)
    ]


def _slope(low: tuple[int, float, int], high: tuple[int, float, int]) -> float:
    return (high[1] - low[1]) / (high[0] - low[0]) if high[0] > low[0] else float("inf")
