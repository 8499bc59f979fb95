"""Assignment of frames to the captures of a case: all prompts about a frame are asked when it is captured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nodes.contract.evaluation import JobCase
from nodes.errors import DataError


def deal(frames: Sequence[str], case: JobCase, seed: int) -> list[list[tuple[float, int]]]:
    """Return, for each pass, the capture time and the index of each of its pairs.

    The order of frames is the same for all policies and rates. Each pass gets an equal number of frames, or
    all that it has captures for; they are spread over its captures. In a part of a case, which has fewer
    captures than there are frames, the captures are taken in order and the remaining frames are left out.

    Args:
        frames: Frame of each pair.
        case: Passes with their captures.
        seed: Seed of the order.
    """
    names = list(dict.fromkeys(frames))
    rows_of: dict[str, list[int]] = {name: [] for name in names}
    for index, frame in enumerate(frames):
        rows_of[frame].append(index)
    order = [names[int(index)] for index in np.random.default_rng(seed).permutation(len(names))]
    sizes = [len(pass_.captures_s) for pass_ in case.passes]
    dealt: list[list[tuple[float, int]]] = []
    for pass_, count in zip(case.passes, shares_of(len(order), sizes), strict=True):
        here, order = order[:count], order[count:]
        captures_s = sorted(pass_.captures_s)
        step = 1.0 if case.part else len(captures_s) / max(1, count)
        dealt.append(
            [
                (captures_s[int(number * step)], index)
                for number, frame in enumerate(here)
                for index in rows_of[frame]
            ]
        )
    return dealt


def shares_of(count: int, sizes: Sequence[int]) -> list[int]:
    """Return how many of `count` frames each pass gets: equally many, but no more than its size."""
    shares = [0] * len(sizes)
    for turn, number in enumerate(sorted(range(len(sizes)), key=lambda number: sizes[number])):
        shares[number] = min(sizes[number], -(-(count - sum(shares)) // (len(sizes) - turn)))
    return shares


def check_captures(case: JobCase, frames: int) -> None:
    """Check that a complete case has a capture for every frame.

    Raises:
        DataError: There are more frames than captures.
    """
    captures = sum(len(pass_.captures_s) for pass_ in case.passes)
    if captures < frames and not case.part:
        raise DataError(
            f"{frames} frames, but the passes have {captures} captures: add passes, shorten the interval "
            "between frames, or limit the number of pairs"
        )
