"""Questions about a frame's ground and clouds, and their selection for a balance of answers.

Questions whose truth is near a decision limit are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini.ground import COVERS, Floats

ASKED_COVERS = COVERS[:4]
_MAIN, _LEAD = 0.45, 0.15
_PRESENT, _ABSENT = 0.12, 0.003
_CLEAR_GAP = 0.2
_HALVES_APART = 0.2
_MOST = {"presence": 2, "comparison": 2}  # questions per frame; 1 for other kinds
_SLACK = 2  # lead that an answer may have over the rarest other answer


@dataclass(frozen=True)
class Question:
    """A prompt, its kind, and the word that answers it."""

    kind: str
    prompt: str
    answer: str


def about_ground(shares: NDArray[np.float64]) -> list[Question]:
    """Return every question about the ground that has a clear answer.

    Args:
        shares: Share of each of COVERS in the frame.
    """
    questions = []
    first, second = np.argsort(shares)[::-1][:2]
    if first < len(ASKED_COVERS) and shares[first] >= _MAIN and shares[first] - shares[second] >= _LEAD:
        questions.append(Question("cover", "What covers most of this image?", COVERS[first]))
    for index, name in enumerate(ASKED_COVERS):
        if shares[index] >= _PRESENT or shares[index] <= _ABSENT:
            answer = "yes" if shares[index] >= _PRESENT else "no"
            questions.append(Question("presence", f"Is there any {name} in this image?", answer))
        for other in range(index + 1, len(ASKED_COVERS)):
            if abs(shares[index] - shares[other]) >= _CLEAR_GAP and min(shares[index], shares[other]) > 0.02:
                more = name if shares[index] > shares[other] else COVERS[other]
                prompt = f"Is there more {name} or more {COVERS[other]}?"
                questions.append(Question("comparison", prompt, more))
    return questions


def about_clouds(amount: str, cloud: Floats) -> list[Question]:
    """Return the questions about the clouds that have a clear answer.

    Args:
        amount: A key of CLOUD_SHARES.
        cloud: Opacity of the clouds.
    """
    questions = [Question("clouds", "How much of this image is cloudy?", amount)]
    upper, lower = np.array_split((cloud > 0.5).mean(axis=1), 2)
    difference = float(upper.mean() - lower.mean())
    if abs(difference) >= _HALVES_APART:
        answer = "upper" if difference > 0 else "lower"
        questions.append(Question("cloudier", "Is the upper or the lower half cloudier?", answer))
    return questions


class Balance:
    """Selects questions such that the answers to each prompt stay about equally frequent."""

    def __init__(self) -> None:
        self._count: Counter[tuple[str, str]] = Counter()

    def choose(self, candidates: Sequence[Question], rng: np.random.Generator) -> list[Question]:
        """Select at most `_MOST` questions of each kind, those with the rarest answers."""
        chosen = []
        for kind in dict.fromkeys(question.kind for question in candidates):
            of_kind = [question for question in candidates if question.kind == kind]
            for _ in range(min(_MOST.get(kind, 1), len(of_kind))):
                ranked = ((self._lead(question), rng.random(), n) for n, question in enumerate(of_kind))
                lead, _, best = min(ranked)
                question = of_kind.pop(best)
                if kind == "clouds" or lead < _SLACK:
                    chosen.append(question)
                    self._count[question.prompt, question.answer] += 1
        return chosen

    def _lead(self, question: Question) -> int:
        """Return how much more often this answer occurs than the rarest other answer to the prompt."""
        others = [
            self._count[question.prompt, answer] for answer in _answers(question) if answer != question.answer
        ]
        return self._count[question.prompt, question.answer] - min(others)


def _answers(question: Question) -> tuple[str, ...]:
    match question.kind:
        case "cover":
            return ASKED_COVERS
        case "presence":
            return ("yes", "no")
        case "comparison":
            return tuple(name for name in ASKED_COVERS if f" {name}" in question.prompt)
        case "cloudier":
            return ("upper", "lower")
        case _:
            return ("none", "some", "half", "most")
