"""Settings that tasks change: the task with the highest number holds, in whatever order they come."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.contract.config import SatelliteConfig
from nodes.contract.files import FILE, WEIGHTS, network_sha256, read_network
from nodes.contract.messages import NetworkTask, Order, PolicyTask, PriorityTask
from nodes.errors import ConfidenceError
from nodes.models import COMPACT
from nodes.onboard.changes import Changes
from nodes.onboard.judge import Judge
from tests.support.nodes.made_up_network import write_network

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
        changes = Changes(CONFIG, Judge())
        changes.add_all(order)
        assert changes.policy().accept_confidence == 0.9  # type: ignore[attr-defined]
        assert changes.values == {"f": 5.0} and changes.send_order == "newest"


def test_parameters_that_the_policy_does_not_take_change_nothing() -> None:
    changes = Changes(CONFIG, Judge())
    with pytest.raises(ValueError, match="no parameter no_such"):
        changes.add(policy(1, no_such=1))
    changes.add_all([policy(1, no_such=1), policy(2, accept_confidence=0.7)])
    assert changes.policy().accept_confidence == 0.7  # type: ignore[attr-defined]
    assert changes.send_order == "oldest" and changes.values == {}


FLYING = CONFIG.model_copy(update={"model": str(COMPACT)})


def network(number: int, folder: Path, **changed: bytes) -> Order:
    """A network as it goes up; `changed` replaces a file on its way."""
    files = read_network(folder)
    sent = {
        name: base64.b64encode(changed.get(name.partition(".")[2], data)).decode()
        for name, data in files.items()
    }
    task = NetworkTask(name=f"n{number}", sha256=network_sha256(files), files=sent)
    return Order(number=number, satellite="s", task=task)


def test_the_last_network_judges_and_the_one_before_it_when_it_is_given_up(tmp_path: Path) -> None:
    configured = Judge.load(write_network(tmp_path / "configured", 0.5))
    first, second = (
        network(number, write_network(tmp_path / str(number), 0.2 * number)) for number in (1, 2)
    )
    for orders in permutations((first, second)):
        changes = Changes(FLYING, configured)
        changes.add_all(orders)
        latest = changes.judge
        assert latest.version == network_sha256(read_network(tmp_path / "2"))[:12]
        assert latest.confidence(0, np.zeros(288)) == pytest.approx(0.4)
        assert (changes.give_up(latest), changes.give_up(latest)) == ("n2", None)
        before = changes.judge
        assert before.version == network_sha256(read_network(tmp_path / "1"))[:12]
        assert changes.give_up(before) == "n1" and changes.judge is configured
        assert changes.give_up(configured) is None


def spoilt(folder: Path, **part: Any) -> Path:
    """Write a network of which a part of a head is another one."""
    about = Judge.load(write_network(folder, 0.5))
    assert about.network is not None
    heads = about.network.heads["correctness"]
    heads[1] = replace(heads[1], **part)
    about.network.save(folder)
    return folder


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"bias": np.array([np.nan])}, "stage 1 for correctness has numbers that are not finite"),
        ({"scale": np.zeros(163)}, "divides by zero"),
        ({"out": np.zeros(2)}, "shapes that do not fit"),
        ({"mean": np.zeros(9)}, "expects 9 features, and the model has 163"),
    ],
)
def test_a_network_that_cannot_work_is_refused_and_the_old_one_stays(
    tmp_path: Path, part: dict[str, Any], problem: str
) -> None:
    changes = Changes(FLYING, configured := Judge.load(write_network(tmp_path / "configured", 0.5)))
    with pytest.raises(ConfidenceError, match=problem):
        changes.add(network(1, spoilt(tmp_path / "spoilt", **part)))
    assert changes.judge is configured


def test_a_network_that_is_damaged_or_for_another_model_is_refused(tmp_path: Path) -> None:
    changes = Changes(FLYING, Judge())
    sound = write_network(tmp_path / "sound", 0.5)
    for name in (FILE, WEIGHTS):
        with pytest.raises(ConfidenceError, match="another checksum"):
            changes.add(network(1, sound, **{name.partition(".")[2]: b"x"}))
    (tmp_path / "sound" / WEIGHTS).write_bytes(b"\x80\x04cposix\nsystem\n")  # of a pickle
    with pytest.raises(ConfidenceError, match="holds no confidence network"):
        changes.add(network(1, sound))
    for weights in ("of another model", ""):
        with pytest.raises(ConfidenceError, match="trained for other weights"):
            changes.add(network(1, write_network(tmp_path / "other", 0.5, weights=weights)))
    assert changes.judge == Judge()
