"""The co-design: confidence that grows with the stages, and as many bytes as the contact can spare.

Published (arXiv 2507.05731, abstract) are a progressive confidence network that decides which frames stay on
board and attention-based multi-scale preprocessing of those that do not. How the two meet the contact here is
this project's own design:

* Stage 0: a frame whose on-board answer will very likely not do is offloaded before a token is decoded.
* Later stages: an answer that will very likely do is accepted without looking at further stages; one that
  will very likely not is offloaded at once.
* At the end: one threshold.
* An offloaded frame gets the largest of a few shares of its own size that fits into its part of what the
  contact still carries: bytes left, less the queue, divided among the frames that are likely to be offloaded
  before the contact ends.
* What cannot arrive before the contact ends is answered on board: an answer of the compact model in time is
  worth more than one of the regular model that comes an orbit later.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """The policy `spaceverse`; its thresholds are chosen on validation data by `nodes.lab.evaluation`.

    Args:
        offload_below_at_0: at stage 0 offload below this confidence.
        offload_below: between stage 0 and the end, offload below.
        accept_from: between stage 0 and the end, accept from.
        accept_at_end: once the answer is whole, accept from, else offload.
        shares: message sizes to choose from, as shares of the frame's size, ascending.
        offload_share: share of coming frames that are expected to be offloaded.
        stage_0, later_stages, regions, contact_aware: False takes the mechanism away (an ablation).
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
        """Go on, accept or offload; see the module's text."""
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
            return not self.stage_0  # stage 0 alone decides; without it only the end is left
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
        fitting = sizes[-1:]
        if self.contact_aware:
            part = self.part_bytes(situation) / situation.whole_bytes
            fitting = tuple(share for share in sizes if share <= part)
            if not fitting:
                return Accept()
        if not self.regions:
            return SendWhole()
        return SendRegions(round(fitting[-1] * situation.whole_bytes))

    def part_bytes(self, situation: Situation) -> float:
        """This frame's part of what the contact still carries."""
        left_bytes = situation.contact.left_bytes - situation.queue.size_bytes
        return left_bytes / (1 + self.offload_share * situation.queue.captures_left)


def _known(situation: Situation) -> float:
    """The confidence; that of the tokens where no network was trained, and none at all before the first."""
    if situation.confidence is not None:
        return situation.confidence
    return situation.token_confidence if situation.token_confidence is not None else 0.5
