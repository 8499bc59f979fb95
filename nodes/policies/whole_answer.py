"""Who answers: the decision that a satellite takes once its compact model has answered.

A policy is any object with `decide`; `POLICIES` names the ones that a configuration file may ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Decision = Literal["answer", "offload"]


class OnboardAnswer(Protocol):
    """What a policy may look at."""

    @property
    def text(self) -> str:
        """The compact model's answer."""

    @property
    def confidence(self) -> float:
        """Geometric mean of the answer's token probabilities, 0..1."""


class Policy(Protocol):
    """Decides, per frame, whether the on-board answer is good enough."""

    def decide(self, answer: OnboardAnswer) -> Decision:
        """'answer' keeps the on-board answer, 'offload' sends the image to the ground."""


@dataclass(frozen=True, slots=True)
class OffloadAfter:
    """Offload after a full on-board answer that the model itself is unsure of.

    The rule of Grace (arXiv 2510.24242): accept when the geometric mean of the token
    probabilities is at least `accept_confidence`. A confidence that is not a number offloads.
    """

    accept_confidence: float

    def decide(self, answer: OnboardAnswer) -> Decision:
        """Accept at or above the threshold."""
        return "answer" if answer.confidence >= self.accept_confidence else "offload"


POLICIES: dict[str, Callable[[float], Policy]] = {"offload-after": OffloadAfter}


def make_policy(name: str, accept_confidence: float) -> Policy:
    """The policy called `name`. Raises ValueError that lists the known ones."""
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; known: {', '.join(POLICIES)}")
    return POLICIES[name](accept_confidence)
