"""The run's end of the management plane: starts and stops the nodes, and collects their events.

The management broker is reached by a Unix socket and never shaped; nothing on it crosses a link under test.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from nodes.clocks.announced import announcement
from nodes.clocks.timescale import Timescale
from nodes.contract import topics
from nodes.contract.events import RUN, Event, EventRecord, Malformed
from nodes.contract.messages import (
    CLOCK_QUESTION_MAX_BYTES,
    ClockAnswer,
    Idleness,
    Order,
    Question,
    RunState,
    Start,
    Stop,
    contacts_json,
    orders_json,
    read_idleness,
)
from nodes.contract.strict import problem_text
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account, event_sessions
from testbed.mqtt.admission import Admission
from testbed.mqtt.polled_client import PolledClient
from testbed.mqtt.sessions import RECONNECT_S, Sessions

REASON_MAX_CHARACTERS = 200
REFUSALS_EVERY_S = 1.0  # of one topic; a flood of them must not fill the log, nor keep others waiting
KEEPALIVE_S = 5  # a broker that hangs is noticed after some ten seconds at most
REPEATED_MAX = 64  # events of a node, which has 16 under way, as the broker has 20


class ManagementPlane:
    """Collects events in order of arrival, and appends each to a JSON-lines file as it comes.

    Args:
        socket: Unix socket of the management broker.
        log: events.jsonl of the run.
        account: the run's account at that broker; None if the broker has no accounts.
        run: the run's name; events of another run are ignored. They come from boards that do not know yet
            that their run was killed.
        admission: decides which events of a node are accepted; None accepts every event of the contract.
        shown: whether somebody watches the run at the broker: the run's own events are then published, too.
        nodes: slugs of the nodes, which need `account`: each has a session, so that a flood of one cannot
            displace the events of another. None: one session for whatever node there is.

    Attributes:
        on_idleness: called with (slug of a node, what it has to do); from any thread, must not block.
    """

    def __init__(
        self,
        socket: Path,
        log: Path,
        account: Account | None = None,
        *,
        run: str | None = None,
        admission: Admission | None = None,
        nodes: Sequence[str] | None = None,
        shown: bool = False,
    ) -> None:
        self._run = run
        self._shown = shown
        self._admission = admission
        self.on_idleness: Callable[[str, Idleness], None] = lambda slug, told: None
        self.events: list[EventRecord] = []
        self.fresh: queue.SimpleQueue[EventRecord] = queue.SimpleQueue()
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._unwritten: OSError | None = None
        self._lock = threading.Lock()
        self._malformed: Counter[str] = Counter()
        self._untold: dict[str, tuple[int, ValueError | RecursionError]] = {}  # the last refusal, by topic
        self._told_s: dict[str, float] = {}
        self._command: Start | Stop | None = None  # the latest
        self._contacts: dict[str, dict[str, bool]] = {}  # as last announced, by node
        self._orders: dict[str, list[Order]] = {}  # all so far, by ground program
        self._ready = threading.Event()
        self._answered = threading.Event()
        self._away_since_s: float | None = None
        self._recent: dict[str, deque[tuple[int | None, float]]] = {}
        # A lasting session: the broker keeps the events that come while this connection is away.
        self._client = PolledClient(
            CallbackAPIVersion.VERSION2, client_id="run", transport="unix", clean_session=False
        )
        if account is not None:
            self._client.username_pw_set(account.username, account.password)
        # paho says int, and only adds it to a clock.
        self._client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)  # type: ignore[arg-type]
        self._client.on_message = self._take
        alone = nodes is None or account is None
        filters = _filters(topics.ANY) if alone else [(topics.clock_question(RUN), 0)]
        filters.append((topics.idleness(topics.ANY), 0))
        self._client.on_connect = lambda client, *_: client.subscribe(filters)
        self._client.message_callback_add(topics.idleness(topics.ANY), self._on_idleness)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.connect(str(socket), keepalive=KEEPALIVE_S)
        self._client.loop_start()
        if not self._ready.wait(5):
            raise TestbedError(f"the management broker at {socket} did not answer within 5 s")
        self._sessions: Sessions | None = None
        if nodes is not None and account is not None:
            sessions = {
                name: [f for n in own for f in _filters(n)] for name, own in event_sessions(nodes).items()
            }
            self._sessions = Sessions(socket, account, sessions, self._take)

    def _on_subscribe(self, client: mqtt.Client, *_: object) -> None:
        """Publish what a restarted broker has forgotten: the latest command, the contacts and the tasks."""
        with self._lock:
            command, contacts = self._command, {node: dict(told) for node, told in self._contacts.items()}
            orders = {node: orders_json(own) for node, own in self._orders.items()}
        if command is not None:
            client.publish(topics.CONTROL, command.model_dump_json(), qos=1, retain=True)
        for node, told in contacts.items():
            client.publish(topics.contact(topics.slug(node)), contacts_json(told), qos=1, retain=True)
        for node, text in orders.items():
            client.publish(topics.orders(topics.slug(node)), text, qos=1, retain=True)
        self._away_since_s = None
        self._ready.set()
        self._answered.set()

    def _on_disconnect(self, *_: object) -> None:
        if self._away_since_s is None:
            self._away_since_s = time.monotonic()

    def lost_s(self) -> float:
        """Return for how long the broker has been away, seconds; 0 while connected."""
        away_since_s = self._away_since_s
        return 0.0 if away_since_s is None else time.monotonic() - away_since_s

    def answers(self, within_s: float) -> bool:
        """Return whether the broker answers within some seconds; one that hangs does not."""
        self._answered.clear()
        self._client.subscribe(topics.clock_question(RUN), 0)
        return self._answered.wait(within_s)

    def _take(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == topics.clock_question(topics.node_of(message.topic)):
            _tell_the_time(client, message)
        else:
            self._on_message(message)

    def _on_message(self, message: mqtt.MQTTMessage) -> None:
        try:
            record = _read_event(message.payload, message.topic)
        except (ValueError, RecursionError) as error:
            self._reject(message.topic, len(message.payload), error)
            return
        if self._run is not None and record.run not in (None, self._run):
            return
        size_bytes, problem = len(message.payload), None
        if self._admission is not None:
            problem = self._admission.problem(record, time.monotonic(), size_bytes)
        if problem is not None:
            self._reject(message.topic, size_bytes, ValueError(problem))
            return
        if not self._is_repeated(record):
            self._add(record)

    def _on_idleness(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        try:
            told = read_idleness(message.payload)
        except (ValueError, RecursionError) as error:
            self._reject(message.topic, len(message.payload), error)
            return
        self.on_idleness(topics.node_of(message.topic), told)

    def _is_repeated(self, record: EventRecord) -> bool:
        """Return whether an event has come before; after a lost connection, the last ones come again."""
        recent = self._recent.setdefault(record.node, deque(maxlen=REPEATED_MAX))
        key = record.sequence, record.monotonic_s
        if record.sequence is None or key not in recent:
            recent.append(key)
            return False
        return True

    def _reject(self, topic: str, size_bytes: int, error: ValueError | RecursionError) -> None:
        """Count a refused payload; it is told at once, but of many only the last one in each second."""
        self._malformed[topic] += 1
        self._untold[topic] = size_bytes, error
        self._tell_refusals(time.monotonic())

    def _tell_refusals(self, now_s: float = math.inf) -> None:
        for topic in list(self._untold):
            if now_s - self._told_s.get(topic, -math.inf) < REFUSALS_EVERY_S:
                continue
            found = self._untold.pop(topic, None)  # another thread may have told it
            if found is not None:
                self._told_s[topic] = now_s
                size_bytes, error = found
                reason = problem_text(error)[:REASON_MAX_CHARACTERS]
                count = self._malformed[topic]
                self.report(Malformed(sender=topic, count=count, reason=reason, size_bytes=size_bytes))

    def report(self, event: Event, *, monotonic_s: float | None = None, time_s: float | None = None) -> None:
        """Add an event of the run itself.

        Args:
            event: the event.
            monotonic_s: when it happened; None for now.
            time_s: the same as scenario time.
        """
        at_s = time.monotonic() if monotonic_s is None else monotonic_s
        record = EventRecord(node=RUN, time_s=time_s, monotonic_s=at_s, event=event)
        self._add(record)
        if self._shown:
            self._client.publish(topics.event(RUN), record.to_line())

    def show(self, state: RunState) -> None:
        """Publish how far the run is, for those who watch it; returns at once."""
        self._client.publish(topics.STATE, state.model_dump_json(), retain=True)

    def _add(self, record: EventRecord) -> None:
        with self._lock:
            if self._log.closed:
                return
            self.events.append(record)
            try:
                self._log.write(record.to_line() + "\n")
            except OSError as error:  # paho's thread would end by it, and the run would hear of no event
                self._unwritten = self._unwritten or error
        self.fresh.put(record)

    def check(self) -> None:
        """Tell of refusals; call it often. Raises what has ended the thread that hears the nodes."""
        if self._sessions is not None and self._sessions.failure is not None:
            raise self._sessions.failure
        self._tell_refusals(time.monotonic())

    @property
    def unwritten(self) -> OSError | None:
        """Why an event could not be written; all of them are in `events`."""
        return self._unwritten

    def seen(self, *kinds: type[Event]) -> list[EventRecord]:
        """Return the records of these kinds of event so far."""
        with self._lock:
            return [record for record in self.events if isinstance(record.event, kinds)]

    def start_nodes(self, scale: Timescale, *, skips: bool = False) -> None:
        """Announce scenario time to every node.

        Args:
            scale: as a function of CLOCK_MONOTONIC.
            skips: whether nodes are to tell when they are idle, see `on_idleness`.
        """
        self._publish(announcement(scale, skips=skips))

    def retime_nodes(self, scale: Timescale) -> None:
        """Announce that scenario time jumps, or changes its speed; returns at once."""
        with self._lock:
            skips = isinstance(self._command, Start) and self._command.skips
        self._publish(announcement(scale, skips=skips), wait_s=0)

    def ask_nodes(self, question: int) -> None:
        """Ask every node whether it is idle; returns at once. The answers come to `on_idleness`."""
        self._client.publish(topics.QUESTION, Question(question=question).model_dump_json(), qos=1)

    def stop_nodes(self) -> None:
        """Stop every node."""
        self._publish(Stop())

    def tell_contact(self, node: str, station: str, up: bool) -> None:
        """Announce a contact to a node that cannot see it from its carrier; returns at once."""
        with self._lock:
            told = self._contacts.setdefault(node, {})
            told[station] = up
            text = contacts_json(told)
        self._client.publish(topics.contact(topics.slug(node)), text, qos=1, retain=True)

    def hand_over(self, node: str, order: Order) -> None:
        """Hand a task for a satellite to a ground program, beside those it was handed before."""
        with self._lock:
            self._orders.setdefault(node, []).append(order)
            text = orders_json(self._orders[node])
        self._client.publish(topics.orders(topics.slug(node)), text, qos=1, retain=True)

    def _publish(self, command: Start | Stop, wait_s: float = 5.0) -> None:
        with self._lock:
            self._command = command
        info = self._client.publish(topics.CONTROL, command.model_dump_json(), qos=1, retain=True)
        if wait_s == 0:
            return
        with contextlib.suppress(RuntimeError):  # not connected: it is published again with the connection
            info.wait_for_publish(timeout=wait_s)

    def close(self) -> None:
        """Leave the broker and close the log; may be called twice."""
        self._client.disconnect()
        self._client.loop_stop()
        if self._sessions is not None:
            self._sessions.stop()
        self._tell_refusals()
        with self._lock, contextlib.suppress(OSError):  # what a full disk did not take: see `check`
            self._log.close()


def _filters(node: str) -> list[tuple[str, int]]:
    """Return what the run reads of a node (topic, QoS)."""
    return [(topics.event(node), 1), (topics.clock_question(node), 0)]


def _tell_the_time(client: mqtt.Client, message: mqtt.MQTTMessage) -> None:
    """Answer a node that compares its clock with the run's (nodes/clocks/exchange.py)."""
    received_s = time.monotonic()
    if len(message.payload) > CLOCK_QUESTION_MAX_BYTES:
        return
    word = message.payload.decode(errors="replace")
    answer = ClockAnswer(asked=word, received_s=received_s, answered_s=time.monotonic())
    topic = topics.clock_answer(topics.node_of(message.topic))
    client.publish(topic, answer.model_dump_json(), qos=0)


def _read_event(payload: bytes | bytearray, topic: str) -> EventRecord:
    """Return the record in a payload. Raises ValueError for anything else, and for another node's event."""
    record = EventRecord.from_line(payload)
    if topics.slug(record.node) != topics.node_of(topic):
        raise ValueError(f"an event of another node: {record.node!r:.60}")
    return record
