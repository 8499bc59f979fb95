"""The confidence network and thresholds that ship with the pair fit its compact model and all policies."""

from __future__ import annotations

from nodes.models import COMPACT, CONFIDENCE, POLICY_PARAMETERS
from nodes.onboard.confidence import END
from nodes.onboard.judge import Judge
from nodes.policies import POLICIES, policy_named
from nodes.policies.registry import parameters_in
from nodes.vlm.folder import fingerprint


def test_the_network_is_of_the_shipped_weights_and_has_a_head_for_each_stage() -> None:
    judge = Judge.load(CONFIDENCE)
    assert judge.network is not None
    judge.network.check(like=None)
    assert judge.network.about["weights"] == fingerprint(COMPACT), "run spaceverse eval, and copy its results"
    assert judge.network.heads[judge.target].keys() == {0, *judge.layout.stage_tokens, END}


def test_the_thresholds_are_parameters_of_their_policies() -> None:
    for name in POLICIES:
        policy_named(name, parameters_in(POLICY_PARAMETERS, name))
    assert parameters_in(POLICY_PARAMETERS, "spaceverse").keys() >= {"offload_below_at_0", "accept_at_end"}
