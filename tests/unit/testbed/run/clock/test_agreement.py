"""Jumps are agreed to only while no node has anything to do, however late messages come."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.contract.messages import Idleness as Told
from nodes.runtime.idleness import Idleness
from testbed.run.clock.agreement import ANSWERS_WITHIN_S, Agreement, Ask, Jump

WORTH_S = 0.05


class Events:
    """Real time of a simulation: calls in order of their moments, and on each channel in order of sending."""

    def __init__(self, random: Random) -> None:
        self.now_s = 0.0
        self._random = random
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._last_s: dict[object, float] = {}

    def after(self, delay_s: float, call: Callable[[], None], channel: object = None) -> None:
        at_s = self.now_s + delay_s
        if channel is not None:
            at_s = self._last_s[channel] = max(at_s, self._last_s.get(channel, 0.0))
        heapq.heappush(self._waiting, (at_s, next(self._count), call))

    def sometime(self, longest_s: float, call: Callable[[], None], channel: object = None) -> None:
        self.after(self._random.uniform(0, longest_s), call, channel)

    def run(self, calls: int) -> None:
        for _ in range(calls):
            self.now_s, _, call = heapq.heappop(self._waiting)
            call()


@dataclass
class Node:
    """Works at times of its own, and when it is sent something; passes it on, and waits for the receipt."""

    run: Run
    name: str
    own_s: list[float]  # scenario times of its own events
    idleness: Idleness = field(default_factory=Idleness)
    working: int = 0
    unconfirmed: int = 0
    changes: int = 0

    def __post_init__(self) -> None:
        self.idleness.watch(self.due_s)
        self.idleness._changes = lambda: self.changes
        self.changed()

    def due_s(self) -> float:
        if self.working or self.unconfirmed:
            return -math.inf
        return self.own_s[0] if self.own_s else math.inf

    def changed(self) -> None:
        self.idleness.changed()
        self.run.events.sometime(0.02, lambda: self.run.tell(self, None))

    def wake(self) -> None:
        """Work on what is due."""
        if self.own_s and self.own_s[0] <= self.run.time_s():
            self.begin()
            self.own_s.pop(0)
            self.changed()

    def begin(self) -> None:
        self.working += 1
        self.changed()
        self.run.events.sometime(0.004, self.end)

    def end(self) -> None:
        random = self.run.random
        if random.random() < 0.95:
            other = random.choice(self.run.nodes)
            self.unconfirmed += 1
            self.run.events.sometime(0.004, lambda: other.take(self))
        self.working -= 1
        self.changed()

    def take(self, sender: Node) -> None:
        if self.run.random.random() < 0.95:
            self.begin()
        self.run.events.sometime(0.002, sender.confirm)

    def confirm(self) -> None:
        self.unconfirmed -= 1
        self.changed()


class Run:
    """Nodes, and an agreement that is told of them with delays; checks each jump."""

    def __init__(self, random: Random, nodes: int) -> None:
        self.random = random
        self.events = Events(random)
        self.offset_s = 0.0
        self.jumps = 0
        self.agreement = Agreement([f"n{k}" for k in range(nodes)], 0.0)
        self.nodes: list[Node] = []
        for k in range(nodes):
            own_s = sorted(random.uniform(0, 60) for _ in range(40))
            self.nodes.append(Node(self, f"n{k}", own_s))
        self.look()

    def time_s(self) -> float:
        return self.events.now_s + self.offset_s

    def tell(self, node: Node, question: int | None) -> None:
        told = node.idleness.look(question)
        self.events.sometime(0.01, lambda: self.heard(node, told), node.name)

    def heard(self, node: Node, told: Told) -> None:
        self.agreement.tell(node.name, told)
        self.step()

    def look(self) -> None:
        for node in self.nodes:
            node.wake()
        self.step()
        self.events.after(0.004, self.look)

    def step(self) -> None:
        decided = self.agreement.step(self.events.now_s, self.time_s(), (), WORTH_S)
        if isinstance(decided, Ask):
            for node in self.nodes:
                self.events.sometime(
                    0.01, lambda node=node: self.tell(node, decided.question), f"to {node.name}"
                )
        elif decided is not None:
            self.check(decided)
            self.jumps += 1
            self.offset_s += decided.to_s - self.time_s()
            self.agreement.changed(self.jumps, self.events.now_s)
            for node in self.nodes:
                self.events.sometime(
                    0.01, lambda node=node, n=self.jumps: self.follow(node, n), f"to {node.name}"
                )

    def follow(self, node: Node, changes: int) -> None:
        node.changes = changes
        node.changed()

    def check(self, jump: Jump) -> None:
        assert all(not node.working for node in self.nodes), "a node computes"
        assert all(not node.unconfirmed for node in self.nodes), "something is under way"
        assert all(jump.to_s <= node.own_s[0] for node in self.nodes if node.own_s), "past an event"
        assert jump.to_s > self.time_s()


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=True), st.integers(2, 5))
def test_no_jump_passes_an_event_or_leaves_work_behind(random: Random, nodes: int) -> None:
    Run(random, nodes).events.run(1000)


def test_the_simulated_nodes_do_jump_and_get_through_all_their_events() -> None:
    run = Run(Random(1), 4)  # noqa: S311
    while any(node.own_s for node in run.nodes):
        run.events.run(50)
        assert run.events.now_s < 60
    assert run.jumps > 5 and run.events.now_s < 20


def idle(version: int = 1, next_s: float | None = None, **fields: int) -> Told:
    return Told(version=version, busy=False, next_s=next_s, **fields)


def agreement(*told: Told) -> Agreement:
    found = Agreement([f"n{k}" for k in range(len(told))], 0.0)
    for k, message in enumerate(told):
        found.tell(f"n{k}", message)
    return found


def test_the_earliest_event_of_nodes_and_run_is_jumped_to() -> None:
    for stops_s, to_s in (([70.0, 400.0], 70.0), ([400.0], 90.0)):
        found = agreement(idle(next_s=300.0), idle(next_s=90.0))
        assert found.step(1.0, 1.0, stops_s, WORTH_S) == Ask(1)
        assert found.step(1.0, 1.0, stops_s, WORTH_S) is None
        found.tell("n0", idle(next_s=300.0, answers=1))
        assert found.step(1.0, 1.0, stops_s, WORTH_S) is None
        found.tell("n1", idle(next_s=90.0, answers=1))
        assert found.step(1.0, 1.0, stops_s, WORTH_S) == Jump(to_s)


@pytest.mark.parametrize(
    "answer", [idle(2, answers=1), Told(version=1, busy=True, answers=1), idle(1, answers=None)]
)
def test_no_jump_on_an_answer_that_differs_or_is_none(answer: Told) -> None:
    found = agreement(idle(), idle())
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)
    found.tell("n0", idle(answers=1))
    found.tell("n1", answer)
    assert not isinstance(found.step(1.0, 1.0, [50.0], WORTH_S), Jump)


def test_news_between_question_and_answer_count() -> None:
    found = agreement(idle(), idle())
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)
    found.tell("n0", idle(answers=1))
    found.tell("n0", idle(2))  # it has worked since
    found.tell("n1", idle(answers=1))
    assert found.step(1.0, 1.0, [50.0], WORTH_S) is None
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(2)


def test_no_jump_while_a_change_is_not_confirmed() -> None:
    found = agreement(idle(), idle())
    found.changed(1, 1.0)
    found.tell("n0", idle(changes=1))
    assert found.step(1.0, 1.0, [50.0], WORTH_S) is None
    found.tell("n1", idle(changes=1))
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)


@pytest.mark.parametrize("to_s", [1.0, 1.04, math.inf])
def test_no_question_where_a_jump_is_not_worth_it(to_s: float) -> None:
    assert agreement(idle()).step(1.0, 1.0, [to_s], WORTH_S) is None


@pytest.mark.parametrize("silent_at", ["start", "question", "change"])
def test_a_node_that_is_silent_ends_the_jumps_and_is_named(silent_at: str) -> None:
    found = Agreement(["n0", "n1"], 0.0)
    found.tell("n0", idle())
    if silent_at != "start":
        found.tell("n1", idle())
        if silent_at == "change":
            found.changed(1, 0.0)
            found.tell("n0", idle(changes=1))
        else:
            assert found.step(0.0, 0.0, [50.0], WORTH_S) == Ask(1)
            found.tell("n0", idle(answers=1))
    assert found.step(ANSWERS_WITHIN_S - 0.1, 1.0, [50.0], WORTH_S) is None
    assert found.ended is None
    assert found.step(ANSWERS_WITHIN_S + 0.1, 1.0, [50.0], WORTH_S) is None
    assert found.ended is not None and found.ended.startswith("n1 did not")


def test_a_node_that_is_started_again_is_waited_for_and_tells_anew() -> None:
    found = agreement(idle(), idle())
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)
    found.attend(["n0"], ["n1"], 2.0)
    for message in (idle(answers=1), idle()):  # what its last process had sent
        found.tell("n1", message)
    found.tell("n0", idle(answers=1))
    assert found.step(100.0, 50.0, [90.0], WORTH_S) is None and found.ended is None
    found.attend(["n0", "n1"], [], 100.0)
    assert found.step(101.0, 51.0, [90.0], WORTH_S) == Ask(2)  # it may have told before it was present
    assert found.step(101.0, 51.0, [90.0], WORTH_S) is None
    found.tell("n1", idle(7, answers=2))
    assert found.step(102.0, 51.0, [90.0], WORTH_S) == Ask(3)


def test_a_node_whose_first_word_came_while_it_was_started_again_is_asked_for_it() -> None:
    found = agreement(idle(), idle())
    found.attend(["n0"], ["n1"], 2.0)
    found.tell("n1", idle(7))  # of its new process, before the run knows that it is ready
    found.attend(["n0", "n1"], [], 5.0)
    assert found.step(6.5, 6.0, [90.0], WORTH_S) == Ask(1)
    assert found.step(6.6, 6.0, [90.0], WORTH_S) is None, "once"
    for node in ("n0", "n1"):
        found.tell(node, idle(7, answers=1))
    assert found.step(6.7, 6.0, [90.0], WORTH_S) == Ask(2)
    for node in ("n0", "n1"):
        found.tell(node, idle(7, answers=2))
    assert found.step(6.8, 6.0, [90.0], WORTH_S) == Jump(90.0)


def test_a_node_that_is_given_up_is_not_asked() -> None:
    found = agreement(idle(), Told(version=1, busy=True))
    found.attend(["n0"], [], 1.0)
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)
    found.tell("n0", idle(answers=1))
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Jump(50.0)


def test_a_question_is_void_while_the_broker_is_away() -> None:
    found = agreement(idle())
    assert found.step(1.0, 1.0, [50.0], WORTH_S) == Ask(1)
    found.hold(30.0)
    assert found.step(29.0, 20.0, [50.0], WORTH_S) is None and found.ended is None
    found.tell("n0", idle(answers=1))
    assert found.step(31.0, 20.0, [50.0], WORTH_S) == Ask(2)  # what was told meanwhile may be lost
    assert found.step(31.0, 20.0, [50.0], WORTH_S) == Ask(3)
