"""The eight ways to turn and mirror a frame, and what becomes of its answers.

A turned frame is as good a frame as the first, so that each drawn frame teaches eight times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.lab.training.examples.frames import Asked

TURNS = 8
Values = TypeVar("Values", bound=np.generic)

_MIRRORED = {"northeast": "northwest", "northwest": "northeast"}
_QUARTER = {"north": "east", "east": "north", "northeast": "northwest", "northwest": "northeast"}
_HALF = {"upper": "lower", "lower": "upper"}


def turned(values: NDArray[Values], turn: int) -> NDArray[Values]:
    """Turn the first two axes by `turn` % 4 quarters to the left, then mirror left and right from 4 on."""
    after: NDArray[Any] = np.rot90(values, turn % 4)
    return np.ascontiguousarray(after[:, ::-1] if turn >= 4 else after)


def turned_direction(direction: str, turn: int) -> str:
    """What a direction of rows (north, northeast, east, northwest) is after `turned`."""
    if turn % 2:
        direction = _QUARTER[direction]
    return _MIRRORED.get(direction, direction) if turn >= 4 else direction


def turned_questions(asked: Sequence[Asked], turn: int) -> list[Asked]:
    """The prompts that still have an answer after `turned`, with that answer."""
    kept = []
    for one in asked:
        truth = one.truth
        if one.kind == "rows":
            truth = turned_direction(truth, turn)
        elif one.kind == "cloudier":
            if turn % 2:
                continue  # what was upper is at a side now
            truth = _HALF[truth] if turn % 4 == 2 else truth
        kept.append(Asked(one.kind, one.prompt, truth))
    return kept


def turned_views(values: Tensor, turn: int) -> Tensor:
    """Turn views, [views, rows, columns, ...], as `turned` does one."""
    after = torch.rot90(values, turn % 4, (1, 2))
    return after.flip(2) if turn >= 4 else after
