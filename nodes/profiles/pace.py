"""Delays the work of a model until the machine of a profile would have done it.

The answer is the model's own, computed here; only its time is that of another machine. An answer that this
machine computes more slowly than the profile's machine is not delayed, and `late_s` says how late it is.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol, TypeVar

from nodes.contract.events import Paced
from nodes.contract.report import Report
from nodes.profiles.profile import Profile
from nodes.vlm.answer import Answer, ServerAnswer, Timings

AnyAnswer = TypeVar("AnyAnswer", bound=Answer | ServerAnswer)

SLEEP_UNTIL_S = 0.002  # before the due moment; from then on the clock is polled, since sleeping is not exact


class ComputedStage(Protocol):
    """A stage of an on-board answer, as `nodes.onboard.stages` computes it."""

    @property
    def stage(self) -> int:
        """0 before any token, k after k tokens, below 0 at the answer's end."""

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probabilities of the tokens so far."""


class Pace:
    """The pace of one machine.

    Args:
        profile: times of that machine.
        report: gets `Paced` for every frame on which the model worked.
        max_new_tokens: largest number of tokens in an answer.
    """

    def __init__(self, profile: Profile, report: Report, max_new_tokens: int) -> None:
        self.profile = profile
        self.report = report
        self.max_new_tokens = max_new_tokens

    def begin(self, frame: str, begin_s: float) -> PacedWork:
        """Return the pace of the work on one frame, begun at `begin_s` (CLOCK_MONOTONIC)."""
        return PacedWork(self, frame, begin_s)


class PacedWork:
    """Work on one frame: each step returns when the profile's machine would have done it, or at once."""

    def __init__(self, pace: Pace, frame: str, begin_s: float) -> None:
        self._pace, self._frame, self._begin_s = pace, frame, begin_s
        self._asked_s: dict[str, float] = {}  # by the profile's names of stages
        self._late_s = 0.0
        self.held_s: list[tuple[float, float]] = []  # from and to, CLOCK_MONOTONIC: nothing was computed then
        self._done_s = begin_s  # when the last step was let go

    def seen(self) -> None:
        """Delay the end of seeing the image."""
        self._ask("preprocess", "vision")
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
        """Delay a message that was just made; without a time in the profile it takes as long as here."""
        if form == "whole":
            return
        names = ("reduce",) if form == "reduced" else ("attend", "pack")
        if all(name in self._pace.profile.stages for name in names):
            self._ask(*names)
        else:
            self._asked_s["message"] = time.monotonic() - self._done_s
        self._hold()

    def answered(self, answer: AnyAnswer) -> AnyAnswer:
        """Delay a whole answer; return it with the profile's times."""
        self._decoded(further_tokens(len(answer.token_logprobs), self._pace.max_new_tokens))
        self.seen()
        return replace(answer, timings=self.timings())

    def timings(self) -> Timings:
        """Return the profile's times of the stages done so far."""
        return Timings(
            *(self._asked_s.get(name, 0.0) for name in ("preprocess", "vision", "prefill", "decode"))
        )

    def tell(self) -> None:
        """Report the delays, if the model was used at all."""
        if not self._asked_s:
            return
        held_s = sum(to_s - from_s for from_s, to_s in self.held_s)
        self._pace.report(
            Paced(
                frame=self._frame,
                profile=self._pace.profile.name,
                asked_s=sum(self._asked_s.values()),
                computed_s=time.monotonic() - self._begin_s - held_s,
                late_s=self._late_s,
            )
        )

    def _decoded(self, further: int) -> None:
        self._ask("prefill")
        self._asked_s["decode"] = further * self._pace.profile.stage_s("decode")

    def _ask(self, *names: str) -> None:
        self._asked_s |= {name: self._pace.profile.stage_s(name) for name in names}

    def _hold(self) -> None:
        came_s = time.monotonic()
        due_s = self._begin_s + sum(self._asked_s.values())
        while (left_s := due_s - time.monotonic()) > 0:
            time.sleep(max(0.0, left_s - SLEEP_UNTIL_S))
        self._late_s = -left_s
        self._done_s = time.monotonic()
        if due_s > came_s:
            self.held_s.append((came_s, self._done_s))


def further_tokens(tokens: int, max_new_tokens: int) -> int:
    """Return how many tokens were decoded after the first.

    Args:
        tokens: length of the answer, without the token that ends it.
        max_new_tokens: an answer of this length was cut off, so no token ended it.
    """
    ended = tokens < max_new_tokens  # else it was cut off, and nothing ended it
    return max(0, tokens if ended else tokens - 1)
