"""A speed of scenario time that this machine keeps up with: slower at once, faster with care."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.results.clock.answer_lateness import AnswerLateness, late_share

WINDOW_S = 3.0  # real, over which is judged
SLOWER, FASTER = 0.75, 1.2
CALM_WINDOWS = 2  # in a row before it goes faster
# Of scenario time, of 5 % of the links' changes: an orbit's trace has a row a second; a link is a quarter of
# one behind at most.
LATENESS_BOUND_S = 0.25
LATE_SHARE = 0.025  # of the answers' latencies: half of what makes a run say that it did not keep up
ANSWERS_AT_LEAST, ANSWERS_AT_MOST = 8, 50  # latest ones that are judged together: one alone is no trend
LOWEST = 1.0
NEAR = 0.95  # of a speed that was too fast; it is tried again only after FORGET_WINDOWS
FORGET_WINDOWS = 20


@dataclass(frozen=True, slots=True)
class NewSpeed:
    """A speed to go on at.

    Args:
        speed: seconds of scenario time in a real one.
        reason: why.
    """

    speed: float
    reason: str


class AutoSpeed:
    """Judges window after window whether the machine kept up.

    Args:
        speed: the first speed.
        now_s: CLOCK_MONOTONIC.
        highest: the highest speed.
    """

    def __init__(self, speed: float, now_s: float, highest: float = 200.0) -> None:
        self._highest = highest
        self.speed = speed
        self._until_s = now_s + WINDOW_S
        self._late_s: list[float] = []
        self._answers = deque[AnswerLateness](maxlen=ANSWERS_AT_MOST)
        self._new_answers = 0
        self._calm = 0
        self._too_fast: float | None = None
        self._windows_since = 0

    def add(self, late_s: Sequence[float], answers: Sequence[AnswerLateness]) -> None:
        """Add what happened since the last call.

        Args:
            late_s: lateness of each change of a link, seconds of scenario time.
            answers: lateness of each frame that was answered.
        """
        self._late_s += late_s
        self._answers += answers
        self._new_answers += len(answers)

    def look(self, now_s: float) -> NewSpeed | None:
        """Return a new speed, at the end of a window that asks for one."""
        if now_s < self._until_s:
            return None
        problem = self._problem()
        idle = not (self._late_s or self._new_answers)
        self._until_s = now_s + WINDOW_S
        self._late_s, self._new_answers = [], 0
        self._windows_since += 1
        if self._windows_since > FORGET_WINDOWS:
            self._too_fast = None
        if problem is not None:
            self._calm, self._windows_since, self._too_fast = 0, 0, self.speed
            return self._change(max(LOWEST, self.speed * SLOWER), problem)
        if idle:
            return None  # nothing shows that it keeps up
        self._calm += 1
        if self._calm < CALM_WINDOWS:
            return None
        self._calm = 0
        most = self._highest if self._too_fast is None else min(self._highest, self._too_fast * NEAR)
        return self._change(min(most, self.speed * FASTER), "this machine kept up")

    def _change(self, speed: float, reason: str) -> NewSpeed | None:
        if abs(speed - self.speed) < 0.01 * self.speed:
            return None
        self.speed = speed
        self._answers.clear()  # they tell of the speed before
        return NewSpeed(speed, reason)

    def _problem(self) -> str | None:
        if self._late_s:
            late_s = float(np.percentile(self._late_s, 95))
            if late_s > LATENESS_BOUND_S:
                return f"5 % of the links' changes were more than {late_s:.2f} s of scenario time late"
        share = late_share(self._answers)
        if len(self._answers) >= ANSWERS_AT_LEAST and share > LATE_SHARE:
            return f"{share:.1%} of the latency of {len(self._answers)} answers was lateness of this machine"
        return None
