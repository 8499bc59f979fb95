"""One node sends events faster than the run reads: it loses its own, which are counted, and no others.

With the broker's own limit, and as many messages as that takes:

    MESSAGES=400000 .venv/bin/python -m pytest -s tests/integration/nodes/test_event_flood.py
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from nodes.contract import topics
from nodes.contract.config import BrokerAddress, MqttAccess
from nodes.contract.events import Captured, EventRecord
from nodes.runtime.management import ManagementPlane as NodePlane
from testbed.mqtt import broker as brokers
from testbed.mqtt.accounts import Account, node_account, run_account
from testbed.mqtt.broker import Broker, UnixListener
from testbed.mqtt.management import ManagementPlane
from testbed.network.programs import spawn
from testbed.results.results import lost_events
from tests.support.waiting import wait_for

MESSAGES = int(os.environ.get("MESSAGES", "12000"))
WHOLE = "MESSAGES" in os.environ
QUEUED_MAX = 1000  # so that a short flood exceeds it
OTHERS_EVENTS = 1000


def _length(size: int) -> bytes:
    """Return a length as MQTT writes it."""
    coded = bytearray()
    while True:
        size, digit = divmod(size, 128)
        coded.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(coded)


def _text(words: str) -> bytes:
    return len(words).to_bytes(2, "big") + words.encode()


def flood(path: Path, account: Account, node: str, count: int) -> None:
    """Publish events (QoS 1) as fast as the broker takes them, without a look at its replies."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(
            map(_text, (account.username, account.username, account.password))
        )
        line.sendall(b"\x10" + _length(len(body)) + body)
        assert line.recv(4) == b"\x20\x02\x00\x00"
        drain = threading.Thread(target=_read_all, args=(line,))
        drain.start()
        topic, now_s = _text(topics.event(topics.slug(node))), time.monotonic()
        for number in range(1, count + 1):
            event = Captured(frame="b", size_bytes=number)
            record = EventRecord(node=node, monotonic_s=now_s, event=event, sequence=number)
            body = topic + (number % 65535 + 1).to_bytes(2, "big") + record.to_line().encode()
            line.sendall(b"\x32" + _length(len(body)) + body)
        line.sendall(b"\xe0\x00")
        line.shutdown(socket.SHUT_WR)
        drain.join(10)


def _read_all(line: socket.socket) -> None:
    with suppress(OSError):
        while line.recv(65536):
            pass


def test_flood_of_one_node_displaces_no_event_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not WHOLE:
        monkeypatch.setattr(brokers, "QUEUED_MAX", QUEUED_MAX)
    with ExitStack() as stack:
        accounts = {name: node_account(name.lower()) for name in ("A", "B")}
        run, path = run_account(["a", "b"]), tmp_path / "socket"
        stack.enter_context(
            Broker(tmp_path, [UnixListener(path)], popen=spawn, accounts=[run, *accounts.values()])
        )
        plane = ManagementPlane(path, tmp_path / "events.jsonl", run, run="this", nodes=["a", "b"])
        stack.callback(plane.close)
        access = MqttAccess(**accounts["A"].to_json())
        other = NodePlane(BrokerAddress(unix_socket=path, access=access), "A")
        other.open()
        stack.callback(other.close)
        begin_s = time.monotonic()
        flooding = threading.Thread(target=flood, args=(path, accounts["B"], "B", MESSAGES))
        flooding.start()
        for number in range(OTHERS_EVENTS):
            other.report(Captured(frame="a", size_bytes=number))
            time.sleep(0.001)
        wait_for(lambda: _of(plane, "A") == OTHERS_EVENTS, "all events of A", 60, every_s=0.1)
        read_s = time.monotonic() - begin_s
        flooding.join()
        sent_s = time.monotonic() - begin_s
        wait_for(lambda: _calm(plane), "the end of the flood", 300, every_s=0.5)
        last = NodePlane(BrokerAddress(unix_socket=path, access=MqttAccess(**accounts["B"].to_json())), "B")
        last._sequence = MESSAGES  # after the flood it goes on counting
        last.open()
        stack.callback(last.close)
        last.report(Captured(frame="b", size_bytes=0))
        wait_for(lambda: any(r.sequence == MESSAGES + 1 for r in plane.events), "the last event", 30)
        numbers = [r.event.size_bytes for r in plane.seen(Captured) if r.node == "A"]  # type: ignore[attr-defined]
        assert numbers == list(range(OTHERS_EVENTS)), "lost, or not in order"
        came = Counter(record.node for record in plane.events)
        assert lost_events(plane.events) == {"B": MESSAGES + 1 - came["B"]}
        assert came["B"] < MESSAGES, "no flood at all"
        print(
            f"{MESSAGES} messages in {sent_s:.1f} s; A's {OTHERS_EVENTS} were read after {read_s:.1f} s, "
            f"{MESSAGES + 1 - came['B']} of B's lost"
        )


def _of(plane: ManagementPlane, node: str) -> int:
    return sum(record.node == node for record in list(plane.events))


def _calm(plane: ManagementPlane) -> bool:
    before = len(plane.events)
    time.sleep(0.5)
    return len(plane.events) == before


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_hundred_sessions_cost_one_thread_and_little_memory(tmp_path: Path) -> None:
    names = [f"sat-{number}" for number in range(100)]
    run, path = run_account(names), tmp_path / "socket"
    with Broker(tmp_path, [UnixListener(path)], popen=spawn, accounts=[run]):
        threads, before_bytes = threading.active_count(), _resident_bytes()
        begin_s = time.monotonic()
        plane = ManagementPlane(path, tmp_path / "events.jsonl", run, run="this", nodes=names)
        try:
            ready_s = time.monotonic() - begin_s
            more_bytes = _resident_bytes() - before_bytes
            print(f"100 sessions: ready after {ready_s:.2f} s, {more_bytes / 1e6:.1f} MB more")
            assert threading.active_count() <= threads + 2 and more_bytes < 20e6
        finally:
            plane.close()


def test_sessions_take_events_again_when_their_broker_is_back(tmp_path: Path) -> None:
    run, path, account = run_account(["a", "b"]), tmp_path / "socket", node_account("a")
    with Broker(tmp_path, [UnixListener(path)], popen=spawn, accounts=[run, account]) as broker:
        plane = ManagementPlane(path, tmp_path / "events.jsonl", run, run="this", nodes=["a", "b"])
        access = MqttAccess(**account.to_json())
        node = NodePlane(BrokerAddress(unix_socket=path, access=access), "A", clock="own")
        node.open()
        try:
            node.report(Captured(frame="a", size_bytes=0))
            wait_for(lambda: plane.seen(Captured), "the first event")  # its clock was compared by then
            broker.stop()
            wait_for(lambda: node.lost_s() > 0, "loss")
            node.report(Captured(frame="a", size_bytes=1))
            broker.start()
            wait_for(lambda: len(plane.seen(Captured)) == 2, "the event after the restart")
            plane.check()
        finally:
            node.close()
            plane.close()
    assert not any(thread.name == "sessions" for thread in threading.enumerate())
