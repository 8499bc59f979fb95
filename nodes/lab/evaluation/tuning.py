"""Parameters of a user's policy, selected like those of the shipped ones.

A policy file names the values to try in its class, `TUNED = {"threshold": (0.5, 0.7, 0.9)}`. Each combination
decides about each validation pair over a link that carries everything, as the shipped policies' thresholds
are selected; confidences are cross-fitted. The goal is the one of all policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from nodes.lab.evaluation.evaluated_pairs import EvaluatedPair
from nodes.lab.evaluation.selection import Goal
from nodes.onboard.confidence import Floats
from nodes.policies import Accept, Contact, Drop, OnboardRun, Queue, Reading, decide_frame, policy_named

TUNED = "TUNED"


def tuned(
    name: str, evaluated_pairs: Sequence[EvaluatedPair], fitted: Mapping[int, Floats], goal: Goal
) -> dict[str, Any]:
    """Return the selected parameters of a policy; none if it names no values to try.

    Args:
        name: Path of the policy's file.
        evaluated_pairs: The validation pairs.
        fitted: Cross-fitted confidences by stage; NaN where the answer ends before that stage.
        goal: Goal of the selection.
    """
    values: Mapping[str, Sequence[Any]] = getattr(policy_named(name), TUNED, {})
    if not values:
        return {}
    candidates = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    best: dict[str, Any] = goal.best(candidates, lambda one: _tried(name, one, evaluated_pairs, fitted))
    return best


def _tried(
    name: str,
    parameters: Mapping[str, Any],
    evaluated_pairs: Sequence[EvaluatedPair],
    fitted: Mapping[int, Floats],
) -> tuple[float, float]:
    """Return accuracy and mean bytes of a policy with some parameters."""
    policy = policy_named(name, parameters)
    right, sizes = [], []
    for number, evaluated in enumerate(evaluated_pairs):
        confidences = {stage: float(values[number]) for stage, values in fitted.items()}
        decision, _ = decide_frame(
            policy,
            _CrossFitted(evaluated.run(lambda _: None), confidences),
            evaluated.prompt,
            evaluated.whole_bytes,
            lambda: (Contact(), Queue()),
        )
        if isinstance(decision, Accept | Drop):
            right.append(isinstance(decision, Accept) and evaluated.right_on_board())
            sizes.append(0)
        else:
            sent = evaluated.sent(decision)
            right.append(sent.right)
            sizes.append(sent.size_bytes)
    return float(np.mean(right)), float(np.mean(sizes))


class _CrossFitted:
    """A replayed run whose confidences are of heads that were trained without its frame."""

    def __init__(self, run: OnboardRun, confidences: Mapping[int, float]) -> None:
        self._run, self._confidences = run, confidences
        self.advance: Callable[[], Reading] = lambda: self._fitted(run.advance())
        self.finish: Callable[[], Reading] = lambda: self._fitted(run.finish())

    def _fitted(self, reading: Reading) -> Reading:
        confidence = self._confidences.get(reading.stage, float("nan"))
        return Reading(
            reading.stage,
            reading.finished,
            None if np.isnan(confidence) else confidence,
            reading.token_confidence,
            reading.answer,
        )
