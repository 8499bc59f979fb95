"""Frame-prompt pairs with their outcomes and compute times, for the event model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from nodes.data.pairs import Pair
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.lab.evaluation.event_model.replay import Sent
from nodes.lab.evaluation.outcomes import OnboardOutcome, Outcomes
from nodes.onboard.confidence import END
from nodes.onboard.judge import Judge
from nodes.onboard.layout import Layout
from nodes.onboard.stages import reading_at
from nodes.policies import Decision, OnboardRun, Reading


class EvaluatedPair:
    """One pair: outcomes of both models, confidence at each stage, and the time of each step.

    Args:
        pair: The frame and its prompt.
        outcomes: Outcomes of both models.
        times: Time of each step.
        judge: Confidence network and attention heads.
    """

    def __init__(self, pair: Pair, outcomes: Outcomes, times: ComputeTimes, judge: Judge) -> None:
        self.pair = pair
        self.name, self.frame, self.prompt = pair.name, pair.frame, pair.prompt
        self._outcomes, self._times, self._judge = outcomes, times, judge
        self._sent: dict[Decision, Sent] = {}

    @property
    def layout(self) -> Layout:
        """Division of the frame into regions, and the stages of an answer."""
        return self._outcomes.layout

    @cached_property
    def whole_bytes(self) -> int:
        """Size of the frame as captured."""
        return self.pair.image.stat().st_size

    @cached_property
    def onboard(self) -> OnboardOutcome:
        """Outcome of the compact model."""
        return self._outcomes.onboard(self.pair)

    @cached_property
    def scores(self) -> list[float]:
        """Relevance of each region."""
        return self._judge.scores(self.onboard.attention)

    def run(self, spend: Callable[[float], None]) -> OnboardRun:
        """Replay the compact model; `spend` is called with the seconds of each stage."""
        return _Replayed(self, self._times, self._outcomes.layout.stage_tokens, spend)

    def confidence(self, stage: int) -> float | None:
        """Return the network's confidence at a stage; None if the answer ends before that stage."""
        features = self.onboard.features.get(stage)
        return None if features is None else self._judge.confidence(stage, features)

    def attention_s(self, reading: Reading) -> float:
        """Return the time to compute attention after a stage.

        It takes a separate pass over image and prompt, because fused attention yields no weights.
        """
        return self._times.attend_s + (self._times.see_s if reading.stage < 0 else 0.0)

    def right_on_board(self) -> bool:
        """Return whether the compact model's answer is correct."""
        return self.pair.is_right(self.onboard.text)

    def sent(self, decision: Decision) -> Sent:
        """Return the message of a decision and the regular model's answer to it."""
        if decision not in self._sent:
            outcome = self._outcomes.ground(self.pair, decision, self.scores)
            self._sent[decision] = Sent(
                size_bytes=outcome.size_bytes,
                prepare_s=self._times.prepare_s(decision),
                answer=outcome.text,
                right=self.pair.is_right(outcome.text),
                ground_s=self._times.ground_s(decision),
                form=outcome.form,
                pieces=outcome.pieces,
            )
        return self._sent[decision]


class _Replayed:
    """Replay of a known outcome, stage by stage, with the time of each."""

    def __init__(
        self,
        evaluated: EvaluatedPair,
        times: ComputeTimes,
        stage_tokens: Sequence[int],
        spend: Callable[[float], None],
    ) -> None:
        self._evaluated, self._times, self._spend = evaluated, times, spend
        self._tokens = len(evaluated.onboard.token_ids)
        self._stages = [0, *(k for k in stage_tokens if k <= self._tokens), END]
        self._at = -1

    def advance(self) -> Reading:
        before = self._stages[self._at] if self._at >= 0 else None
        self._at += 1
        stage = self._stages[self._at]
        self._spend(self._stage_s(before, stage))
        made = self._tokens if stage == END else stage
        onboard, confidence = self._evaluated.onboard, self._evaluated.confidence(stage)
        return reading_at(stage, onboard.token_logprobs[:made], confidence, onboard.text)

    def finish(self) -> Reading:
        while True:
            reading = self.advance()
            if reading.finished:
                return reading

    def _stage_s(self, before: int | None, stage: int) -> float:
        if stage == 0:
            return self._times.see_s
        done = before or 0
        last = self._tokens + 1 if stage == END else stage  # the token that ends the answer is computed too
        first_s = self._times.read_s if done == 0 else 0.0
        return first_s + self._times.token_s * (last - max(done, 1))
