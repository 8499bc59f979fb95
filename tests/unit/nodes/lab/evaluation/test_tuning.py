"""A user's policy gets the parameters that meet the goal of all policies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nodes.lab.evaluation.event_model.replay import Sent
from nodes.lab.evaluation.selection import Goal
from nodes.lab.evaluation.tuning import tuned
from nodes.policies import Decision, Reading

POLICY = """
from dataclasses import dataclass
from nodes.policies import Accept, Continue, SendWhole

@dataclass(frozen=True)
class Policy:
    threshold: float = 0.5
    {tuned}

    def decide(self, situation):
        if not situation.finished:
            return Continue()
        return Accept() if (situation.confidence or 0.0) >= self.threshold else SendWhole()
"""


class Made:
    """Right on board in one half of the pairs; 1000 bytes, and right, from the ground."""

    prompt, whole_bytes = "?", 1000

    def __init__(self, number: int) -> None:
        self.number = number

    def run(self, spend: Callable[[float], None]) -> Any:
        class Run:
            def advance(self) -> Reading:
                return Reading(-1, True, 0.0, 0.5, "two")

            finish = advance

        return Run()

    def right_on_board(self) -> bool:
        return self.number >= 10

    def sent(self, decision: Decision) -> Sent:
        return Sent(1000, 0.0, "two", True, 1.0)


def test_the_values_that_a_policy_names_are_tried_with_cross_fitted_confidences(tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    policy.write_text(POLICY.format(tuned='TUNED = {"threshold": (0.1, 0.5, 0.9)}'))
    pairs: Any = [Made(number) for number in range(20)]
    fitted = {-1: np.linspace(0.0, 0.99, 20)}
    assert tuned(str(policy), pairs, fitted, Goal(0.99, None)) == {"threshold": 0.5}
    assert tuned(str(policy), pairs, fitted, Goal(0.0, 200.0)) == {"threshold": 0.1}
    policy.write_text(POLICY.format(tuned=""))
    assert tuned(str(policy), pairs, fitted, Goal(0.99, None)) == {}
