"""Policies of published kinds that `spaceverse` is compared with.

None of them is the code of the system that it is named after. Each is a decision rule of that system as
far as its abstract or paper describes it, with this project's models and link; what each leaves out, and
what this project chose, is said with it. nodes/policies/rules.py has simple rules that are not published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from nodes.contract.queueing import SendOrder
from nodes.policies.rules import likeness, threshold_at_end
from nodes.policies.situation import (
    Accept,
    Bounds,
    Continue,
    Decision,
    Drop,
    Reading,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
)


@dataclass(frozen=True, slots=True)
class SatelliteOnly:
    """The compact model answers everything."""

    def decide(self, situation: Situation) -> Decision:
        """Accept the on-board answer."""
        return Accept()


@dataclass(frozen=True, slots=True)
class GroundOnly:
    """Every frame is sent as captured; the compact model does not run."""

    def decide(self, situation: Situation) -> Decision:
        """Send the frame as captured."""
        return SendWhole()


@dataclass(frozen=True, slots=True)
class GroundOnlyDownsampled:
    """Every frame is sent with `reduction` times fewer pixels per side."""

    reduction: int = 2

    def decide(self, situation: Situation) -> Decision:
        """Send the reduced frame."""
        return SendReduced(self.reduction)


@dataclass(frozen=True, slots=True)
class OffloadAfter:
    """Offload a frame after a complete on-board answer with low confidence.

    The rule of Grace (arXiv 2510.24242): accept if the geometric mean of the token probabilities is at least
    `accept_confidence`, 0.75 in the paper; an evaluation selects it like all thresholds. Left out: Grace's
    archive of answered questions on board and on the ground. A confidence that is not a number leads to
    offloading.
    """

    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept at or above the threshold, otherwise send the frame."""
        if not situation.finished:
            return Continue()
        return Accept() if (situation.token_confidence or 0.0) >= self.accept_confidence else SendWhole()

    def bounds(self, situation: Situation) -> Bounds:
        """Return what is compared at a stage."""
        return threshold_at_end(situation, self.accept_confidence)


@dataclass(frozen=True, slots=True)
class Cascade:
    """A small-to-large cascade on calibrated confidence, as in Tabi (EuroSys 2023).

    Left out: Tabi's pruning of words for the large model, and its ensemble of both models' outputs.
    Calibration keeps the order of confidences, so with thresholds selected for the same goal this decides as
    `offload-after` does.
    The token confidence c is calibrated by Platt scaling: sigmoid(slope * logit(c) + offset).
    """

    slope: float = 1.0
    offset: float = 0.0
    accept_probability: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept if the calibrated probability of being right is large enough, otherwise send the frame."""
        if not situation.finished:
            return Continue()
        return (
            Accept()
            if self.probability(situation.token_confidence) >= self.accept_probability
            else SendWhole()
        )

    def probability(self, token_confidence: float | None) -> float:
        """Return the calibrated probability that the answer is right; 0 without a confidence."""
        if token_confidence is None or math.isnan(token_confidence):
            return 0.0
        clipped = min(max(token_confidence, 1e-6), 1 - 1e-6)
        return 1 / (1 + math.exp(-(self.slope * math.log(clipped / (1 - clipped)) + self.offset)))


@dataclass(frozen=True, slots=True)
class TwoThreshold:
    """Drop, send or accept by two thresholds on the token confidence, as TargetFuse does for detections.

    A dropped frame gets no answer: below `drop_below`, its bytes are better spent on other frames. TargetFuse
    counts objects in tiles; here a threshold is on an answer. Left out: its clustering of similar tiles and
    its energy budget.
    """

    drop_below: float = 0.2
    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Drop below the lower threshold, accept from the upper one on, send in between."""
        if not situation.finished:
            return Continue()
        confidence = situation.token_confidence
        if confidence is None:
            return SendWhole()  # a server that reports no probabilities: nothing speaks for dropping it
        if confidence >= self.accept_confidence:
            return Accept()
        return Drop() if confidence < self.drop_below else SendWhole()


@dataclass(frozen=True, slots=True)
class GraceTwoTests:
    """Two tests in a row, in the manner of Grace: what is known, then how sure the answer is.

    Grace consults an archive of questions and a confidence before it keeps a task on board. This project's
    version of the first test: a prompt is known if it shares more words with `known_prompts`, those of kinds
    that the compact model mostly got right in validation, than with `other_prompts`. An unknown prompt is
    offloaded before the compact model runs. Left out: the images of the archive, and its updates.

    Attributes:
        known_prompts: Prompts that pass the first test.
        other_prompts: Prompts that do not.
        accept_confidence: Geometric mean of the token probabilities that passes the second test.
    """

    known_prompts: tuple[str, ...] = ("",)
    other_prompts: tuple[str, ...] = ("",)
    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept what passes both tests, otherwise send the frame."""
        prompt = situation.prompt
        if likeness(prompt, self.known_prompts) < likeness(prompt, self.other_prompts):
            return SendWhole()
        if not situation.finished:
            return Continue()
        return Accept() if (situation.token_confidence or 0.0) >= self.accept_confidence else SendWhole()


@dataclass(frozen=True, slots=True)
class Serval:
    """Send every frame, those first that a filter on board calls urgent, in the manner of Serval (NSDI 2024).

    Serval splits queries into filters that are evaluated on the ground ahead of time and filters that run on
    board, and sends what they select first. This project's filter on board: the compact model is unsure of
    its answer. Left out: the filters on the ground. All answers come from the ground.

    Attributes:
        urgent_below: Geometric mean of the token probabilities below which a frame is urgent.
    """

    send_order: ClassVar[SendOrder] = "value"
    urgent_below: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Send the frame once the compact model has answered."""
        return SendWhole() if situation.finished else Continue()

    def value(self, reading: Reading) -> float:
        """Return 1 for an urgent frame, otherwise 0."""
        return float((reading.token_confidence or 0.0) < self.urgent_below)


@dataclass(frozen=True, slots=True)
class Oracle:
    """An upper bound: it knows every answer in advance and takes the cheapest right one.

    It only works in an evaluation, which provides the foresight.
    """

    shares: tuple[float, ...] = (0.08, 0.16, 0.32)

    def decide(self, situation: Situation) -> Decision:
        """Accept if the on-board answer is right or no answer is, otherwise send the fewest sufficient bytes.

        Raises:
            ValueError: There is no foresight.
        """
        foresight = situation.foresight
        if foresight is None:
            raise ValueError("the oracle is an upper bound of evaluations and cannot run on a satellite")
        if foresight.onboard_right:
            return Accept()
        offers: list[Decision] = [SendRegions(round(share * situation.whole_bytes)) for share in self.shares]
        return next((offer for offer in [*offers, SendWhole()] if foresight.right_with(offer)), Accept())
