"""Policies: their decisions, stage by stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.policies import (
    ABLATIONS,
    BASELINES,
    CAPTURED,
    POLICIES,
    Accept,
    Contact,
    Continue,
    Decision,
    Drop,
    Foresight,
    FramePolicy,
    Queue,
    Reading,
    SendReduced,
    SendRegions,
    SendWhole,
    Situation,
    decide_frame,
    policy_named,
)
from nodes.policies.send_order import order_of, value_of
from nodes.policies.spaceverse import SpaceVerse

READINGS = (
    Reading(0, finished=False, confidence=0.5, token_confidence=None, answer=""),
    Reading(1, finished=False, confidence=0.6, token_confidence=0.7, answer="two"),
    Reading(2, finished=True, confidence=0.7, token_confidence=0.8, answer="two ships"),
)
PLENTY = Contact(left_s=300, left_bytes=1e9), Queue(captures_left=10)


class Replayed:
    """A compact model that has answered before; counts what it was asked to compute."""

    def __init__(self, readings: tuple[Reading, ...] = READINGS) -> None:
        self.readings = readings
        self.computed = 0

    def advance(self) -> Reading:
        self.computed += 1
        return self.readings[self.computed - 1]

    def finish(self) -> Reading:
        self.computed = len(self.readings)
        return self.readings[-1]


def decide(policy: FramePolicy, run: Replayed, foresight: Foresight | None = None) -> Decision:
    return decide_frame(policy, run, "how many?", 100_000, lambda: PLENTY, foresight)[0]


@pytest.mark.parametrize(
    ("name", "parameters", "expected", "computed"),
    [
        ("satellite-only", {}, Accept(), 3),
        ("ground-only", {}, SendWhole(), 0),
        ("ground-only-downsampled", {"reduction": 4}, SendReduced(4), 0),
        ("offload-after", {"accept_confidence": 0.8}, Accept(), 3),
        ("offload-after", {"accept_confidence": 0.81}, SendWhole(), 3),
        ("cascade", {"accept_probability": 0.8}, Accept(), 3),
        ("cascade", {"accept_probability": 0.8, "offset": -0.1}, SendWhole(), 3),
        ("two-threshold", {"drop_below": 0.1, "accept_confidence": 0.8}, Accept(), 3),
        ("two-threshold", {"drop_below": 0.1, "accept_confidence": 0.9}, SendWhole(), 3),
        ("two-threshold", {"drop_below": 0.81, "accept_confidence": 0.9}, Drop(), 3),
        ("spaceverse", {"offload_below_at_0": 0.51, "shares": [0.1]}, SendRegions(10_000), 1),
        ("spaceverse", {"offload_below_at_0": 0.5, "accept_from": 0.6}, Accept(), 3),
        ("spaceverse", {"offload_below": 0.61, "shares": [0.1, 0.2]}, SendRegions(20_000), 2),
        ("spaceverse", {"accept_at_end": 0.7}, Accept(), 3),
        ("spaceverse", {"accept_at_end": 0.71, "shares": [0.1]}, SendRegions(10_000), 3),
        ("spaceverse-without-stage-0", {"offload_below_at_0": 1.0, "accept_at_end": 0.1}, Accept(), 3),
        ("spaceverse-without-later-stages", {"accept_at_end": 0.6, "shares": [0.1]}, SendRegions(10_000), 1),
        ("spaceverse-without-regions", {"offload_below_at_0": 0.51}, SendWhole(), 1),
        ("token-regions", {"accept_confidence": 0.8}, Accept(), 3),
        ("token-regions", {"accept_confidence": 0.81, "shares": [0.1, 0.2]}, SendRegions(20_000), 3),
        ("kind-lookup", {"sent_prompts": ["how many ships?"], "shares": [0.1]}, SendRegions(10_000), 0),
        ("kind-lookup", {"kept_prompts": ["how many?"], "sent_prompts": ["is it dark?"]}, Accept(), 3),
        ("offload-after-contact", {"accept_confidence": 0.81}, SendWhole(), 3),
        ("ground-only-newest", {}, SendWhole(), 0),
        ("ground-only-fit", {"reductions": [2, 3]}, SendReduced(2), 0),
        ("ground-only-quality", {}, SendWhole(), 0),
        ("grace-two-tests", {"other_prompts": ["how many?"]}, SendWhole(), 0),
        ("grace-two-tests", {"known_prompts": ["how many?"], "accept_confidence": 0.8}, Accept(), 3),
        ("grace-two-tests", {"known_prompts": ["how many?"], "accept_confidence": 0.81}, SendWhole(), 3),
        ("serval", {}, SendWhole(), 3),
    ],
)
def test_decisions(name: str, parameters: dict[str, object], expected: Decision, computed: int) -> None:
    run = Replayed()
    assert decide(policy_named(name, parameters), run) == expected
    assert run.computed == computed


def at(situation_contact: Contact, queue: Queue, **changes: object) -> Situation:
    made = Situation("how many?", 1, True, 0.2, 0.2, "two", 100_000, situation_contact, queue)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_spaceverse_sends_what_the_contact_can_spare() -> None:
    policy = SpaceVerse(shares=(0.1, 0.2, 0.4), offload_share=0.5)
    sizes = [
        policy.decide(at(Contact(left_s=60, left_bytes=left), Queue(captures_left=8)))
        for left in (1e6, 150_000, 60_000, 30_000)
    ]
    assert sizes == [SendRegions(40_000), SendRegions(20_000), SendRegions(10_000), Accept()]
    busy = at(Contact(left_s=60, left_bytes=1e6), Queue(size_bytes=900_000, captures_left=8))
    assert policy.decide(busy) == SendRegions(20_000)
    whole = replace(policy, regions=False)
    parts = [Contact(left_s=60, left_bytes=left) for left in (300_000, 600_000)]  # the frame has 100 kB
    assert [type(whole.decide(at(left, Queue(captures_left=8)))) for left in parts] == [Accept, SendWhole]
    blind = replace(policy, contact_aware=False)
    assert blind.decide(at(Contact(left_s=60, left_bytes=0), Queue())) == SendRegions(40_000)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3), st.booleans(), st.floats(0, 1e7))
def test_every_policy_decides_at_the_end_and_never_wants_more(
    confidence: float, tokens: float, stage: int, finished: bool, left_bytes: float
) -> None:
    situation = at(
        Contact(left_s=9, left_bytes=left_bytes),
        Queue(),
        stage=stage,
        finished=finished,
        confidence=confidence,
        token_confidence=tokens,
        foresight=Foresight(False, lambda _: False),
    )
    largest = SpaceVerse().shares[-1] * situation.whole_bytes
    for name in POLICIES:
        decision = policy_named(name).decide(situation)
        assert not (finished and isinstance(decision, Continue)), name
        assert not (isinstance(decision, SendRegions) and decision.budget_bytes > max(left_bytes, largest))


def test_the_oracle_takes_the_cheapest_right_answer_and_only_with_foresight() -> None:
    oracle = policy_named("oracle", {"shares": [0.1, 0.5]})
    assert decide(oracle, Replayed(), Foresight(True, lambda _: True)) == Accept()
    assert decide(oracle, Replayed(), Foresight(False, lambda _: True)) == SendRegions(10_000)
    only_large = Foresight(False, lambda d: d in (SendRegions(50_000), SendWhole()))
    assert decide(oracle, Replayed(), only_large) == SendRegions(50_000)
    assert decide(oracle, Replayed(), Foresight(False, lambda d: d == SendWhole())) == SendWhole()
    assert decide(oracle, Replayed(), Foresight(False, lambda _: False)) == Accept()
    with pytest.raises(ValueError, match="upper bound"):
        decide(oracle, Replayed())


def test_cascade_is_monotone_and_calibrated_by_its_parameters() -> None:
    cascade = policy_named("cascade", {"slope": 0.5, "offset": 0.2})
    probabilities = [cascade.probability(c) for c in (None, 0.0, 0.1, 0.5, 0.9, 1.0)]  # type: ignore[attr-defined]
    assert probabilities == sorted(probabilities)
    assert probabilities[3] == pytest.approx(1 / (1 + 2.718281828**-0.2))


class Endless:
    def decide(self, situation: Situation) -> Decision:
        return Continue()


def test_a_policy_that_never_decides_is_an_error() -> None:
    with pytest.raises(ValueError, match="after the answer's end"):
        decide(Endless(), Replayed())


def test_a_policy_sees_its_stages_and_surroundings() -> None:
    seen: list[Situation] = []

    class Watching:
        def decide(self, situation: Situation) -> Decision:
            seen.append(situation)
            return Accept() if situation.finished else Continue()

    moments = iter(range(10))

    def surroundings() -> tuple[Contact, Queue]:
        return Contact(left_s=100 - next(moments)), Queue()

    decision, reading = decide_frame(Watching(), Replayed(), "how many?", 7, surroundings)
    assert (decision, reading) == (Accept(), READINGS[-1])
    assert [s.stage for s in seen] == [CAPTURED, 0, 1, 2]
    assert [s.contact.left_s for s in seen] == [100, 99, 98, 97]
    assert seen[0].token_confidence is None
    assert seen[2].answer == "two"


MINE = """
from dataclasses import dataclass
from nodes.policies import Accept, Continue, SendWhole

