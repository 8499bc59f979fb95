"""The run's end of the management plane: starts and stops the nodes, and gathers what they report.

It is a broker of its own, never shaped, reached by a Unix socket; nothing on it crosses a link under test.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from testbed.errors import TestbedError

Event = dict[str, Any]
EVENTS = "spaceverse/event/+"
CONTROL = "spaceverse/control"


class ManagementPlane:
    """Collects events in order of arrival, and appends each to a JSON-lines file as it comes.

    Args:
        socket: Unix socket of the management broker.
        log: events.jsonl of the run.
    """

    def __init__(self, socket: Path, log: Path) -> None:
        self.events: list[Event] = []
        self.fresh: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="run", transport="unix")
        self._client.on_message = self._on_message
        self._client.connect(str(socket))
        _, mid = self._client.subscribe(EVENTS, qos=1)
        acknowledged = threading.Event()
        self._client.on_subscribe = lambda *args: acknowledged.set()
        self._client.loop_start()
        if mid is None or not acknowledged.wait(5):
            raise TestbedError(f"the management broker at {socket} did not answer within 5 s")

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            event = json.loads(message.payload)
        except ValueError:
            event = {"event": "malformed", "node": message.topic, "bytes": len(message.payload)}
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
        self._publish({"command": "start", "start_monotonic_s": start_monotonic_s})

    def stop_nodes(self) -> None:
        """Tell every node to end."""
        self._publish({"command": "stop"})

    def _publish(self, command: dict[str, Any]) -> None:
        info = self._client.publish(CONTROL, json.dumps(command), qos=1, retain=True)
        info.wait_for_publish(timeout=5)

    def close(self) -> None:
        """Leave the broker and close the log; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()
        with self._lock:
            self._log.close()
