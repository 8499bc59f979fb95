"""Delays of a model's work to the pace of the machine in a profile.

This machine computes the answer; only its time is that of the other machine. An answer that this machine
computes more slowly than the profile's machine is not delayed, and `late_s` has its lateness. All durations
that are told are of scenario time: where that runs faster, this machine has less time for an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from nodes.contract.events import Paced
from nodes.contract.report import RealTime, Report, WaitingClock
from nodes.profiles.profile import Profile
from nodes.vlm.answer import Answer, ServerAnswer, Timings

AnyAnswer = TypeVar("AnyAnswer", bound=Answer | ServerAnswer)

# Real, before the due moment; from then on the clock is polled, since a sleep ends late.
SLEEP_UNTIL_S = 0.002


class ComputedStage(Protocol):
    """A stage of an on-board answer, as `nodes.onboard.stages` computes it."""

    @property
    def stage(self) -> int:
        """0 before any token, k after k tokens, below 0 at the answer's end."""

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probabilities of the tokens so far."""


class Pace:
    """Pace of one machine.

    Args:
        profile: times of the machine.
        report: receives `Paced` for every frame that the model worked on.
        max_new_tokens: largest number of tokens in an answer.
        clock: scenario time; a pace follows its jumps and its changes of speed.
        on_hold: called with the scenario time until which a delay lasts, and with None when it has ended.
    """

    def __init__(
        self,
        profile: Profile,
        report: Report,
        max_new_tokens: int,
        clock: WaitingClock | None = None,
        on_hold: Callable[[float | None], None] = lambda until_s: None,
    ) -> None:
        self.profile = profile
        self.report = report
        self.max_new_tokens = max_new_tokens
        self.clock = clock or RealTime()
        self.on_hold = on_hold
        self.slowdown: Callable[[], float] = lambda: 1.0

    def begin(self, frame: str, begin_s: float) -> PacedWork:
        """Return the pace of the work on one frame, begun at `begin_s` (CLOCK_MONOTONIC)."""
        return PacedWork(self, frame, begin_s)


class PacedWork:
    """Work on one frame; each step returns when the profile's machine would have finished it."""

    def __init__(self, pace: Pace, frame: str, begin_s: float) -> None:
        self._pace, self._frame, self._begin_s = pace, frame, begin_s
        self._begin_time_s = self._time_s(begin_s)
        self._planned_s: dict[str, float] = {}  # by the profile's names of stages, at the speed of then
        self._profile_s: dict[str, float] = {}  # the same as in the profile
        self._late_s = 0.0
        self._rested_s = 0.0  # waiting for power
        self.held_s: list[tuple[float, float]] = []  # idle spans (from, to), CLOCK_MONOTONIC
        self._done_s = begin_s  # when the last step returned

    def seen(self) -> None:
        """Delay the end of preprocessing and vision tower."""
        self._plan("preprocess", "vision")
        self._hold()

    def stage(self, stage: ComputedStage) -> None:
        """Delay a stage that was just computed."""
        tokens = len(stage.logprobs)
        if stage.stage > 0:
            self._decoded(tokens - 1)
        elif stage.stage < 0:  # the answer's end
            self._decoded(further_tokens(tokens, self._pace.max_new_tokens))
        self.seen()

    def message(self, form: str) -> None:
        """Delay a message that was just created; a time that the profile lacks stays as it is here."""
        if form == "whole":
            return
        names = ("reduce",) if form == "reduced" else ("attend", "pack")
        if all(name in self._pace.profile.stages for name in names):
            self._plan(*names)
        else:
            now_s = time.monotonic()
            self._planned_s["message"] = self._time_s(now_s) - self._time_s(self._done_s)
        self._hold()

    def answered(self, answer: AnyAnswer) -> AnyAnswer:
        """Delay a whole answer; return it with the profile's times."""
        self._decoded(further_tokens(len(answer.token_logprobs), self._pace.max_new_tokens))
        self.seen()
        return replace(answer, timings=self.timings())

    def timings(self) -> Timings:
        """Return the profile's times of the stages done so far."""
        return Timings(
            *(self._planned_s.get(name, 0.0) for name in ("preprocess", "vision", "prefill", "decode"))
        )

    def tell(self) -> None:
        """Report the delays, if the model was used at all."""
        if not self._planned_s:
            return
        held_s = sum(self._time_s(to_s) - self._time_s(from_s) for from_s, to_s in self.held_s)
        self._pace.report(
            Paced(
                frame=self._frame,
                profile=self._pace.profile.name,
                profile_s=sum(self._planned_s.values()),
                computed_s=self._time_s(time.monotonic()) - self._begin_time_s - held_s,
                late_s=self._late_s,
            )
        )

    def rested(self, from_s: float, to_s: float) -> None:
        """Leave out a span in which the work waited for power, given by values of CLOCK_MONOTONIC."""
        self._rested_s += self._time_s(to_s) - self._time_s(from_s)
        self.held_s.append((from_s, to_s))
        self._done_s = to_s

    def _decoded(self, further: int) -> None:
        self._plan("prefill")
        self._plan_stage("decode", further * self._pace.profile.stage_s("decode"))

    def _plan(self, *names: str) -> None:
        for name in names:
            self._plan_stage(name, self._pace.profile.stage_s(name))

    def _plan_stage(self, name: str, profile_s: float) -> None:
        """Plan a stage; what is new of it takes as long as the computer is slowed down now."""
        new_s = profile_s - self._profile_s.get(name, 0.0)
        if new_s or name not in self._planned_s:
            self._planned_s[name] = self._planned_s.get(name, 0.0) + new_s * self._pace.slowdown()
            self._profile_s[name] = profile_s

    def _hold(self) -> None:
        arrived_s = time.monotonic()
        due_time_s = self._begin_time_s + self._rested_s + sum(self._planned_s.values())
        if (late_s := self._time_s(arrived_s) - due_time_s) < 0:
            late_s = self._wait_until(due_time_s)
            self._done_s = time.monotonic()
            self.held_s.append((arrived_s, self._done_s))
        else:
            self._done_s = arrived_s
        self._late_s = late_s

    def _wait_until(self, time_s: float) -> float:
        """Wait for a scenario time; return how much later it is then."""
        clock = self._pace.clock
        self._pace.on_hold(time_s)
        try:
            waits = clock.wait_until(time_s - SLEEP_UNTIL_S * clock.speed())
            while (late_s := self._time_s(time.monotonic()) - time_s) < 0 and waits:
                time.sleep(0)
        finally:
            self._pace.on_hold(None)
        return max(0.0, late_s)

    def _time_s(self, monotonic_s: float) -> float:
        """Return the scenario time of a moment of CLOCK_MONOTONIC; the same moment before it is known."""
        time_s = self._pace.clock.scenario_s(monotonic_s)
        return monotonic_s if time_s is None else time_s


def further_tokens(tokens: int, max_new_tokens: int) -> int:
    """Return the number of tokens that were decoded after the first.

    Args:
        tokens: length of the answer, without the end token.
        max_new_tokens: length at which an answer is cut off, so that it has no end token.
    """
    ended = tokens < max_new_tokens  # else it was cut off without an end token
    return max(0, tokens if ended else tokens - 1)
