"""Settings that tasks change: the task with the highest number holds, in whatever order they come."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from nodes.contract.config import SatelliteConfig
from nodes.contract.messages import Order, PolicyTask, PriorityTask
from nodes.onboard.changes import Changes

CONFIG = SatelliteConfig.model_validate(
    {
        "name": "S", "model": "m", "management": {"host": "h"}, "stations": [{"name": "G", "host": "g"}],
        "outbox": "o", "rate_bit_s": 1e6, "accept_confidence": 0.5,
    }
)  # fmt: skip


def policy(number: int, **parameters: Any) -> Order:
    return Order(number=number, satellite="s", task=PolicyTask(name=f"p{number}", parameters=parameters))


def priority(number: int, **values: Any) -> Order:
    return Order(number=number, satellite="s", task=PriorityTask(name=f"p{number}", **values))


def test_the_last_task_holds_whichever_comes_first() -> None:
    tasks = (
        policy(1, accept_confidence=0.1),
        policy(2, accept_confidence=0.9),
        priority(3, frame="f", value=2.0),
        priority(4, frame="f", value=5.0, send_order="newest"),
    )
    for order in permutations(tasks):
        changes = Changes(CONFIG)
        changes.add_all(order)
        assert changes.policy().accept_confidence == 0.9  # type: ignore[attr-defined]
        assert changes.values == {"f": 5.0} and changes.send_order == "newest"


def test_parameters_that_the_policy_does_not_take_change_nothing() -> None:
    changes = Changes(CONFIG)
    with pytest.raises(ValueError, match="no parameter no_such"):
        changes.add(policy(1, no_such=1))
    changes.add_all([policy(1, no_such=1), policy(2, accept_confidence=0.7)])
    assert changes.policy().accept_confidence == 0.7  # type: ignore[attr-defined]
    assert changes.send_order == "oldest" and changes.values == {}
