"""Hands the tasks of a scenario to the ground, each at its time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from nodes.contract.events import Event, EventRecord, TaskAsked, TaskQueued, TaskRefused
from nodes.contract.files import network_version
from nodes.contract.messages import NetworkTask, Order
from testbed.scenario.model import Scenario
from testbed.scenario.tasks import order_of, task_name

TAKEN_WITHIN_S = 5.0  # real; until then no jump of scenario time is made

HandOver = Callable[[str, Order], None]
Report = Callable[[Event, float], None]


class RunTasks:
    """The tasks of a run.

    They go to every ground program that the satellite connects to: whichever it finds first sends them, and
    the satellite takes each once.

    Args:
        scenario: the scenario.
        hand_over: gives a task to a ground program, by its name.
        report: takes an event and its scenario time.
    """

    def __init__(self, scenario: Scenario, hand_over: HandOver, report: Report) -> None:
        self._scenario = scenario
        self._hand_over, self._report = hand_over, report
        self._left = sorted(enumerate(scenario.tasks, start=1), key=lambda one: one[1].at_s)
        # Files may change or vanish during the run.
        self._orders = {number: order_of(number, task) for number, task in self._left}
        self._untaken: dict[str, float] = {}  # handed over, by name: until when to wait for it
        self._just_s = math.inf
        self._refused: dict[str, set[str]] = {}  # by question: who gave it up
        self._lock = threading.Lock()
        self.ended: set[str] = set()  # questions that nobody will answer

    def next_s(self) -> float:
        """Return the scenario time of the next task, or of one that no ground program has confirmed yet.

        No jump passes it; it is infinite if there is none.
        """
        with self._lock:
            if any(until_s > time.monotonic() for until_s in self._untaken.values()):
                return self._just_s
            return self._left[0][1].at_s if self._left else math.inf

    def look(self, now_s: float) -> None:
        """Hand over what is due; to be called often."""
        while self._left and self._left[0][1].at_s <= now_s:
            with self._lock:
                number, task = self._left.pop(0)
                name = task_name(number, task)
                self._untaken[name], self._just_s = time.monotonic() + TAKEN_WITHIN_S, task.at_s
            order = self._orders[number]
            network = network_version(order.task.sha256) if isinstance(order.task, NetworkTask) else None
            asked = TaskAsked(task=name, what=task.what, satellite=task.satellite, network=network)
            self._report(asked, task.at_s)
            for receiver in self._scenario.receivers_of(task.satellite):
                self._hand_over(receiver, order)

    def heard(self, record: EventRecord) -> None:
        """Note what a node reports of tasks."""
        event = record.event
        if not isinstance(event, TaskQueued | TaskRefused):
            return
        with self._lock:
            self._untaken.pop(event.task, None)
        question = self._scenario.questions().get(event.task)
        if isinstance(event, TaskRefused) and question is not None:
            refused = self._refused.setdefault(question.name, set())
            refused.add(record.node)
            # What one station gives up, another may have sent.
            if question.satellite in refused or refused >= set(
                self._scenario.receivers_of(question.satellite)
            ):
                self.ended.add(question.name)
