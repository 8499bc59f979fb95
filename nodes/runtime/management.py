"""A node's end of the management plane: events out, start and stop in. Never crosses the emulated link."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.clocks.exchange import ClockExchange
from nodes.clocks.timescale import Timescale
from nodes.contract import topics
from nodes.contract.config import BrokerAddress
from nodes.contract.events import Event, EventRecord, EventsDropped, Malformed, shortened
from nodes.contract.messages import Start, Stop, read_command
from nodes.contract.strict import problem_text
from nodes.runtime.contact import ToldContacts
from nodes.runtime.mqtt import make_client, start

KEEPALIVE_S = 5
FLUSH_S = 2.0
WAITING_MAX = 10_000
UNDER_WAY_MAX = 16
LOOK_AGAIN_S = 1.0  # at a clock that is compared while one waits
OnTaken = Callable[[], None]


class ManagementPlane:
    """Publishes a node's events and obeys the run's commands.

    Events (nodes/contract/events.py) are published with QoS 1. While the broker is unreachable the last
    WAITING_MAX of them wait, and are sent in order when it is back; `sequence` tells repeats apart. If some
    had to be dropped, `EventsDropped` has their number. Commands: nodes/contract/messages.py.

    A node with a clock of its own compares it with the run's (nodes/clocks/exchange.py) and converts the
    stamps of its events to the run's clock; `clock_bound_s` and `own_monotonic_s` stand beside them. Events
    wait until the clocks have been compared well: some seconds at most.

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
        self._run = run
        self._topic = topics.event(topics.slug(node))
        self._lock = threading.Lock()
        self._sequence = 0
        self._scale: Timescale | None = None
        # Kept here and not in paho, which would keep any number. The few that paho has are those that it
        # sends again after a reconnection; newer ones wait until it has (`_catching_up`).
        self._waiting: deque[tuple[EventRecord, OnTaken | None]] = deque()
        self._on_taken: dict[int, OnTaken | None] = {}  # by the message that is under way
        self._taken_early: set[int] = set()  # messages that were taken before `publish` returned
        self._under_way = 0
        self._dropped = 0
        self._connected = self._catching_up = False
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._away_since_s: float | None = time.monotonic()
        self.started = threading.Event()
        self.stopped = threading.Event()
        self.run_ended = False  # by the run's own word, and not by a signal
        self._client = make_client(f"{topics.slug(node)}-management", address)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self.clock = ClockExchange(self._client, topics.slug(node), self.report) if clock == "own" else None
        self.contacts = ToldContacts(self._client, topics.slug(node))

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

    def report(
        self, event: Event, *, monotonic_s: float | None = None, on_taken: OnTaken | None = None
    ) -> None:
        """Publish one event; from any thread, never blocks. See nodes.contract.report.Report.

        Args:
            event: what happened.
            monotonic_s: when; None for now.
            on_taken: called once the broker has the event, or it was dropped; from any thread, and
                must not block.
        """
        monotonic_s = time.monotonic() if monotonic_s is None else monotonic_s
        event = shortened(event)
        with self._changed:
            self._queue(event, monotonic_s, on_taken)
            self._changed.notify_all()

    def now_s(self) -> float | None:
        """Scenario time now; None before the start is known."""
        return self.scenario_s(time.monotonic())

    def scenario_s(self, monotonic_s: float) -> float | None:
        """Scenario time of a value of this node's CLOCK_MONOTONIC; None before the start is known."""
        run_s = monotonic_s if self.clock is None else self.clock.run_s(monotonic_s)
        return None if self._scale is None or run_s is None else self._scale.at(run_s)

    def speed(self) -> float:
        """Seconds of scenario time in a real one; 1 before the start is known."""
        return 1.0 if self._scale is None else self._scale.speed

    def wait_until(self, time_s: float) -> bool:
        """Sleep until an absolute scenario time; False if the node was stopped first."""
        while not self.stopped.is_set():
            now_s = self.now_s()
            if now_s is None:
                (self.stopped if self.started.is_set() else self.started).wait(0.1)
                continue
            if now_s >= time_s:
                return True
            left_s = (time_s - now_s) / self.speed()
            self.stopped.wait(left_s if self.clock is None else min(left_s, LOOK_AGAIN_S))
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
            client.subscribe(topics.CONTROL, qos=1)
            self.contacts.connected()
            if self.clock is not None:
                self.clock.connected()
            with self._changed:
                self._connected, self._catching_up = True, self._under_way > 0
                if self._dropped:
                    while len(self._waiting) >= WAITING_MAX:  # room for saying so
                        self._drop()
                    dropped, self._dropped = self._dropped, 0
                    self._queue(EventsDropped(count=dropped), time.monotonic())
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
            if mid not in self._on_taken:
                self._taken_early.add(mid)
            on_taken = self._on_taken.pop(mid, None)
        if on_taken is not None:
            on_taken()

    def _publish_events(self) -> None:
        while True:
            with self._changed:
                # Nobody notifies when the clocks have been compared well.
                while not (self._closed or self._may_publish()):
                    self._changed.wait(None if self.clock is None else LOOK_AGAIN_S / 10)
                if self._closed:
                    return
                record, on_taken = self._waiting.popleft()
                self._under_way += 1
            info = self._client.publish(self._topic, self._in_the_runs_time(record).to_line(), qos=1)
            with self._lock:
                if taken := info.mid in self._taken_early:
                    self._taken_early.remove(info.mid)
                else:
                    self._on_taken[info.mid] = on_taken
            if taken and on_taken is not None:
                on_taken()

    def _may_publish(self) -> bool:
        ready = self._connected and not self._catching_up and self._under_way < UNDER_WAY_MAX
        return ready and bool(self._waiting) and (self.clock is None or self.clock.settled)

    def _in_the_runs_time(self, record: EventRecord) -> EventRecord:
        """Return a record with its stamps converted to the run's clock, as well as it is known by now."""
        if self.clock is None:
            return record
        own_s, scale = record.monotonic_s, self._scale
        offset = self.clock.at(own_s)
        run_s = own_s + offset.offset_s
        stamps = {
            "time_s": None if record.time_s is None or scale is None else scale.at(run_s),
            "monotonic_s": run_s,
            "own_monotonic_s": own_s,
            "clock_bound_s": offset.bound_s,
        }
        return record.model_copy(update=stamps)

    def _queue(self, event: Event, monotonic_s: float, on_taken: OnTaken | None = None) -> None:
        self._sequence += 1
        record = EventRecord(
            node=self._node,
            time_s=self.scenario_s(monotonic_s),
            monotonic_s=monotonic_s,
            sequence=self._sequence,
            event=event,
        )
        if self._run is not None:
            record = record.model_copy(update={"run": self._run})
        self._waiting.append((record, on_taken))
        while len(self._waiting) > WAITING_MAX:
            self._drop()

    def _drop(self) -> None:
        """Drop the oldest event that waits. Its reporter must not wait for ever: `on_taken` is called."""
        _, on_taken = self._waiting.popleft()
        self._dropped += 1
        if on_taken is not None:
            on_taken()

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        try:
            command = read_command(message.payload)
        except ValueError as error:
            self.report(Malformed(sender="management", reason=problem_text(error), count=1))
            return
        match command:
            case Start() if not self.started.is_set():
                self._scale = Timescale.starting(command.start_monotonic_s, command.speed)
                self.started.set()
            case Stop():
                self.run_ended = True
                self.stopped.set()
