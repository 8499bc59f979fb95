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

from nodes.policies.contact_rule import largest_fitting
from nodes.policies.situation import (
    CAPTURED,
    Accept,
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
        if situation.stage == CAPTURED or self._undecided(situation):
            return Continue()
        if self._accepts(situation):
            return Accept()
        return self._offload(situation)

    def _undecided(self, situation: Situation) -> bool:
        confidence = _known(situation)
        if situation.finished:
            return False
        if not self.later_stages:
            return not self.stage_0  # only stage 0 decides, or without it only the end
        if situation.stage == 0:
            return not self.stage_0 or confidence >= self.offload_below_at_0
        return self.offload_below <= confidence < self.accept_from

    def _accepts(self, situation: Situation) -> bool:
        confidence = _known(situation)
        if situation.finished or (situation.stage == 0 and not self.later_stages):
            return confidence >= self.accept_at_end
        return situation.stage > 0 and confidence >= self.accept_from

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