@dataclass(frozen=True)
class Policy:
    letters: int = 5

    def decide(self, situation):
        if not situation.finished:
            return Continue()
        return Accept() if len(situation.answer) > self.letters else SendWhole()
"""


def test_a_user_adds_a_policy_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    assert decide(policy_named(str(path)), Replayed()) == Accept()
    assert decide(policy_named(str(path), {"letters": 50}), Replayed()) == SendWhole()


def test_what_is_no_policy_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0")
    for name, parameters, text in (
        ("spaceverze", {}, "did you mean spaceverse"),
        ("offload-after", {"accept": 1}, "has no parameter accept; its parameters: accept_confidence"),
        (str(tmp_path / "none.py"), {}, "none.py does not exist"),
        (str(tmp_path / "empty.py"), {}, "defines no class Policy"),
        (str(tmp_path / "broken.py"), {}, "ZeroDivisionError"),
    ):
        with pytest.raises(ValueError, match=text) as caught:
            policy_named(name, parameters)
        assert "\n" not in str(caught.value)


def test_baselines_and_ablations_are_known_by_name() -> None:
    assert {*BASELINES, *ABLATIONS, "spaceverse", "oracle"} == set(POLICIES)
    without = {name: policy_named(name) for name in ABLATIONS}
    full = SpaceVerse()
    for policy in without.values():
        differing = [f for f in full.__dataclass_fields__ if getattr(policy, f) != getattr(full, f)]
        assert len(differing) == 1


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("token-regions", {"accept_confidence": 0.9, "shares": [0.2, 0.4]}, SendRegions(20_000)),
        ("kind-lookup", {"sent_prompts": ["how many?"], "shares": [0.4, 0.2]}, SendRegions(20_000)),
        ("offload-after-contact", {}, Accept()),
        ("ground-only-fit", {}, SendReduced(4)),
        ("ground-only-fit", {"reductions": [1, 2]}, Accept()),
        ("ground-only-quality", {"qualities": [60, 20, 5], "shares": [0.6, 0.29, 0.1]}, SendReduced(1, 20)),
        ("ground-only-quality", {}, Accept()),
        ("offload-after", {}, SendWhole()),
    ],
)
def test_the_contact_rule_sizes_a_message_or_answers_on_board(
    name: str, parameters: dict[str, object], expected: Decision
) -> None:
    """The contact carries 30 % of a frame."""
    policy = policy_named(name, parameters)
    assert policy.decide(at(Contact(left_s=9.0, left_bytes=50_000.0), Queue(20_000, 1, 0))) == expected


def test_a_policy_may_rate_frames_and_set_the_order_of_sending() -> None:
    serval = policy_named("serval", {"urgent_below": 0.5})
    urgent, other = (Reading(3, True, None, confidence, "two") for confidence in (0.4, 0.5))
    assert (value_of(serval, urgent), value_of(serval, other)) == (1.0, 0.0)
    assert (order_of(serval, "oldest"), order_of(policy_named("ground-only-newest"), "oldest")) == (
        "value",
        "newest",
    )
    assert value_of(policy_named("spaceverse"), urgent) is None
    assert order_of(policy_named("spaceverse"), "deadline") == "deadline"
