"""Tasks of a scenario: checked against it, and given to nodes without their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.contract.files import FILE, NETWORK_MAX_BYTES, WEIGHTS
from nodes.contract.messages import NetworkTask
from testbed.errors import ScenarioError
from testbed.scenario.model import Scenario, to_json
from testbed.scenario.tasks import NetworkChange, PolicyChange, Priority, Question, order_of
from tests.unit.testbed.scenario.dishes.test_plan import scenario as without_tasks

ASKED = {
    "what": "question", "at_s": 5, "satellite": "A", "name": "q", "frame": "fA", "prompt": "?", "truth": "no",
}  # fmt: skip


def scenario(folder: Path, *tasks: Any) -> Scenario:
    return Scenario.model_validate({**dict(without_tasks(folder)), "tasks": tasks})


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({**ASKED, "satellite": "C"}, "'question' at 5 s refers to unknown satellite 'C'"),
        ({**ASKED, "frame": "fB"}, "'A' has no frame 'fB'"),
        ({**ASKED, "at_s": 0.5}, "asks about 'fA' before its capture at 1 s"),
        ({**ASKED, "name": "fB"}, "the name 'fB' is taken"),
        ({**ASKED, "what": "ask"}, "does not match any of the expected tags"),
        ({"what": "priority", "at_s": 1, "satellite": "A"}, "this task changes nothing"),
        ({"what": "priority", "at_s": 1, "satellite": "A", "frame": "fA"}, "set frame and value together"),
        ({"what": "policy", "at_s": 1, "satellite": "A"}, "this task changes nothing"),
        ({"what": "policy", "at_s": 1, "satellite": "A", "accept_confidence": 2}, "less than or equal to 1"),
    ],
)
def test_a_task_that_cannot_be_is_refused(tmp_path: Path, task: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        scenario(tmp_path, task)


def test_a_board_takes_no_tasks(tmp_path: Path) -> None:
    made = without_tasks(tmp_path)
    a, b = (dict(satellite) for satellite in made.satellites)
    with pytest.raises(ValidationError, match="needs an emulated satellite; 'A' is a board"):
        Scenario.model_validate({**dict(made), "satellites": (a | {"board": "x"}, b), "tasks": (ASKED,)})


def test_a_network_is_checked_before_the_run_and_named_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    made = scenario(tmp_path, NetworkChange(at_s=6, satellite="A", network=folder))
    with pytest.raises(ScenarioError, match=r"'network' at 6 s: no confidence network at .*No such file"):
        made.check_files()
    folder.mkdir()
    for name in (FILE, WEIGHTS):
        (folder / name).write_bytes(b"{}")
    made.check_files()
    again = Scenario.model_validate_json(to_json(made))
    assert again.tasks == made.tasks
    order = order_of(1, made.tasks[0])
    assert isinstance(order.task, NetworkTask) and order.task.folder == folder
    (folder / WEIGHTS).write_bytes(b"other")
    changed = order_of(1, made.tasks[0])
    assert isinstance(changed.task, NetworkTask) and changed.task.sha256 != order.task.sha256
    (folder / WEIGHTS).write_bytes(bytes(NETWORK_MAX_BYTES))
    with pytest.raises(ScenarioError, match="a confidence network has at most"):
        made.check_files()


def test_tasks_survive_a_file_and_nodes_never_see_the_truth(tmp_path: Path) -> None:
    question = Question(**{**ASKED, "truth": "secret"}, expires_after_s=10, value=3)
    change = PolicyChange(at_s=6, satellite="A", accept_confidence=0.5, parameters={"x": 1})
    made = scenario(tmp_path, question, change, Priority(at_s=7, satellite="B", send_order="value"))
    assert Scenario.model_validate_json(to_json(made)).tasks == made.tasks
    first, second, third = (order_of(number, task) for number, task in enumerate(made.tasks, start=1))
    assert "secret" not in first.model_dump_json()
    assert first.satellite == "a" and first.task.expires_s == 15  # type: ignore[union-attr]
    assert second.task.parameters == {"x": 1, "accept_confidence": 0.5}  # type: ignore[union-attr]
    assert (third.task.name, third.task.frame) == ("task-3", None)  # type: ignore[union-attr]
    assert list(made.questions()) == ["q"]
