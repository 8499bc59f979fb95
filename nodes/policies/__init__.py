"""Policies, which decide what is answered on board and what is sent to the ground.

::

    situation.py    what a policy sees and may decide, and its calls stage by stage
    spaceverse.py   the policy of SpaceVerse and its ablations
    contact_rule.py what cannot come down in time is answered on board
    baselines.py    policies of published kinds that it is compared with
    rules.py        simple rules that it has to beat
    explanation.py  the words that say why a frame was decided as it was
    send_order.py   order in which images are sent
    registry.py     finds policies by name

The satellite's program (nodes/satellite.py) and the event model (nodes/lab/evaluation) call policies alike.

To add a policy, write one file and pass its path wherever a policy's name is expected::

    from dataclasses import dataclass
    from nodes.policies import Accept, Continue, Decision, SendRegions, Situation

    @dataclass(frozen=True)
    class Policy:
        threshold: float = 0.8

        def decide(self, situation: Situation) -> Decision:
            if not situation.finished:
                return Continue()
            sure = (situation.token_confidence or 0) >= self.threshold
            return Accept() if sure else SendRegions(situation.whole_bytes // 10)
"""

from nodes.policies.registry import ABLATIONS, BASELINES, POLICIES, flying_policy, policy_named
from nodes.policies.situation import (
    CAPTURED,
    Accept,
    Bounds,
    Contact,
    Continue,
    Decision,
    Drop,
    Foresight,
    FramePolicy,
    OnboardRun,
    PowerOutlook,
    Queue,
    Reading,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
    decide_frame,
)
from nodes.policies.spaceverse import SpaceVerse

__all__ = [
    "ABLATIONS",
    "BASELINES",
    "CAPTURED",
    "POLICIES",
    "Accept",
    "Bounds",
    "Contact",
    "Continue",
    "Decision",
    "Drop",
    "Foresight",
    "FramePolicy",
    "OnboardRun",
    "PowerOutlook",
    "Queue",
    "Reading",
    "SendReduced",
    "SendRegions",
    "SendWhole",
    "Situation",
    "SpaceVerse",
    "decide_frame",
    "flying_policy",
    "policy_named",
]
