"""What `spaceverse` is compared with.

None of these is the code of the system that it is named after: each is that system's rule for who answers, as
its paper describes it, with our models and link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nodes.policies.situation import (
    Accept,
    Continue,
    Decision,
    Drop,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
)


@dataclass(frozen=True, slots=True)
class SatelliteOnly:
    """The compact model answers everything."""

    def decide(self, situation: Situation) -> Decision:
        """Accept."""
        return Accept()


@dataclass(frozen=True, slots=True)
class GroundOnly:
    """Every frame goes down as captured; the compact model is not run."""

    def decide(self, situation: Situation) -> Decision:
        """Send."""
        return SendWhole()


@dataclass(frozen=True, slots=True)
class GroundOnlyDownsampled:
    """Every frame goes down with `reduction` times fewer pixels a side."""

    reduction: int = 2

    def decide(self, situation: Situation) -> Decision:
        """Send reduced."""
        return SendReduced(self.reduction)


@dataclass(frozen=True, slots=True)
class OffloadAfter:
    """Offload after a full on-board answer that the model itself is unsure of.

    The rule of Grace (arXiv 2510.24242): accept when the geometric mean of the token probabilities is at
    least `accept_confidence`, 0.75 there. A confidence that is not a number offloads.
    """

    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept at or above the threshold."""
        if not situation.finished:
            return Continue()
        return Accept() if (situation.token_confidence or 0.0) >= self.accept_confidence else SendWhole()


@dataclass(frozen=True, slots=True)
class Cascade:
    """A small-to-large cascade on calibrated confidence, as in Tabi (EuroSys 2023).

    The token confidence is calibrated by Platt's scaling: sigmoid(slope * logit(c) + offset).
    """

    slope: float = 1.0
    offset: float = 0.0
    accept_probability: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept where the calibrated probability of being right is large enough."""
        if not situation.finished:
            return Continue()
        return (
            Accept()
            if self.probability(situation.token_confidence) >= self.accept_probability
            else SendWhole()
        )

    def probability(self, token_confidence: float | None) -> float:
        """The calibrated probability that the answer is right; 0 without a confidence."""
        if token_confidence is None or math.isnan(token_confidence):
            return 0.0
        clipped = min(max(token_confidence, 1e-6), 1 - 1e-6)
        return 1 / (1 + math.exp(-(self.slope * math.log(clipped / (1 - clipped)) + self.offset)))


@dataclass(frozen=True, slots=True)
class TwoThreshold:
    """Drop, send or accept by two thresholds on the token confidence, as TargetFuse does with detections.

    A dropped frame gets no answer: below `drop_below` its bytes are thought better spent on others.
    """

    drop_below: float = 0.2
    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Drop below the lower threshold, accept from the upper one on, send what lies between."""
        if not situation.finished:
            return Continue()
        confidence = situation.token_confidence or 0.0
        if confidence >= self.accept_confidence:
            return Accept()
        return Drop() if confidence < self.drop_below else SendWhole()


@dataclass(frozen=True, slots=True)
class Oracle:
    """An upper bound, not a policy: it knows every answer beforehand and takes the cheapest right one.

    Only an evaluation has the foresight; elsewhere it refuses to decide.
    """

    shares: tuple[float, ...] = (0.08, 0.16, 0.32)

    def decide(self, situation: Situation) -> Decision:
        """Accept where on board is right or nothing is; else the least bytes that make the ground right.

        Raises ValueError without foresight.
        """
        foresight = situation.foresight
        if foresight is None:
            raise ValueError("the oracle is an upper bound of evaluations and cannot run on a satellite")
        if foresight.onboard_right:
            return Accept()
        offers: list[Decision] = [SendRegions(round(share * situation.whole_bytes)) for share in self.shares]
        return next((offer for offer in [*offers, SendWhole()] if foresight.right_with(offer)), Accept())
