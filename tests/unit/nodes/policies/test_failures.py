"""Policies that raise, or return what is no decision: the error names the user's file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.errors import PartError
from nodes.policies import Contact, Queue, decide_frame, policy_named
from nodes.policies.situation import Reading

END = Reading(5, finished=True, confidence=0.5, token_confidence=0.5, answer="two")


class Run:
    """A model whose answer is complete at once."""

    def advance(self) -> Reading:
        return END

    finish = advance


def decide(path: Path) -> object:
    policy = policy_named(str(path))
    return decide_frame(policy, Run(), "how many?", 1000, lambda: (Contact(), Queue()))


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        ("helper()", 4, "RuntimeError: boom"),
        ("return None", 6, "decide returned None"),
        ("return 'accept'", 6, "decide returned 'accept'"),
        ("return Accept", 6, "return an object, Accept"),
        ("return SendReduced('2')", 6, "a whole number from 1"),
        ("return SendReduced(0)", 6, "a whole number from 1"),
        ("return SendRegions('9')", 6, "a number of bytes"),
        ("return SendRegions(float('nan'))", 6, "a number of bytes"),
        ("return Continue()", 6, "after the answer's end"),
        ("return situation.token_confidence < '0.9'", 7, "TypeError: '<' not supported"),
        ("import math; math.sqrt('a')", 7, "TypeError: must be real number"),
    ],
)
def test_the_error_names_the_policys_file_and_line(tmp_path: Path, body: str, line: int, reason: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from nodes.policies import *\n"
        "from nodes.policies import Accept, Continue, SendReduced, SendRegions\n"
        "def helper():\n"
        "    raise RuntimeError('boom\\nsecond line')\n"
        "class Policy:\n"
        "    def decide(self, situation):\n"
        f"        {body}\n"
    )
    with pytest.raises(PartError, match=r"^policy .*mine\.py, line") as caught:
        decide(path)
    assert caught.value.where is not None and f"{path}, line {line}, in " in caught.value.where
    assert reason in caught.value.reason and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("offload-after", {"accept_confidence": "0.9"}, "accept_confidence is '0.9', not a number"),
        ("offload-after", {"accept_confidence": float("nan")}, "is nan, not a number"),
        ("offload-after", {"accept_confidence": None}, "is None, not a number"),
        ("spaceverse", {"regions": "no"}, "regions is 'no', not true or false"),
        ("spaceverse", {"shares": ["0.1"]}, "not a list of numbers"),
        ("spaceverse", {"shares": 0.1}, "not a list of numbers"),
    ],
)
def test_a_parameter_of_another_kind_is_refused(
    name: str, parameters: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match="parameter") as caught:
        policy_named(name, parameters)
    assert reason in str(caught.value)


@pytest.mark.parametrize("of_class", [True, False])
def test_a_policy_that_cannot_be_created_names_its_line(tmp_path: Path, of_class: bool) -> None:
    path = tmp_path / "mine.py"
    inner = "    def __init__(self):\n        raise KeyError('no such file')\n" if of_class else ""
    outer = "" if of_class else "1 / 0\n"
    path.write_text(f"class Policy:\n{inner}    def decide(self, situation):\n        return None\n{outer}")
    with pytest.raises(ValueError, match="KeyError" if of_class else "ZeroDivisionError") as caught:
        policy_named(str(path))
    assert f"{path}, line {3 if of_class else 4}" in str(caught.value)
