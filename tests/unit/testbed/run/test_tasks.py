"""Tasks are handed over at their times, to all who may send them, and no jump passes one."""

from __future__ import annotations

import math
from pathlib import Path

from nodes.contract.events import EventRecord, TaskAsked, TaskQueued, TaskRefused
from testbed.run.tasks import RunTasks
from testbed.scenario.tasks import PolicyChange, Question
from tests.unit.testbed.scenario.test_tasks import ASKED, scenario


def told(node: str, event: TaskQueued | TaskRefused) -> EventRecord:
    return EventRecord(node=node, monotonic_s=0.0, event=event)


def test_a_task_is_handed_over_at_its_time_and_no_jump_passes_it(tmp_path: Path) -> None:
    made = scenario(tmp_path, PolicyChange(at_s=9, satellite="B", accept_confidence=0.5), Question(**ASKED))
    handed, events = [], []
    tasks = RunTasks(
        made,
        lambda node, order: handed.append((node, order.satellite, order.task.name)),
        lambda event, time_s: events.append((time_s, event)),
    )
    assert tasks.next_s() == 5
    tasks.look(4.9)
    assert handed == []
    tasks.look(5.3)
    assert handed == [("G", "a", "q")]
    assert events == [(5, TaskAsked(task="q", what="question", satellite="A"))]
    assert tasks.next_s() == 5, "until the ground has it, nobody else may know of it"
    tasks.heard(told("G", TaskQueued(task="q")))
    assert tasks.next_s() == 9
    tasks.look(10)
    tasks.heard(told("G", TaskQueued(task="task-1")))
    assert tasks.next_s() == math.inf and handed[1:] == [("G", "b", "task-1")]


def test_a_question_that_all_have_given_up_is_not_waited_for(tmp_path: Path) -> None:
    made = scenario(tmp_path, Question(**ASKED))
    tasks = RunTasks(made, lambda *_: None, lambda *_: None)
    tasks.look(6)
    assert tasks.ended == set()
    tasks.heard(told("G", TaskRefused(task="q", reason="it expired")))
    assert tasks.ended == {"q"}
