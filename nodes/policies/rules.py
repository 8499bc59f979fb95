"""Rules of a few lines that a learned policy has to beat.

They see what `spaceverse` sees and send what it sends; each lacks one thing. None is taken from a paper.

    token-regions           the probability of the tokens instead of the confidence network
    kind-lookup             the kind of prompt alone; the compact model does not run before the decision
    offload-after-contact   whole frames, with the contact rule
    ground-only-newest      every frame as captured, the newest first
    ground-only-fit         every frame, with as many pixels as the contact carries
    ground-only-quality     every frame, at the quality of the codec that the contact carries
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from nodes.contract.queueing import SendOrder
from nodes.policies.contact_rule import largest_fitting, part_bytes
from nodes.policies.situation import (
    Accept,
    Bounds,
    Continue,
    Decision,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
)


@dataclass(frozen=True, slots=True)
class _Regions:
    """A rule that sends regions.

    Attributes:
        shares: Possible sizes of a message as shares of the frame's size.
        offload_share: Expected share of coming frames that are offloaded.
        contact_aware: Whether messages are sized to the contact.
    """

    shares: tuple[float, ...] = (0.18, 0.26, 0.34)
    offload_share: float = 0.4
    contact_aware: bool = True

    def _send(self, situation: Situation) -> Decision:
        """Send as many regions as the contact carries; accept if it carries none."""
        share = largest_fitting(situation, self.shares, self.offload_share)
        return Accept() if share is None else SendRegions(round(share * situation.whole_bytes))


@dataclass(frozen=True, slots=True)
class TokenRegions(_Regions):
    """Accept a sure answer, otherwise send as many regions as the contact carries.

    Attributes:
        accept_confidence: Geometric mean of the token probabilities from which an answer is accepted.
    """

    accept_confidence: float = 0.75

    def decide(self, situation: Situation) -> Decision:
        """Accept at or above the threshold, otherwise send regions."""
        if not situation.finished:
            return Continue()
        if (situation.token_confidence or 0.0) >= self.accept_confidence:
            return Accept()
        return self._send(situation)

    def bounds(self, situation: Situation) -> Bounds:
        """Return what is compared at a stage."""
        bounds = threshold_at_end(situation, self.accept_confidence)
        return replace(bounds, part_bytes=part_bytes(situation, self.offload_share))


@dataclass(frozen=True, slots=True)
class KindLookup(_Regions):
    """Decide by the kind of prompt: those that the compact model gets wrong are offloaded at once.

    A prompt has the kind of the known prompt with which it shares most words.

    Attributes:
        sent_prompts: Known prompts of the kinds that are offloaded.
        kept_prompts: Known prompts of the kinds that are answered on board.
    """

    sent_prompts: tuple[str, ...] = ("",)
    kept_prompts: tuple[str, ...] = ("",)

    def decide(self, situation: Situation) -> Decision:
        """Send regions for a kind that is offloaded, otherwise accept."""
        prompt = situation.prompt
        if likeness(prompt, self.sent_prompts) <= likeness(prompt, self.kept_prompts):
            return Accept()
        return self._send(situation)


@dataclass(frozen=True, slots=True)
class OffloadAfterContact:
    """`offload-after` with the contact rule: a whole frame that cannot come down is answered on board.

    Attributes:
        accept_confidence: As for `OffloadAfter`.
        offload_share: Expected share of coming frames that are offloaded.
        contact_aware: Whether the rule applies.
    """

    accept_confidence: float = 0.75
    offload_share: float = 0.4
    contact_aware: bool = True

    def decide(self, situation: Situation) -> Decision:
        """Accept at or above the threshold, or if the frame does not fit; otherwise send it."""
        if not situation.finished:
            return Continue()
        if (situation.token_confidence or 0.0) >= self.accept_confidence:
            return Accept()
        fits = largest_fitting(situation, (1.0,), self.offload_share) is not None
        return SendWhole() if fits else Accept()

    def bounds(self, situation: Situation) -> Bounds:
        """Return what is compared at a stage."""
        bounds = threshold_at_end(situation, self.accept_confidence)
        return replace(bounds, part_bytes=part_bytes(situation, self.offload_share))


@dataclass(frozen=True, slots=True)
class GroundOnlyNewest:
    """Every frame is sent as captured, the newest first."""

    send_order: ClassVar[SendOrder] = "newest"

    def decide(self, situation: Situation) -> Decision:
        """Send the frame as captured."""
        return SendWhole()


@dataclass(frozen=True, slots=True)
class GroundOnlyFit:
    """Every frame is sent with as many pixels as its part of the contact carries.

    A frame with `r` times fewer pixels per side is expected to have 1/r of the bytes: of small images more
    bits per pixel are detail. One that does not fit with any reduction is answered on board.

    Attributes:
        reductions: Possible reductions.
        contact_aware: Whether frames are sized to the contact.
    """

    reductions: tuple[int, ...] = (1, 2, 3, 4, 6)
    contact_aware: bool = True

    def decide(self, situation: Situation) -> Decision:
        """Send the frame as large as it fits."""
        of_share = {1 / reduction: reduction for reduction in self.reductions}
        share = largest_fitting(situation, tuple(of_share), 1.0)
        if share is None:
            return Accept()
        return SendWhole() if of_share[share] == 1 else SendReduced(of_share[share])


@dataclass(frozen=True, slots=True)
class GroundOnlyQuality:
    """Every frame is sent with all its pixels, at the JPEG quality that fits its part of the contact.

    One that does not fit at any quality is answered on board.

    Attributes:
        qualities: Possible qualities.
        shares: Expected bytes at each quality, as a share of the frame's; the defaults are the largest of six
            frames of eo-mini.
        contact_aware: Whether frames are sized to the contact.
    """

    qualities: tuple[int, ...] = (45, 30, 20, 10, 5)
    shares: tuple[float, ...] = (0.72, 0.65, 0.54, 0.44, 0.4)
    contact_aware: bool = True

    def decide(self, situation: Situation) -> Decision:
        """Send the frame as captured, or at the best quality that fits."""
        of_share = {1.0: None, **dict(zip(self.shares, self.qualities, strict=False))}
        share = largest_fitting(situation, tuple(of_share), 1.0)
        if share is None:
            return Accept()
        quality = of_share[share]
        return SendWhole() if quality is None else SendReduced(1, quality)


def threshold_at_end(situation: Situation, accept_confidence: float) -> Bounds:
    """Return the bounds of a policy with one threshold on the token confidence of the complete answer."""
    confidence = situation.token_confidence
    if not situation.finished:
        return Bounds(confidence)
    return Bounds(confidence, accept_confidence, accept_confidence)


def likeness(prompt: str, known: Iterable[str]) -> float:
    """Return the largest share of words that a prompt has in common with one of several (Jaccard)."""
    words = set(prompt.lower().split())
    others = (set(other.lower().split()) for other in known)
    return max((len(words & other) / len(words | other) for other in others if words | other), default=0.0)
