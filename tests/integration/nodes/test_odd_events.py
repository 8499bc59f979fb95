"""Events of a node that has gone wrong are refused and counted; the results of the others do not change.

The whole number takes some two minutes; CI sends fewer:

    MESSAGES=100000 .venv/bin/python -m pytest -s tests/integration/nodes/test_odd_events.py
"""

from __future__ import annotations

import io
import os
import random
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console

from nodes.contract import topics
from nodes.contract.events import Answered, Captured, EventRecord, Malformed
from testbed.mqtt.accounts import Account, node_account, run_account
from testbed.mqtt.admission import Admission
from testbed.mqtt.broker import Broker, UnixListener
from testbed.mqtt.management import ManagementPlane
from testbed.network.programs import spawn
from testbed.results.nodes.clocks import node_clocks
from testbed.results.nodes.pace import node_paces
from testbed.results.results import frame_results, lost_events, malformed_counts
from testbed.run.progress import TerminalProgress
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario
from tests.support.nodes.odd_messages import odd_event
from tests.support.waiting import wait_for

MESSAGES = int(os.environ.get("MESSAGES", "3000"))
SEED = int(os.environ.get("SEED", "20261130"))
BATCH = 200
BACKLOG = 2000


def _client(stack: ExitStack, socket: Path, account: Account) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id="run", transport="unix")  # as if it were the run
    client.username_pw_set(account.username, account.password)
    client.connect(str(socket))
    client.loop_start()
    stack.callback(client.loop_stop)
    stack.callback(client.disconnect)
    return client


def test_what_one_node_says_changes_nothing_for_the_others(tmp_path: Path) -> None:
    with ExitStack() as stack:
        accounts = {name: node_account(topics.slug(name)) for name in ("A", "B", "G")}
        run, socket = run_account(), tmp_path / "socket"
        stack.enter_context(
            Broker(tmp_path, [UnixListener(socket)], popen=spawn, accounts=[run, *accounts.values()])
        )
        admission = Admission({"A": {"a"}, "B": {"b"}}, [("A", "G"), ("B", "G")])
        plane = ManagementPlane(socket, tmp_path / "events.jsonl", run, run="this", admission=admission)
        stack.callback(plane.close)
        repeated: list[EventRecord] = []  # B may say a number and a time twice; the second is not kept
        is_repeated = plane._is_repeated

        def noted(record: EventRecord) -> bool:
            again = is_repeated(record)
            repeated.extend([record] if again else [])
            return again

        plane._is_repeated = noted  # type: ignore[method-assign]
        a, b, g = (_client(stack, socket, accounts[name]) for name in ("A", "B", "G"))
        drawn = random.Random(SEED)  # noqa: S311 - seeded so that a failure can be repeated
        begin_s = time.monotonic()
        sequence = iter(range(1, MESSAGES + 1))

        def envelope() -> dict[str, Any]:
            return {"node": "B", "monotonic_s": time.monotonic(), "sequence": next(sequence)}

        def say(client: Client, node: str, event: Captured | Answered) -> None:
            record = EventRecord(node=node, monotonic_s=time.monotonic(), event=event)
            client.publish(topics.event(topics.slug(node)), record.to_line(), qos=1)

        say(a, "A", Captured(frame="a", size_bytes=1000))
        for number in range(MESSAGES):
            info = b.publish(topics.event("b"), odd_event(drawn, envelope), qos=1)
            if number % BATCH == BATCH - 1:
                info.wait_for_publish(30)
                # Not faster than the run reads: what exceeds the broker's queue is lost, of everybody.
                wait_for(lambda sent=number: _heard(plane) > sent - BACKLOG, "run to read", 60, every_s=0.05)
        say(g, "G", Answered(frame="a", answer="two", answered_by="ground", confidence=0.5))
        wait_for(lambda: bool([r for r in plane.seen(Answered) if r.node == "G"]), "A's answer", 60)
        with suppress(AssertionError):
            wait_for(lambda: _taken(plane) + len(repeated) == MESSAGES, "messages of B", 60, every_s=0.5)
        assert (_taken(plane), len(repeated)) == (MESSAGES - len(repeated), len(repeated))
        check(plane.events, begin_s)
        told = sum(isinstance(r.event, Malformed) and r.node == "run" for r in plane.events)
        print(f"{MESSAGES} messages in {time.monotonic() - begin_s:.0f} s, {told} events about refused ones")
        assert {record.node for record in repeated} <= {"B"}
        assert told < 10 + 2 * (time.monotonic() - begin_s), "a flood of events"
        assert {record.node for record in plane.events} <= {"A", "B", "G", "run"}
        assert a.is_connected() and g.is_connected()


def _heard(plane: ManagementPlane) -> int:
    return plane._malformed.total() + len(plane.events)


def _taken(plane: ManagementPlane) -> int:
    """Messages of B that were accepted, or refused and counted."""
    plane.check()
    refused = malformed_counts(plane.events).get("run, from spaceverse/event/b", 0)
    return refused + sum(record.node == "B" for record in plane.events)


def check(records: list[EventRecord], begin_s: float) -> None:
    """Everything that is made of the events can be made, and says of A what A and G said."""
    frames = {
        name: Frame(frame=name.lower(), image=Path("/x.png"), prompt="?", truth="two", capture_s=0)
        for name in ("A", "B")
    }
    scenario = Scenario(
        name="two",
        satellites=tuple(Satellite(name=name, model="m", frames=(frame,)) for name, frame in frames.items()),
        stations=(GroundStation(name="G", model="m"),),
        links=tuple(Link(satellite=name, station="G", follows=Path("/x.csv")) for name in ("A", "B")),
    )
    delays = {(name, "G"): (lambda _: 0.01) for name in ("A", "B")}
    (of_a, _) = frame_results(scenario, records, begin_s, delays)
    assert (of_a.answer, of_a.answered_by) == ("two", "ground")
    assert lost_events([record for record in records if record.node in ("A", "G")]) == {}
    node_clocks(records)
    node_paces(records)
    shown = io.StringIO()
    progress = TerminalProgress(Console(file=shown, width=80))
    for record in records:
        progress.event(record)
    assert "\x1b" not in shown.getvalue()
