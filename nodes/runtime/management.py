"""A node's end of the management plane: events out, start and stop in. Never crosses the emulated link."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from typing import Any, Literal

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.clocks.exchange import ClockExchange
from nodes.contract.config import BrokerAddress
from nodes.runtime.contact import ToldContacts
from nodes.runtime.mqtt import make_client, start

EVENT_TOPIC = "spaceverse/event/{slug}"
CONTROL_TOPIC = "spaceverse/control"
KEEPALIVE_S = 5
FLUSH_S = 2.0
WAITING_MAX = 10_000
UNDER_WAY_MAX = 16
LOOK_AGAIN_S = 1.0  # at a clock that is compared while one waits


def slug(name: str) -> str:
    """A node's name as it appears in topics: lower case, everything else than letters and digits a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class ManagementPlane:
    """Publishes a node's events and obeys the run's commands.

    Events are JSON on `spaceverse/event/<slug>`, QoS 1: while the broker is away they wait, the last
    WAITING_MAX of them, and come in order when it is back; a repeat can be told by its `sequence`. When some
    had to be dropped, `events_dropped` says how many. Commands are JSON on `spaceverse/control`:
    {"command": "start", "start_monotonic_s": x} sets scenario second 0 to x of CLOCK_MONOTONIC;
    {"command": "stop"} ends the node; {"command": "contact_ends", "contact_ends_s": x} tells the scenario
    time at which the contact ends, with "node" to one node alone.

    With a clock of its own the node compares it with the run's (nodes/clocks/exchange.py). Stamps of its
    events are then told in the run's clock, with `clock_bound_s` beside them, and as they were read
    (`own_monotonic_s`); until the clocks have been compared well, events wait: some seconds at most.

    Args:
        address: the management broker.
        node: this node's name.
        clock: "own" if the run reads another CLOCK_MONOTONIC than this node.
        run: stands in every event, for one whose account serves more runs than this: if the run is killed,
            the next one can tell what is not for it.
    """

    def __init__(
        self,
        address: BrokerAddress,
        node: str,
        *,
        clock: Literal["shared", "own"] = "shared",
        run: str | None = None,
    ) -> None:
        self._address = address
        self._node = node
        self._of_run = {} if run is None else {"run": run}
        self._topic = EVENT_TOPIC.format(slug=slug(node))
        self._lock = threading.Lock()
        self._sequence = 0
        self._start_monotonic_s: float | None = None
        # Kept here and not in paho, which would keep any number. The few that paho has are those that it
        # sends again after a reconnection; newer ones wait until it has (`_catching_up`).
        self._waiting: deque[dict[str, Any]] = deque()
        self._under_way = 0
        self._dropped = 0
        self._connected = self._catching_up = False
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self.contact_ends_s: float | None = None
        self._away_since_s: float | None = time.monotonic()
        self.started = threading.Event()
        self.stopped = threading.Event()
        self._client = make_client(f"{slug(node)}-management", address)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self.clock = ClockExchange(self._client, slug(node), self.report) if clock == "own" else None
        self.contacts = ToldContacts(self._client, slug(node))

    def open(self) -> None:
        """Begin to connect; returns at once."""
        # A thread of its own, for paho holds a lock while it tells us of a delivery and takes the same lock
        # to publish: publishing under our own lock could stop both for ever.
        threading.Thread(target=self._publish_events, name="events", daemon=True).start()
        if self.clock is not None:
            self.clock.start()
        start(self._client, self._address, KEEPALIVE_S)

    def close(self) -> None:
        """Wait up to FLUSH_S until the broker has every event, then disconnect."""
        with self._changed:
            self._changed.wait_for(
                lambda: not (self._waiting or self._under_way) or self.lost_s() > 0, FLUSH_S
            )
            self._closed = True
            self._changed.notify_all()
        if self.clock is not None:
            self.clock.stop()
        self._client.disconnect()
        self._client.loop_stop()

    def report(self, event: str, *, monotonic_s: float | None = None, **fields: object) -> None:
        """Publish one event; from any thread, never blocks. See nodes.contract.report.Report."""
        monotonic_s = time.monotonic() if monotonic_s is None else monotonic_s
        with self._changed:
            self._queue(event, monotonic_s, fields)
            self._changed.notify_all()

    def now_s(self) -> float | None:
        """Scenario time now; None before the start is known."""
        return self.scenario_s(time.monotonic())

    def scenario_s(self, monotonic_s: float) -> float | None:
        """Scenario time of a value of this node's CLOCK_MONOTONIC; None before the start is known."""
        start_s = self._start_monotonic_s
        if self.clock is None:
            return None if start_s is None else monotonic_s - start_s
        run_s = self.clock.run_s(monotonic_s)
        return None if start_s is None or run_s is None else run_s - start_s

    def wait_until(self, time_s: float) -> bool:
        """Sleep until an absolute scenario time; False if the node was stopped first."""
        while not self.stopped.is_set():
            now_s = self.now_s()
            if now_s is None:
                (self.stopped if self.started.is_set() else self.started).wait(0.1)
                continue
            if now_s >= time_s:
                return True
            self.stopped.wait(time_s - now_s if self.clock is None else min(time_s - now_s, LOOK_AGAIN_S))
        return False

    def lost_s(self) -> float:
        """For how long the broker has been away, seconds; 0 while connected."""
        away_since_s = self._away_since_s
        return 0.0 if away_since_s is None else time.monotonic() - away_since_s

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if not reason.is_failure:
            self._away_since_s = None
            client.subscribe(CONTROL_TOPIC, qos=1)
            self.contacts.connected()
            if self.clock is not None:
                self.clock.connected()
            with self._changed:
                self._connected, self._catching_up = True, self._under_way > 0
                if self._dropped:
                    while len(self._waiting) >= WAITING_MAX:  # room for saying so
                        self._waiting.popleft()
                        self._dropped += 1
                    dropped, self._dropped = self._dropped, 0
                    self._queue("events_dropped", time.monotonic(), {"count": dropped})
                self._changed.notify_all()

    def _on_disconnect(
        self, _: Client, __: object, ___: object, ____: ReasonCode, _____: Properties | None
    ) -> None:
        with self._lock:
            self._connected = False
        if self._away_since_s is None:
            self._away_since_s = time.monotonic()

    def _on_publish(self, _: Client, __: object, mid: int, ____: ReasonCode, _____: Properties) -> None:
        with self._changed:
            self._under_way -= 1
            self._catching_up = False
            self._changed.notify_all()

    def _publish_events(self) -> None:
        while True:
            with self._changed:
                # Nobody notifies when the clocks have been compared well.
                while not (self._closed or self._may_publish()):
                    self._changed.wait(None if self.clock is None else LOOK_AGAIN_S / 10)
                if self._closed:
                    return
                record = self._waiting.popleft()
                self._under_way += 1
            self._client.publish(self._topic, json.dumps(self._in_the_runs_time(record)), qos=1)

    def _may_publish(self) -> bool:
        ready = self._connected and not self._catching_up and self._under_way < UNDER_WAY_MAX
        return ready and bool(self._waiting) and (self.clock is None or self.clock.settled)

    def _in_the_runs_time(self, record: dict[str, Any]) -> dict[str, Any]:
        """Tell an event's stamps in the run's clock, as well as it is known by now."""
        if self.clock is None:
            return record
        own_s = record["monotonic_s"]
        offset = self.clock.at(own_s)
        run_s = own_s + offset.offset_s
        started = record["time_s"] is not None and self._start_monotonic_s is not None
        return record | {
            "time_s": run_s - self._start_monotonic_s if started else None,
            "monotonic_s": run_s,
            "own_monotonic_s": own_s,
            "clock_bound_s": offset.bound_s,
        }

    def _queue(self, event: str, monotonic_s: float, fields: dict[str, object]) -> None:
        self._sequence += 1
        record = {
            "event": event,
            "node": self._node,
            "time_s": self.scenario_s(monotonic_s),
            "monotonic_s": monotonic_s,
            "sequence": self._sequence,
            **self._of_run,
            **fields,
        }
        self._waiting.append(record)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        try:
            command = json.loads(message.payload)
            kind = command["command"]
            start_monotonic_s = float(command["start_monotonic_s"]) if kind == "start" else 0.0
            if kind == "contact_ends" and command.get("node", self._node) == self._node:
                self.contact_ends_s = float(command["contact_ends_s"])
        except (ValueError, TypeError, KeyError) as error:
            self.report("malformed", sender="management", reason=f"{type(error).__name__}: {error}", count=1)
            return
        if kind == "start" and not self.started.is_set():
            self._start_monotonic_s = start_monotonic_s
            self.started.set()
        elif kind == "stop":
            self.stopped.set()
