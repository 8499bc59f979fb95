"""The policy of SpaceVerse: progressive confidence, and messages sized to the contact.

The abstract of the paper (arXiv 2507.05731) describes a progressive confidence network that decides which
frames stay on board, and attention-based multi-scale preprocessing of the others. Their combination with the
contact is this project's own design:

* Stage 0: a frame whose on-board answer is very likely wrong is offloaded before any token is decoded.
* Later stages: an answer that is very likely right is accepted without evaluating further stages; one that is
  very likely wrong is offloaded at once.
* At the end: one threshold decides.
* An offloaded frame gets a share of its own size: the largest of a few that fits its part of the contact's
  remaining capacity. That part is the remaining bytes without the queue, divided among the frames that are
  likely to be offloaded before the contact ends.
* A frame that cannot arrive before the contact ends is answered on board: a timely answer of the compact
  model is worth more than one of the regular model an orbit later.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.policies.contact_rule import largest_fitting, part_bytes
from nodes.policies.situation import (
    CAPTURED,
    Accept,
    Bounds,
    Continue,
    Decision,
    SendRegions,
    SendWhole,
    Situation,
)


@dataclass(frozen=True, slots=True)
class SpaceVerse:
    """The policy `spaceverse`; `nodes.lab.evaluation` chooses its thresholds on validation data.

    Attributes:
        offload_below_at_0: Confidence below which a frame is offloaded at stage 0.
        offload_below: Confidence below which it is offloaded between stage 0 and the end.
        accept_from: Confidence from which its answer is accepted between stage 0 and the end.
        accept_at_end: Confidence from which a complete answer is accepted; below it the frame is offloaded.
        shares: Possible sizes of a message as shares of the frame's size, ascending.
        offload_share: Expected share of coming frames that are offloaded.
        stage_0: Whether stage 0 is used; False is an ablation, as for the following.
        later_stages: Whether the stages between stage 0 and the end are used.
        regions: Whether regions are sent instead of whole frames.
        contact_aware: Whether messages are sized to the contact.
    """

    offload_below_at_0: float = 0.1
    offload_below: float = 0.3
    accept_from: float = 0.9
    accept_at_end: float = 0.6
    shares: tuple[float, ...] = (0.18, 0.26, 0.34)
    offload_share: float = 0.4
    stage_0: bool = True
    later_stages: bool = True
    regions: bool = True
    contact_aware: bool = True

    def decide(self, situation: Situation) -> Decision:
        """Continue, accept or offload, as described for this module."""
        if situation.stage == CAPTURED:
            return Continue()
        confidence, (offload_below, accept_from) = _known(situation), self._thresholds(situation)
        if accept_from is not None and confidence >= accept_from:
            return Accept()
        # A confidence that is not a number is offloaded.
        if offload_below is not None and not confidence >= offload_below:
            return self._offload(situation)
        return Continue()

    def bounds(self, situation: Situation) -> Bounds:
        """Return what is compared at a stage."""
        if situation.stage == CAPTURED:
            return Bounds(None)
        part = part_bytes(situation, self.offload_share) if self.contact_aware else None
        return Bounds(_known(situation), *self._thresholds(situation), part)

    def _thresholds(self, situation: Situation) -> tuple[float | None, float | None]:
        """Return the bounds below which a frame is offloaded, and from which its answer is accepted."""
        if situation.finished or (situation.stage == 0 and self.stage_0 and not self.later_stages):
            return self.accept_at_end, self.accept_at_end
        if not self.later_stages:
            return None, None  # without stage 0, only the end decides
        if situation.stage == 0:
            return (self.offload_below_at_0 if self.stage_0 else None), None
        return min(self.offload_below, self.accept_from), self.accept_from

    def _offload(self, situation: Situation) -> Decision:
        sizes = self.shares if self.regions else (1.0,)
        share = largest_fitting(situation, sizes, self.offload_share) if self.contact_aware else sizes[-1]
        if share is None:
            return Accept()
        return SendRegions(round(share * situation.whole_bytes)) if self.regions else SendWhole()


def _known(situation: Situation) -> float:
    """Return the network's confidence, without one that of the tokens, or 0.5 before the first token."""
    if situation.confidence is not None:
        return situation.confidence
    return situation.token_confidence if situation.token_confidence is not None else 0.5
