"""Both ends of the uplink, and a line between them that the test is: each task takes effect once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.contract import topics
from nodes.contract.events import Event, TaskDone, TaskQueued, TaskReceived, TaskRefused, TaskSent
from nodes.contract.files import FILE, WEIGHTS, network_sha256, read_network
from nodes.contract.messages import NetworkTask, Order, PolicyTask, QuestionTask
from nodes.contract.report import NoClock
from nodes.transfer.inbox import complete_items
from nodes.transfer.messages import Hello, encode
from nodes.transfer.uplink.satellite import Outcome, RefusedTaskError, TaskInbox
from nodes.transfer.uplink.station import TaskUplink


def order(number: int, *, prompt: str = "what?", expires_s: float | None = None) -> Order:
    task = QuestionTask(name=f"q{number}", frame="dam", prompt=prompt, expires_s=expires_s)
    return Order(number=number, satellite="sat", task=task)


class Now(NoClock):
    def now_s(self) -> float:  # type: ignore[override]
        return 100.0


class Line:
    """A station and a satellite; what is sent gets through as often as the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent: list[bytes] = []
        self.events: list[Event] = []
        self.effects: list[str] = []
        self.outcome: Callable[[Order], Outcome] = lambda order: "done"
        self.satellite: TaskInbox | None = None
        self.start_station()
        self.start_satellite()

    def report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        self.events.append(event)

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def start_station(self) -> None:
        def publish(topic: str, payload: bytes) -> None:
            assert topic == topics.tasks_up("sat")
            self.sent.append(payload)

        self.station = TaskUplink(
            self.folder / "uplink", 250e3, publish=publish, report=self.report, clock=Now()
        )

    def start_satellite(self) -> None:
        """Start it on the same disk, as after it was killed: the kernel has released its locks."""
        for claim, _ in self.satellite._claims.values() if self.satellite is not None else ():
            claim.release()
        self.satellite = TaskInbox(
            self.folder / "inbox",
            "sat",
            carry_out=self.carry_out,
            report=self.report,
            scenario_s=lambda: 100.0,
        )

    def carry_out(self, order: Order) -> Outcome:
        outcome = self.outcome(order)
        if outcome == "done":
            self.effects.append(order.task.name)
        return outcome

    def hello(self) -> None:
        self.station.heard("sat", encode(Hello()))
        self.station._turn()

    def deliver(self, *, replies_lost: bool = False) -> None:
        assert self.satellite is not None
        for payload in self.sent:
            self.satellite.receive(payload)
        self.sent.clear()
        for reply in self.satellite.replies():
            if not replies_lost:
                self.station.heard("sat", encode(reply))
        self.station._turn()

    def work(self) -> None:
        """Let the satellite carry out what it has."""
        assert self.satellite is not None
        for item in self.satellite._inbox.unanswered():
            self.satellite._take(item)
        while not self.satellite._items.empty():
            self.satellite._serve_one()


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_a_task_waits_for_the_satellite_and_takes_effect_once(line: Line) -> None:
    line.station.order([order(1)])
    line.station._turn()
    assert line.sent == [] and line.count(TaskQueued) == 1
    line.hello()
    line.deliver()
    line.work()
    line.station.order([order(1)])  # the run announces all again
    line.hello()
    assert line.sent == [] and line.effects == ["q1"]
    assert [line.count(kind) for kind in (TaskSent, TaskReceived, TaskDone)] == [1, 1, 1]


def test_a_restart_of_either_end_loses_nothing_and_repeats_no_effect(line: Line) -> None:
    line.station.order([order(1), order(2, prompt="long? " * 660)])
    line.station._turn()
    line.start_station()  # after it had them on disk: the run need not announce them again
    line.hello()
    line.deliver(replies_lost=True)
    line.start_satellite()  # between received and done
    line.hello()
    assert line.sent, "after each hello the station asks what has arrived"
    line.deliver()
    line.work()
    assert sorted(line.effects) == ["q1", "q2"]
    line.start_satellite()
    line.start_station()
    line.station.order([order(1), order(2, prompt="long? " * 660)])
    line.hello()
    line.deliver()
    line.work()
    assert sorted(line.effects) == ["q1", "q2"]
    assert line.count(TaskDone) == 2 and line.count(TaskQueued) == 2
    assert line.satellite is not None and line.satellite._inbox.unanswered() == []


