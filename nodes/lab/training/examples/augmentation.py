"""Augmentation: the eight rotations and reflections of a frame, and the answers that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nodes.lab.training.examples.frames import Question

AUGMENTATIONS = 8
Values = TypeVar("Values", bound=np.generic)

_MIRRORED = {"northeast": "northwest", "northwest": "northeast"}
_QUARTER = {"north": "east", "east": "north", "northeast": "northwest", "northwest": "northeast"}
_HALF = {"upper": "lower", "lower": "upper"}


def augment(values: NDArray[Values], augmentation: int) -> NDArray[Values]:
    """Rotate the first two axes to the left by `augmentation` % 4 quarters, then mirror them from 4 on."""
    after: NDArray[Any] = np.rot90(values, augmentation % 4)
    return np.ascontiguousarray(after[:, ::-1] if augmentation >= 4 else after)


def augment_direction(direction: str, augmentation: int) -> str:
    """Return a direction of rows (north, northeast, east, northwest) after `augment`."""
    if augmentation % 2:
        direction = _QUARTER[direction]
    return _MIRRORED.get(direction, direction) if augmentation >= 4 else direction


def augment_questions(questions: Sequence[Question], augmentation: int) -> list[Question]:
    """Return the questions that still have an answer after `augment`, with that answer."""
    answerable = []
    for question in questions:
        truth = question.truth
        if question.kind == "rows":
            truth = augment_direction(truth, augmentation)
        elif question.kind == "cloudier":
            if augmentation % 2:
                continue  # the upper half is now at a side
            truth = _HALF[truth] if augmentation % 4 == 2 else truth
        answerable.append(Question(question.kind, question.prompt, truth))
    return answerable


def augment_views(values: Tensor, augmentation: int) -> Tensor:
    """Augment views, [views, rows, columns, ...], as `augment` does one array."""
    after = torch.rot90(values, augmentation % 4, (1, 2))
    return after.flip(2) if augmentation >= 4 else after
