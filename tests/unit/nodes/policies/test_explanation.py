"""The words for a decision: the confidence that decided, its bound, and what became of the frame."""

from __future__ import annotations

import pytest

from nodes.contract.events import SentRegions, StageJudgement
from nodes.errors import PartError
from nodes.policies import (
    Accept,
    Bounds,
    Contact,
    Decision,
    Drop,
    FramePolicy,
    Queue,
    Reading,
    SendRegions,
    SendWhole,
    decide_frame,
    policy_named,
)
from nodes.policies.explanation import Judgements, why

READINGS = (
    Reading(0, finished=False, confidence=0.5, token_confidence=None, answer=""),
    Reading(2, finished=False, confidence=0.31, token_confidence=0.7, answer="two"),
    Reading(3, finished=True, confidence=0.7, token_confidence=0.8, answer="two ships"),
)
REGIONS = SentRegions(rows=4, columns=4, relevance=[0.1] * 16, reductions=[1, 1, 2, 2, 2] + [0] * 11)


class Replayed:
    """A compact model that has answered before."""

    def __init__(self) -> None:
        self.left = list(READINGS)

    def advance(self) -> Reading:
        return self.left.pop(0)

    def finish(self) -> Reading:
        return READINGS[-1]


def judged(policy: FramePolicy, left_bytes: float = 1e9) -> tuple[Decision, list[StageJudgement], str]:
    """Return a policy's decision about a frame of 113 kB, what it compared, and why."""
    judgements = Judgements(policy)
    around = Contact(left_s=60, left_bytes=left_bytes), Queue(captures_left=1)
    decision, _ = decide_frame(
        policy, Replayed(), "how many?", 113_000, lambda: around, on_decision=judgements
    )
    form = {SendRegions: "regions", SendWhole: "whole"}.get(type(decision))  # type: ignore[call-overload]
    regions = REGIONS if form == "regions" else None
    size_bytes = {"regions": 29_000, "whole": 113_000}.get(form or "")
    return decision, judgements.stages, why(decision, judgements.stages, form, regions, size_bytes, 113_000)


@pytest.mark.parametrize(
    ("name", "parameters", "left_bytes", "expected"),
    [
        (
            "spaceverse",
            {"offload_below": 0.55},
            1e9,
            "confidence 0.31 after two tokens was below 0.55: sent down, 5 of 16 regions, 29 of 113 kB",
        ),
        (
            "spaceverse",
            {"offload_below": 0.55},
            2800,
            "confidence 0.31 after two tokens was below 0.55, but its part of the contact, 2.0 kB, is too "
            "small for a message: answered on board",
        ),
        (
            "spaceverse",
            {"offload_below": 0.1, "accept_from": 0.3},
            1e9,
            "confidence 0.31 after two tokens reached 0.30: answered on board",
        ),
        (
            "spaceverse",
            {"offload_below_at_0": 0.5004, "shares": [0.2]},
            1e9,
            "confidence 0.5000 before the first token was below 0.5004: sent down, 5 of 16 regions, "
            "29 of 113 kB",
        ),
        (
            "spaceverse",
            {"offload_below": 0.1, "accept_at_end": 0.6},
            1e9,
            "confidence 0.70 of the whole answer (three tokens) reached 0.60: answered on board",
        ),
        (
            "offload-after",
            {"accept_confidence": 0.9},
            1e9,
            "confidence 0.80 of the whole answer (three tokens) was below 0.90: sent down whole, 113 kB",
        ),
        ("ground-only", {}, 1e9, "decided before the compact model ran: sent down whole, 113 kB"),
        ("satellite-only", {}, 1e9, "decided before the compact model ran: answered on board"),
        (
            "cascade",
            {"accept_probability": 0.1},
            1e9,
            "confidence 0.80 of the whole answer (three tokens): answered on board",
        ),
    ],
)
def test_the_words(name: str, parameters: dict[str, object], left_bytes: float, expected: str) -> None:
    assert judged(policy_named(name, parameters), left_bytes)[2] == expected


def test_a_dropped_frame_and_an_overview_alone() -> None:
    stage = StageJudgement(stage=0, finished=False, confidence=None)
    assert why(Drop(), [stage], None, None, None, 1) == ("no confidence before the first token: dropped")
    none_sent = REGIONS.model_copy(update={"reductions": [0] * 16})
    assert "sent down, the overview alone, 8 of 113 kB" in why(
        SendRegions(1), [stage], "regions", none_sent, 8000, 113_000
    )


@pytest.mark.parametrize("name", ["spaceverse", "token-regions", "offload-after", "offload-after-contact"])
def test_the_bounds_that_are_told_are_those_that_decide(name: str) -> None:
    """With any bound above the confidence a frame goes down, and with one below it the answer is taken."""
    for threshold, accepts in ((0.05, True), (0.95, False)):
        field = "accept_at_end" if name == "spaceverse" else "accept_confidence"
        parameters = {field: threshold} | (
            {"offload_below_at_0": 0.0, "offload_below": 0.0, "accept_from": 1.0}
            if name == "spaceverse"
            else {}
        )
        decision, stages, _ = judged(policy_named(name, parameters))
        assert isinstance(decision, Accept) == accepts
        last = stages[-1]
        assert last.finished and last.accept_from == last.offload_below == threshold
        assert last.confidence is not None and (last.confidence >= threshold) == accepts
        assert all(one.accept_from in (None, 1.0) and not one.finished for one in stages[:-1])


def test_bounds_of_a_users_policy_that_fail_are_failures_of_the_policy() -> None:
    class Policy:
        def decide(self, situation: object) -> Decision:
            return Accept()

        def bounds(self, situation: object) -> Bounds:
            raise KeyError("no such bound")

    with pytest.raises(PartError, match="no such bound"):
        judged(Policy())