def test_what_is_to_be_done_later_is_asked_for_again_also_after_a_restart(line: Line) -> None:
    line.outcome = lambda order: "later"
    line.station.order([order(1)])
    line.hello()
    line.deliver()
    line.work()
    assert line.effects == [] and line.count(TaskDone) == 0
    line.start_satellite()
    line.work()
    line.outcome = lambda order: "done"
    assert line.satellite is not None
    line.satellite.settled("q1")
    line.satellite._serve_one()
    assert line.effects == ["q1"] and line.count(TaskDone) == 1


def test_a_task_that_two_stations_send_is_one(line: Line, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        line.folder = tmp_path / folder
        line.start_station()
        line.station.order([order(1)])
        line.hello()
        line.deliver()
        line.work()
    assert line.effects == ["q1"] and line.count(TaskReceived) == 1
    assert line.station.due_s() == float("inf"), "the second station was told that it is done"


def test_refused_and_expired_tasks_say_why(line: Line) -> None:
    def refuse(order: Order) -> Outcome:
        raise RefusedTaskError("the frame is gone")

    line.outcome = refuse
    line.station.order([order(1), order(2, expires_s=99.0)])
    line.hello()
    line.deliver()
    line.work()
    assert [(event.task, event.reason) for event in line.events if isinstance(event, TaskRefused)] == [
        ("q2", "it expired before the satellite had it"),
        ("q1", "the frame is gone"),
    ]
    assert line.count(TaskDone) == 0


def test_a_satellite_that_says_nothing_is_left_until_its_next_hello(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.station.order([order(1)])
    line.hello()
    assert line.sent and line.station.due_s() == float("-inf")
    began_s = time.monotonic()
    for second in range(1, 60):
        monkeypatch.setattr(time, "monotonic", lambda second=second: began_s + second)
        line.station._turn()
    assert line.station.due_s() == float("inf"), "it would keep the run from jumping"
    line.sent.clear()
    line.hello()
    line.deliver()
    line.work()
    assert line.effects == ["q1"]


def test_a_satellite_takes_tasks_alone_and_only_its_own(line: Line) -> None:
    other = Order(number=1, satellite="other", task=PolicyTask(name="p", parameters={"a": 1}))
    line.station._lane("sat").outbox.add_task("p", other.model_dump_json().encode())
    line.station._lane("sat").outbox.add_answer("f", b"yes", {})
    line.hello()
    line.deliver()
    line.work()
    assert line.effects == []
    assert [event.reason for event in line.events if isinstance(event, TaskRefused)] == [
        "it is no task for this satellite"
    ]
    assert [manifest.kind for manifest, _ in complete_items(line.folder / "inbox")] == ["task"]


def test_a_network_goes_up_with_its_files_unless_they_changed_since(line: Line, tmp_path: Path) -> None:
    folder = tmp_path / "network"
    folder.mkdir()
    (folder / FILE).write_text("{}")
    (folder / WEIGHTS).write_bytes(bytes(300_000))
    sha256 = network_sha256(read_network(folder))
    tasks = [NetworkTask(name=f"n{number}", sha256=sha256, folder=folder) for number in (1, 2, 3)]
    orders = [Order(number=number, satellite="sat", task=task) for number, task in enumerate(tasks, start=1)]
    line.station.order(orders[:1])
    line.hello()
    while line.count(TaskReceived) < 1:
        line.deliver()
    assert line.satellite is not None
    ((order,),) = (line.satellite.received(),)
    assert isinstance(order.task, NetworkTask) and order.task.folder is None
    assert order.task.files is not None and sorted(order.task.files) == [FILE, WEIGHTS]

    (folder / FILE).write_text("{} ")
    line.station.order(orders[1:2])
    line.station._turn()
    (folder / WEIGHTS).unlink()
    line.station.order(orders[2:])
    line.station._turn()
    refused = [event for event in line.events if isinstance(event, TaskRefused)]
    assert [(event.task, event.reason) for event in refused] == [
        ("n2", f"{folder} changed during the run"),
        ("n3", f"{folder / WEIGHTS}: No such file or directory"),
    ]
