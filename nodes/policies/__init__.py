"""Who answers, and what goes down for it: policies, chosen by name.

    situation.py    what a policy sees and may decide, and how it is asked stage by stage
    spaceverse.py   the co-design, and its ablations
    baselines.py    what it is compared with
    registry.py     finds them by name

The satellite's program (nodes/satellite.py) and the event model (nodes/evaluation) ask them alike.

To add your own, write one file and give its path where a name is expected:

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
    Contact,
    Continue,
    Decision,
    Drop,
    Foresight,
    FramePolicy,
    OnboardRun,
    Queue,
    Reading,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
    decide_frame,
)

__all__ = [
    "ABLATIONS",
    "BASELINES",
    "CAPTURED",
    "POLICIES",
    "Accept",
    "Contact",
    "Continue",
    "Decision",
    "Drop",
    "Foresight",
    "FramePolicy",
    "OnboardRun",
    "Queue",
    "Reading",
    "SendReduced",
    "SendRegions",
    "SendWhole",
    "Situation",
    "decide_frame",
    "flying_policy",
    "policy_named",
]
