"""The run's end of the management plane: starts and stops the nodes, and gathers what they report.

It is a broker of its own, never shaped, reached by a Unix socket; nothing on it crosses a link under test.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from nodes.contract.messages import CLOCK_QUESTION_MAX_BYTES, ClockAnswer, Start, Stop, contacts_json
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account

Event = dict[str, Any]
RECONNECT_S = 0.05  # before the nodes are back, whose events nobody else would take


class ManagementPlane:
    """Collects events in order of arrival, and appends each to a JSON-lines file as it comes.

    Args:
        socket: Unix socket of the management broker.
        log: events.jsonl of the run.
        account: the run's at that broker; None where anybody may do anything.
        run: its name; events that name another are left out. They come from boards that have not heard yet
            that a run was killed.
    """

    def __init__(
        self, socket: Path, log: Path, account: Account | None = None, *, run: str | None = None
    ) -> None:
        self._run = run
        self.events: list[Event] = []
        self.fresh: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._malformed: Counter[str] = Counter()
        self._command: Start | Stop | None = None  # the latest
        self._contacts: dict[str, dict[str, bool]] = {}  # as last told, by node
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="run", transport="unix")
        if account is not None:
            self._client.username_pw_set(account.username, account.password)
        # paho says int, and only adds it to a clock.
        self._client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)  # type: ignore[arg-type]
        self._client.on_message = self._on_message
        self._client.message_callback_add(topics.clock_question(topics.ANY), _tell_the_time)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.event(topics.ANY), 1), (topics.clock_question(topics.ANY), 0)]
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(str(socket))
        self._client.loop_start()
        if not self._ready.wait(5):
            raise TestbedError(f"the management broker at {socket} did not answer within 5 s")

    def _on_subscribe(self, client: mqtt.Client, *_: object) -> None:
        """Connected, perhaps again: a broker that was restarted has forgotten what it was to keep."""
        with self._lock:
            command, contacts = self._command, {node: dict(told) for node, told in self._contacts.items()}
        if command is not None:
            client.publish(topics.CONTROL, command.model_dump_json(), qos=1, retain=True)
        for node, told in contacts.items():
            client.publish(topics.contact(topics.slug(node)), contacts_json(told), qos=1, retain=True)
        self._ready.set()

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        event = _event(message.payload, message.topic)
        if event is None:
            about = {"sender": message.topic, "bytes": len(message.payload)}
            self._malformed[message.topic] += 1
            event = {"event": "malformed", "node": "run", **about, "count": self._malformed[message.topic]}
            event["monotonic_s"] = time.monotonic()
        if self._run is None or event.get("run", self._run) == self._run:
            self.record(event)

    def record(self, event: Event) -> None:
        """Add an event, from a node or from the run itself."""
        with self._lock:
            if self._log.closed:
                return
            self.events.append(event)
            self._log.write(json.dumps(event) + "\n")
        self.fresh.put(event)

    def seen(self, wanted: Callable[[Event], bool]) -> list[Event]:
        """The events so far for which `wanted` is true."""
        with self._lock:
            return [e for e in self.events if wanted(e)]

    def start_nodes(self, start_monotonic_s: float) -> None:
        """Tell every node which CLOCK_MONOTONIC second is scenario second 0."""
        self._publish(Start(start_monotonic_s=start_monotonic_s))

    def stop_nodes(self) -> None:
        """Tell every node to end."""
        self._publish(Stop())

    def tell_contact(self, node: str, station: str, up: bool) -> None:
        """Tell a node that sees no carrier whether it has contact with a station; returns at once."""
        with self._lock:
            told = self._contacts.setdefault(node, {})
            told[station] = up
            text = contacts_json(told)
        self._client.publish(topics.contact(topics.slug(node)), text, qos=1, retain=True)

    def _publish(self, command: Start | Stop) -> None:
        with self._lock:
            self._command = command
        info = self._client.publish(topics.CONTROL, command.model_dump_json(), qos=1, retain=True)
        info.wait_for_publish(timeout=5)

    def close(self) -> None:
        """Leave the broker and close the log; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()
        with self._lock:
            self._log.close()


def _tell_the_time(client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
    """Answer a node that compares its clock with the run's: its own words, and when they came and left."""
    received_s = time.monotonic()
    if len(message.payload) > CLOCK_QUESTION_MAX_BYTES:
        return
    word = message.payload.decode(errors="replace")
    answer = ClockAnswer(asked=word, received_s=received_s, answered_s=time.monotonic())
    topic = topics.clock_answer(topics.node_of(message.topic))
    client.publish(topic, answer.model_dump_json(), qos=0)


def _event(payload: bytes | bytearray, topic: str) -> Event | None:
    """The event in a payload; None if it is none, or one that a node tells of another."""
    try:
        event = json.loads(payload)
        named = isinstance(event["event"], str) and topics.slug(event["node"]) == topics.node_of(topic)
        return event if named and math.isfinite(event["monotonic_s"]) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
