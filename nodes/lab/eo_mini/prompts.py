"""What is asked about a frame's ground and clouds, and which of it, so that no answer is the commoner one.

A question whose truth is near a limit is not asked, nor is the ground under more than some clouds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodes.lab.eo_mini.ground import COVERS, Floats

ASKED = COVERS[:4]
_MAIN, _LEAD = 0.45, 0.15
_PRESENT, _ABSENT = 0.12, 0.003
_CLEAR_GAP = 0.2
_HALVES_APART = 0.2
_MOST = {"presence": 2, "comparison": 2}  # of one frame; one of other kinds
_SLACK = 2  # how much more often than its rivals an answer may be given


@dataclass(frozen=True)
class Question:
    """A prompt, the word that answers it, its kind."""

    kind: str
    prompt: str
    answer: str


def about_ground(shares: NDArray[np.float64]) -> list[Question]:
    """Every question about the ground that has a clear answer; `shares` of each of COVERS."""
    found = []
    first, second = np.argsort(shares)[::-1][:2]
    if first < len(ASKED) and shares[first] >= _MAIN and shares[first] - shares[second] >= _LEAD:
        found.append(Question("cover", "What covers most of this image?", COVERS[first]))
    for index, name in enumerate(ASKED):
        if shares[index] >= _PRESENT or shares[index] <= _ABSENT:
            answer = "yes" if shares[index] >= _PRESENT else "no"
            found.append(Question("presence", f"Is there any {name} in this image?", answer))
        for other in range(index + 1, len(ASKED)):
            if abs(shares[index] - shares[other]) >= _CLEAR_GAP and min(shares[index], shares[other]) > 0.02:
                more = name if shares[index] > shares[other] else COVERS[other]
                prompt = f"Is there more {name} or more {COVERS[other]}?"
                found.append(Question("comparison", prompt, more))
    return found


def about_clouds(amount: str, cloud: Floats) -> list[Question]:
    """Questions about the clouds; `cloud` is their opacity."""
    found = [Question("clouds", "How much of this image is cloudy?", amount)]
    upper, lower = np.array_split((cloud > 0.5).mean(axis=1), 2)
    difference = float(upper.mean() - lower.mean())
    if abs(difference) >= _HALVES_APART:
        answer = "upper" if difference > 0 else "lower"
        found.append(Question("cloudier", "Is the upper or the lower half cloudier?", answer))
    return found


class Balance:
    """Chooses questions so that the answers of every prompt stay about equally frequent."""

    def __init__(self) -> None:
        self._given: Counter[tuple[str, str]] = Counter()

    def choose(self, found: Sequence[Question], rng: np.random.Generator) -> list[Question]:
        """At most `_MOST` of each kind: those whose answers are the rarest beside their rivals."""
        chosen = []
        for kind in dict.fromkeys(question.kind for question in found):
            rivals = [question for question in found if question.kind == kind]
            for _ in range(min(_MOST.get(kind, 1), len(rivals))):
                lead, _, best = min((self._lead(one), rng.random(), n) for n, one in enumerate(rivals))
                question = rivals.pop(best)
                if kind == "clouds" or lead < _SLACK:
                    chosen.append(question)
                    self._given[question.prompt, question.answer] += 1
        return chosen

    def _lead(self, question: Question) -> int:
        """How much oftener this answer was given than the rarest other answer to the prompt."""
        others = [
            self._given[question.prompt, answer] for answer in _answers(question) if answer != question.answer
        ]
        return self._given[question.prompt, question.answer] - min(others)


def _answers(question: Question) -> tuple[str, ...]:
    match question.kind:
        case "cover":
            return ASKED
        case "presence":
            return ("yes", "no")
        case "comparison":
            return tuple(name for name in ASKED if f" {name}" in question.prompt)
        case "cloudier":
            return ("upper", "lower")
        case _:
            return ("none", "some", "half", "most")
