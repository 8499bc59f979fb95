"""Chooses a scale for each region within a byte budget.

A multiple-choice knapsack: of each region's offers (dropped, down-sampled, kept) one is taken. Solved
greedily along each region's upper hull by value per byte (Sinha and Zoltners, Operations Research 27, 1979:
optimal for the relaxed problem, and off by less than the one step that no longer fits); later, smaller steps
may still take what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Choice:
    """`levels[i]` is the offer taken for region i, 0 for dropped; `size_bytes` and `value` are the sums."""

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
    """Choose an offer for each region so that the sizes fit the budget and the worth is large.

    Args:
        scores: relevance of each region, >= 0.
        sizes_bytes: [region][offer] bytes of the offers after "dropped", which costs nothing.
        worth: what share of a region's score an offer gives, 0 to 1, as many as offers.
        budget_bytes: for all regions together; nothing fits into one below the smallest offer.

    Equal inputs give equal choices; of two equal steps the one of the lower region index is taken.
    Raises ValueError for a negative or non-finite score, and for lengths that do not match.
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
            blocked.add(step.region)  # its further steps stand on this one
            continue
        levels[step.region] = step.level
        spent_bytes += step.size_bytes
        value += step.value
    return Choice(tuple(levels), spent_bytes, value)


def _check(scores: Sequence[float], sizes_bytes: Sequence[Sequence[int]], worth: Sequence[float]) -> None:
    if len(scores) != len(sizes_bytes) or any(len(offers) != len(worth) for offers in sizes_bytes):
        raise ValueError(f"{len(scores)} scores, {len(sizes_bytes)} regions, {len(worth)} offers: no match")
    if any(not 0 <= score < float("inf") for score in scores):
        raise ValueError("a score is negative or no number")
    if any(size < 1 for offers in sizes_bytes for size in offers):
        raise ValueError("an offer has no bytes")


def _hull(
    region: int, scores: Sequence[float], sizes_bytes: Sequence[Sequence[int]], worth: Sequence[float]
) -> list[_Step]:
    """The region's steps from offer to larger offer, each with less value per byte than the one before."""
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
