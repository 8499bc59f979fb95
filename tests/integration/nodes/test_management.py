"""A node's connection to the management plane, over a real broker."""

from __future__ import annotations

import errno
import json
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract.config import BrokerAddress
from nodes.contract.events import Captured, EventRecord, InferenceStarted, NodeStopped
from nodes.runtime import management
from nodes.runtime.management import ManagementPlane
from testbed.boards.agents import BoardAgents
from testbed.mqtt import management as management_of_runs
from testbed.mqtt.broker import Broker, UnixListener
from tests.support.nodes.ends import Recorder
from tests.support.open_files import many_open_files
from tests.support.waiting import wait_for


class Desk(Recorder):
    """The run's end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.client = Client(CallbackAPIVersion.VERSION2, transport="unix")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda *a: self.events.append(
            {**json.loads(a[2].payload), "topic": a[2].topic}
        )
        self.client.on_connect = self._subscribe
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *a: subscribed.set()
        self.client.connect(str(path))
        self.client.loop_start()
        assert subscribed.wait(5)

    def _subscribe(self, client: Client, *_: object) -> None:
        client.subscribe("spaceverse/event/+", 1)

    def say(self, payload: str) -> None:
        self.client.publish("spaceverse/control", payload, qos=1, retain=True).wait_for_publish(5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plane.sock"


@pytest.fixture
def broker(tmp_path: Path, path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, [UnixListener(path)]) as started:
        yield started


@pytest.fixture
def desk(broker: Broker, path: Path) -> Iterator[Desk]:
    made = Desk(path)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


@pytest.fixture
def plane(desk: Desk, path: Path) -> Iterator[ManagementPlane]:
    made = ManagementPlane(BrokerAddress(unix_socket=path), "FLOCK 2P-1")
    made.open()
    yield made
    made.close()


def test_start_gives_the_clock_and_stop_ends_the_wait(desk: Desk, plane: ManagementPlane) -> None:
    plane.report(Captured(frame="early", size_bytes=0))
    start_s = time.monotonic() + 0.2
    desk.say(json.dumps({"command": "start", "start_monotonic_s": start_s}))
    assert plane.wait_until(0.1)
    assert 0.3 <= time.monotonic() - start_s + 0.2 < 0.4
    plane.report(InferenceStarted(frame="dam"), monotonic_s=start_s + 5.0)
    wait_for(lambda: len(desk.events) == 2, "events")
    early, late = desk.events
    assert early["time_s"] is None and early["topic"] == "spaceverse/event/flock-2p-1"
    assert late["time_s"] == pytest.approx(5.0) and late["frame"] == "dam" and late["node"] == "FLOCK 2P-1"
    says = threading.Timer(0.2, desk.say, [json.dumps({"command": "stop"})])
    says.start()
    assert not plane.wait_until(3600.0)
    says.join()  # it waits for the broker's word, for which the desk has to be there still


def test_scenario_time_runs_as_fast_as_the_start_says(desk: Desk, plane: ManagementPlane) -> None:
    assert plane.speed() == 1
    start_s = time.monotonic() + 0.1
    desk.say(json.dumps({"command": "start", "start_monotonic_s": start_s, "speed": 20}))
    assert plane.wait_until(4.0)
    assert 0.2 <= time.monotonic() - start_s < 0.3
    assert plane.speed() == 20
    assert plane.scenario_s(start_s + 5.0) == pytest.approx(100.0)
    plane.report(Captured(frame="late", size_bytes=0), monotonic_s=start_s + 0.5)
    wait_for(lambda: desk.events, "an event")
    assert desk.events[0]["time_s"] == pytest.approx(10.0)
    assert desk.events[0]["monotonic_s"] == pytest.approx(start_s + 0.5)


def test_start_that_was_said_before_is_heard(desk: Desk, path: Path) -> None:
    desk.say(json.dumps({"command": "start", "start_monotonic_s": 1.0}))
    late = ManagementPlane(BrokerAddress(unix_socket=path), "Late")
    late.open()
    assert late.started.wait(5)
    late.close()


@pytest.mark.parametrize(
    "payload", ["", "[]", "{", '{"command": "start"}', '{"command": "start", "start_monotonic_s": "x"}']
)
def test_malformed_command_is_reported_and_changes_nothing(
    desk: Desk, plane: ManagementPlane, payload: str
) -> None:
    wait_for(lambda: plane.lost_s() == 0, "connection")
    time.sleep(0.1)
    desk.client.publish("spaceverse/control", payload, qos=1).wait_for_publish(5)
    wait_for(lambda: bool(desk.of("malformed")), "report")
    assert not plane.started.is_set() and not plane.stopped.is_set()


def test_events_wait_for_the_connection_and_close_waits_for_them(desk: Desk, path: Path) -> None:
    plane = ManagementPlane(BrokerAddress(unix_socket=path), "Early")
    for number in range(200):
        plane.report(Captured(frame="early", size_bytes=number))
    assert desk.of("captured") == []
    plane.open()
    wait_for(lambda: plane.lost_s() == 0, "connection")
    plane.close()
    wait_for(lambda: len(desk.of("captured")) == 200, "events")
    assert [event["size_bytes"] for event in desk.of("captured")] == list(range(200))
    assert [event["sequence"] for event in desk.of("captured")] == list(range(1, 201))


def test_broker_that_comes_back_is_found_again(plane: ManagementPlane, broker: Broker) -> None:
    wait_for(lambda: plane.lost_s() == 0, "connection")
    broker.stop()
    wait_for(lambda: plane.lost_s() > 0.2, "loss")
    broker.start()
    wait_for(lambda: plane.lost_s() == 0, "connection")


def test_events_survive_a_restart_of_the_broker_in_order_and_what_is_dropped_is_counted(
    broker: Broker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "WAITING_MAX", 50)
    plane = ManagementPlane(BrokerAddress(unix_socket=path), "Sat")
    plane.open()
    wait_for(lambda: plane.lost_s() == 0, "connection")
    # The node comes back after the desk: what nobody has subscribed to, a broker does not keep.
    plane._client.reconnect_delay_set(3, 3)
    broker.stop()
    wait_for(lambda: plane.lost_s() > 0, "loss")
    for number in range(120):
        plane.report(Captured(frame="away", size_bytes=number))
    broker.start()
    desk = Desk(path)
    try:
        wait_for(lambda: len(desk.of("events_dropped")) == 1, "events")
        numbers = [event["size_bytes"] for event in desk.of("captured")]
        dropped = desk.of("events_dropped")[0]["count"]
        assert numbers == list(range(120 - len(numbers), 120)), "not the latest, or not in order"
        assert len(numbers) == 49 and dropped == 120 - 49
        plane.report(InferenceStarted(frame="back"))
        wait_for(lambda: bool(desk.of("inference_started")), "event after the restart")
    finally:
        plane.close()
        desk.client.disconnect()
        desk.client.loop_stop()


def test_what_a_board_says_of_a_run_that_was_killed_is_not_the_next_ones(
    broker: Broker, path: Path, tmp_path: Path
) -> None:
    run = management_of_runs.ManagementPlane(path, tmp_path / "events.jsonl", run="second")
    planes = [ManagementPlane(BrokerAddress(unix_socket=path), n, run=n) for n in ("first", "second")]
    for plane in (*planes, ManagementPlane(BrokerAddress(unix_socket=path), "of no run")):
        plane.open()
        plane.report(NodeStopped(status=0, reason="asked to"))
        wait_for(lambda plane=plane: plane.lost_s() == 0, "connection")  # type: ignore[misc]
        plane.close()  # waits until the broker has it
    wait_for(lambda: len(run.events) >= 2, "events")
    time.sleep(0.2)
    assert {record.node for record in run.events} == {"second", "of no run"}
    run.close()


def test_events_that_cannot_be_written_are_kept_in_memory(broker: Broker, path: Path) -> None:
    plane = management_of_runs.ManagementPlane(path, Path("/dev/full"))
    try:
        assert plane.unwritten is None
        for _ in range(2):
            plane.report(NodeStopped(status=0, reason="asked"))
        assert plane.unwritten is not None and plane.unwritten.errno == errno.ENOSPC
        assert len(plane.events) == 2
    finally:
        plane.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    with many_open_files():
        yield


def test_a_run_with_thousands_of_open_files_hears_of_its_nodes_and_boards(
    desk: Desk, many_files: None, broker: Broker, path: Path, tmp_path: Path
) -> None:
    plane = management_of_runs.ManagementPlane(path, tmp_path / "events.jsonl")
    try:
        BoardAgents(path, "run").close()
        with pytest.raises(ValueError, match="out of range in select"):
            select.select([plane._client.socket()], [], [], 0)
        captured = Captured(frame="f", size_bytes=1)
        event = EventRecord(node="S", monotonic_s=time.monotonic(), sequence=1, event=captured)
        desk.client.publish("spaceverse/event/s", event.to_line(), qos=1).wait_for_publish(5)
        wait_for(lambda: plane.events, "event")
        assert plane.answers(2) and plane.lost_s() == 0
        plane.stop_nodes()
        broker.stop()
        wait_for(lambda: plane.lost_s() > 0, "loss")
        broker.start()
        wait_for(lambda: plane.lost_s() == 0, "second connection")
    finally:
        plane.close()


def test_a_reporter_hears_when_the_broker_has_its_event(broker: Broker, path: Path) -> None:
    taken: list[int] = []
    plane = ManagementPlane(BrokerAddress(unix_socket=path), "Tell")
    plane.open()
    wait_for(lambda: plane.lost_s() == 0, "connection")
    plane.report(Captured(frame="f", size_bytes=1), on_taken=lambda: taken.append(1))
    wait_for(lambda: taken == [1], "word of the first")
    broker.stop()
    wait_for(lambda: plane.lost_s() > 0, "loss")
    plane.report(Captured(frame="f", size_bytes=2), on_taken=lambda: taken.append(2))
    time.sleep(0.2)
    assert taken == [1], "nobody has it"
    broker.start()
    wait_for(lambda: taken == [1, 2], "word of the second")
    plane.close()


def test_a_reporter_does_not_wait_for_an_event_that_was_dropped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "WAITING_MAX", 2)
    taken: list[int] = []
    plane = ManagementPlane(BrokerAddress(unix_socket=path), "Tell")
    for number in range(4):
        event = Captured(frame="f", size_bytes=number)
        plane.report(event, on_taken=lambda number=number: taken.append(number))  # type: ignore[misc]
    assert taken == [0, 1]


def test_events_that_come_while_the_run_is_away_are_kept_and_repeats_count_once(
    desk: Desk, path: Path, tmp_path: Path
) -> None:
    plane = management_of_runs.ManagementPlane(path, tmp_path / "events.jsonl")
    try:
        captured = Captured(frame="f", size_bytes=1)
        node = EventRecord(node="S", monotonic_s=time.monotonic(), sequence=1, event=captured)
        later = node.model_copy(update={"sequence": 2})
        plane._client.disconnect()
        wait_for(lambda: plane.lost_s() > 0, "loss")
        for record in (node, later, later, node):
            desk.client.publish("spaceverse/event/s", record.to_line(), qos=1).wait_for_publish(5)
        assert plane.events == []
        assert not plane.answers(0.1)
        plane.stop_nodes()  # is said again with the connection
        plane._client.loop_stop()
        plane._client.reconnect()
        plane._client.loop_start()
        wait_for(lambda: len(plane.events) == 2, "the events")
        assert plane.answers(5) and plane.lost_s() == 0
        assert [record.sequence for record in plane.events] == [1, 2]
    finally:
        plane.close()
