"""What a board's agent says is taken in its own form only, whoever sends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.board.facts import facts
from nodes.contract.board import AgentState


def said(**fields: Any) -> bytes:
    return json.dumps({"state": "running", "run": "r", "reason": None} | fields).encode()


def test_what_agents_say_is_taken() -> None:
    own = facts(None)
    state = AgentState.model_validate_json(said(facts=own, later="field"))
    assert (state.state, state.reason) == ("running", None)
    assert state.facts is not None and state.facts.model_dump(mode="json") == own
    assert AgentState.model_validate_json(b'{"state": "gone"}').facts is None


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"rubbish", b"7", b"[]", b"null", b"[" * 100_000, b'{"state": ' + b"[" * 100_000, b"\xff\xfe"),
        *(said(state=value) for value in (7, None, [], {}, "", "x" * 101)),
        *(said(reason=value) for value in (7, [], {})),
        b'{"state": "\\ud800"}',
    ],
)
def test_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises(ValidationError):
        AgentState.model_validate_json(payload)


@pytest.mark.parametrize(
    "changed",
    [7, [], "text", {}, {"free_bytes": "many"}, {"free_bytes": 1e999}, {"packages": {"torch": {"a": []}}},
     {"chrony": {"bound_s": 1}}, {"models": {"a": 1}}],
)  # fmt: skip
def test_facts_of_another_form_are_left_out(changed: Any) -> None:
    given = facts(None) | changed if isinstance(changed, dict) and changed else changed
    state = AgentState.model_validate_json(said(facts=given))
    assert (state.state, state.facts) == ("running", None)
    json.dumps(state.model_dump(mode="json"), allow_nan=False)
