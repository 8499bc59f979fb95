"""A node's end of the management plane: events out, start and stop in. Never crosses the emulated link."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.clocks.announced import announced, latest
from nodes.clocks.changing_scale import ChangingScale
from nodes.clocks.exchange import ClockExchange
from nodes.clocks.timescale import Timescale
from nodes.contract import topics
from nodes.contract.config import BrokerAddress
from nodes.contract.events import Event, EventRecord, EventsDropped, Malformed, shortened
from nodes.contract.messages import Idleness as IdlenessMessage
from nodes.contract.messages import Start, Stop, read_command, read_question
from nodes.contract.strict import problem_text
from nodes.runtime.contact import ToldContacts
from nodes.runtime.idleness import Idleness
from nodes.runtime.mqtt import make_client, start
from nodes.runtime.orders import ToldOrders

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
        self._time: ChangingScale | None = None
        self._changes = 0  # of scenario time, that are in force
        self.on_change: Callable[[], None] = lambda: None  # called after a jump or change of speed
        self.idleness = Idleness()
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
        self._client.message_callback_add(topics.QUESTION, self._on_question)
        self.contacts = ToldContacts(self._client, topics.slug(node))
        self.orders = ToldOrders(self._client, topics.slug(node))

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
        self.idleness.stop()
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
        scale = self._scale
        run_s = monotonic_s if self.clock is None else self.clock.run_s(monotonic_s)
        return None if scale is None or run_s is None else scale.at(run_s)

    def speed(self) -> float:
        """Seconds of scenario time in a real one; 1 before the start is known."""
        scale = self._scale
        return 1.0 if scale is None else scale.speed

    @property
    def _scale(self) -> Timescale | None:
        return None if self._time is None else self._time.scale

    def wait_until(self, time_s: float, gives_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait for an absolute scenario time, also across jumps; False if the node was stopped first.

        Args:
            time_s: the scenario time.
            gives_up: whether to return False before it; looked at after each `wake`.
        """

        def ended() -> bool:
            return self.stopped.is_set() or gives_up()

        while not ended():
            if self._time is None or self.now_s() is None:
                (self.stopped if self.started.is_set() else self.started).wait(0.1)
                continue
            longest_s = math.inf if self.clock is None else LOOK_AGAIN_S
            return self._time.wait_until(time_s, ended, monotonic=self._run_s, longest_s=longest_s)
        return False

    def end(self) -> None:
        """Set `stopped`, and wake all that wait for scenario time."""
        self.stopped.set()
        self.wake()

    def wake(self) -> None:
        """Let all that wait for scenario time look whether they give up."""
        if self._time is not None:
            self._time.wake()

    def _run_s(self) -> float:
        """Return CLOCK_MONOTONIC of the run's machine, as well as it is known."""
        own_s = time.monotonic()
        run_s = None if self.clock is None else self.clock.run_s(own_s)
        return own_s if run_s is None else run_s

    def lost_s(self) -> float:
        """For how long the broker has been away, seconds; 0 while connected."""
        away_since_s = self._away_since_s
        return 0.0 if away_since_s is None else time.monotonic() - away_since_s

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if not reason.is_failure:
            self._away_since_s = None
            client.subscribe([(topics.CONTROL, 1), (topics.QUESTION, 1)])
            self.contacts.connected()
            self.orders.connected()
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
            case Start():
                self._start(command)
            case Stop():
                self.run_ended = True
                self.end()

    def _start(self, command: Start) -> None:
        """Follow scenario time from its start, or its latest jumps and changes of speed."""
        if self._time is None:
            self._time, self._changes = ChangingScale(announced(command)), command.changes
            self.started.set()
        elif command.changes > self._changes:
            new = command.changes - self._changes
            with contextlib.suppress(ValueError):  # of another run, whose start came too late
                self._time.add(*latest(command, new))
            self._changes = command.changes
            self.on_change()
        if command.skips:
            self.idleness.tell(self._tell_idleness, lambda: self._changes)
            self.idleness.changed()

    def _on_question(self, _: Client, __: object, message: MQTTMessage) -> None:
        with contextlib.suppress(ValueError):  # only the run may write there; its next message will be whole
            self.idleness.ask(read_question(message.payload).question)

    def _tell_idleness(self, message: IdlenessMessage) -> None:
        if self.clock is not None:
            try:
                told = {"clock_bound_s": self.clock.at(time.monotonic()).bound_s}
            except LookupError:  # not compared yet
                told = {"busy": True}
            message = message.model_copy(update=told)
        self._client.publish(topics.idleness(topics.slug(self._node)), message.model_dump_json(), qos=0)
