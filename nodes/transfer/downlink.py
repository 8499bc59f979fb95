"""Downlink of a satellite: watches contacts, connects, and sends the items of the outbox."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from nodes.contract import topics
from nodes.contract.config import Station, session_name
from nodes.contract.events import ContactChanged, Disconnected, QueueReported
from nodes.contract.report import NoClock, Report, ScenarioClock, ScenarioTime, no_time
from nodes.power.supply import Mains, Supply
from nodes.runtime.contact import POLL_S, poll_s
from nodes.transfer.connect import Opened, RacingConnector
from nodes.transfer.connection import Connection, prepare_bulk, prepare_express
from nodes.transfer.flow_control import Window
from nodes.transfer.messages import (
    Again,
    Heartbeat,
    Hello,
    MalformedError,
    Upward,
    decode_upward,
    encode,
)
from nodes.transfer.outbox import Outbox
from nodes.transfer.repeats.requests import REQUESTS_PER_S, Requests
from nodes.transfer.sender import Sender
from nodes.transfer.senders.refusals import Refusals
from nodes.transfer.uplink.satellite import TaskInbox

TIDY_S = 1.0
TIDY_AT_LEAST_S = 0.05
UNSENT_S = 0.02
UNSENT_FLOOR_BYTES = 16 * 1024
UNSENT_CEILING_BYTES = 256 * 1024
PACED_RTT_S = 0.1
PACE_MARGIN = 1.25
SILENCES_MAX = 2  # consecutive queries without a reply; after more of them another station is preferred
SHUN_S = 20.0
REFUSED_S = 5.0


class ContactWatch(Protocol):
    """Detects whether there is contact with one station."""

    def up(self) -> bool:
        """Return whether there is contact now, or was a moment ago; cheap, and never blocks."""

    def look(self) -> bool:
        """Return whether there is contact at this moment; from any thread."""


class Lane:
    """Sender, window and current connection of one kind of traffic."""

    def __init__(self, outbox: Outbox, rate_bit_s: float, report: Report, *, express: bool) -> None:
        self.window = Window(rate_bit_s)
        self.sender = Sender(outbox, self.window, report, express=express)
        self.connection: Connection | None = None

    def feed(self, may_go_on: Callable[[], bool]) -> None:
        """Send payloads for as long as the socket accepts them in full and `may_go_on` returns True."""
        connection = self.connection
        while connection is not None and connection.alive and connection.drained():
            self.sender.written(connection.drained_s)
            payload = self.sender.next_payload(time.monotonic())
            if payload is None:
                return
            connection.send(payload)
            if not may_go_on():
                return


class Downlink(threading.Thread):
    """Thread that owns the connections; other threads reach it through the outbox.

    Tasks from the ground come over the connection of images.

    Args:
        satellite: name of the satellite; topics and MQTT client ids contain its slug.
        stations: ground stations in order of preference, each with its contact watch.
        outbox: items to send; call `wake` after adding one.
        rate_bit_s: planning rate of the downlink, bits in a second of scenario time.
        report: receives contact, connected and disconnected, and the senders' events.
        heartbeat_s: time between two heartbeats while connected; 0 means none.
        clock: scenario time. However fast it runs, keepalives, heartbeats, time limits and pauses after a
            refusal stay real.
        contact_ends_s: returns the scenario time at which this contact ends, or None if it is unknown.

    Attributes:
        tasks: takes tasks from the ground; None: none are taken.
        queue_every_s: how often a changed queue is reported, in scenario time; None: never.
        on_activity: called in this thread whenever there is something to do, has to be at another time, or is
            nothing to do any more.
        expects_contact: returns whether a contact may begin within the next POLL_S of real time. Until then
            carriers are looked at less often; cheap, and never blocks.
        supply: powers the radio; without it there is no contact.
    """

    def __init__(
        self,
        *,
        satellite: str,
        stations: Mapping[Station, ContactWatch],
        outbox: Outbox,
        rate_bit_s: float,
        report: Report,
        heartbeat_s: float = 0.0,
        clock: ScenarioClock | None = None,
        contact_ends_s: ScenarioTime = no_time,
    ) -> None:
        super().__init__(name="downlink", daemon=True)
        self._satellite = topics.slug(satellite)
        self._stations = dict(stations)
        self._outbox = outbox
        self._report = report
        self._heartbeat_s = heartbeat_s
        self._clock = clock or NoClock()
        self._contact_ends_s = contact_ends_s
        self.tasks: TaskInbox | None = None
        self.queue_every_s: float | None = None
        self.supply: Supply = Mains()
        self._queue = QueueReported(items=0, size_bytes=0, best_value=0.0, deadline_s=None, sending=False)
        self._next_queue_s = 0.0
        self.on_activity: Callable[[], None] = lambda: None
        self.expects_contact: Callable[[], bool] = lambda: True
        self._told_due_s = -math.inf
        self._bulk = Lane(outbox, rate_bit_s, report, express=False)
        self._express = Lane(outbox, rate_bit_s, report, express=True)
        self._lanes = self._express, self._bulk
        self.window = self._bulk.window
        unsent_bytes = int(rate_bit_s / 8 * UNSENT_S)
        self._unsent_bytes = max(UNSENT_FLOOR_BYTES, min(UNSENT_CEILING_BYTES, unsent_bytes))
        self._connector = RacingConnector(list(stations), len(self._lanes), report)
        self._station: Station | None = None
        self._only_the_link_was_lost = False
        self._refused_until_s: dict[str, float] = {}
        self._shunned: dict[str, float] = {}
        self._contacts = 0
        self._sent_bytes = 0
        self._next_beat_s = self._next_tidy_s = 0.0
        self.contact_up: dict[str, bool] = {}
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.failure: BaseException | None = None
        self.refusals = Refusals(report)
        self._requests = Requests(outbox)

    def wake(self) -> None:
        """Check the outbox now."""
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"w")

    def retime(self) -> None:
        """Look at all that depends on scenario time now: it has jumped, or changed its speed."""
        self._next_tidy_s = 0.0
        self.wake()

    def due_s(self) -> float:
        """Return the scenario time at which there is something to do: -inf now, inf never; from any thread.

        A link that is up keeps the satellite busy until its connections are open and the ground has all
        items. While every link is down, the next expiry counts alone, for the run knows the contacts.
        """
        radio_on = self.supply.radio_on
        looks = ((station.name, radio_on and watch.look()) for station, watch in self._stations.items())
        unseen = any(up != self.contact_up.get(name) for name, up in looks)
        return -math.inf if unseen else self._due_s()

    def _due_s(self) -> float:
        items = self._outbox.count
        if any(self.contact_up.values()) and not (self._is_open and items == 0):
            return -math.inf
        if self.queue_every_s is not None and items != self._queue.items:  # its report waits
            return -math.inf
        return self._outbox.next_expiry_s()

    @property
    def _is_open(self) -> bool:
        return self._station is not None and all(
            lane.connection is not None and lane.connection.accepted for lane in self._lanes
        )

    def waiting(self) -> tuple[int, int]:
        """Return (bytes of the outbox that were not sent, items that the ground does not have)."""
        return max(0, self._outbox.own_bytes() - self._sent_bytes), self._outbox.count

    def stop(self) -> None:
        """Ask the thread to close its connections and end."""
        self._stopping.set()
        self.wake()

    def run(self) -> None:
        """Serve until `stop`; store an unexpected error in `failure`."""
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:
            self.failure = error
        finally:
            self._drop("stopped")
            self._connector.abandon()

    def _turn(self) -> None:
        self._connector.speed = self._bulk.window.speed = self._express.window.speed = self._clock.speed()
        reachable = self._look()
        if self._station is not None and self._station not in reachable:
            self._drop("contact lost")
            self._only_the_link_was_lost = True
        if self._station is None:
            opened = self._connector.advance(self._preferred(reachable))
            if opened is not None:
                self._adopt(opened)
        self._tidy()
        self._use_radio()
        if self._station is not None:
            self._feed(self._station)
        self._sent_bytes = sum(lane.sender.sent_bytes for lane in self._lanes)
        if (due_s := self._due_s()) != self._told_due_s:
            self._told_due_s = due_s
            self.on_activity()
        self._wait()

    def _use_radio(self) -> None:
        """Tell the power supply what the radio does."""
        if not any(self.contact_up.values()):
            self.supply.radio("off")
        else:
            self.supply.radio("transmit" if self._is_open and self._outbox.count else "on")

    def _look(self) -> list[Station]:
        """Return the stations in contact, and report changes."""
        reachable = []
        for station, watch in self._stations.items():
            up = self.supply.radio_on and watch.up()
            if up != self.contact_up.get(station.name):
                self.contact_up[station.name] = up
                self._contacts += up
                waiting, waiting_bytes = self._outbox.depth()
                self._report(
                    ContactChanged(station=station.name, up=up, waiting=waiting, waiting_bytes=waiting_bytes)
                )
            if up:
                reachable.append(station)
        return reachable

    def _preferred(self, reachable: list[Station]) -> list[Station]:
        """Leave out stations that refused recently and, if others remain, those without a reply."""
        now_s = time.monotonic()
        reachable = [s for s in reachable if self._refused_until_s.get(s.name, 0.0) <= now_s]
        willing = [s for s in reachable if self._shunned.get(s.name, 0.0) <= now_s]
        return willing or reachable

    def _adopt(self, opened: Opened) -> None:
        bulk, express = opened.sockets
        prepare_bulk(bulk, self._unsent_bytes)
        prepare_express(express)
        self._station = opened.station
        access = opened.station.access
        self._bulk.connection = Connection(
            client_id=self._satellite,
            access=access,
            station=opened.station,
            opened=bulk,
            topic=topics.down(self._satellite),
            report=self._report,
            replies=[
                topics.up(self._satellite),
                topics.HELLO,
                *([] if self.tasks is None else [topics.tasks_up(self._satellite)]),
            ],
            heard=self._heard,
        )
        self._express.connection = Connection(
            client_id=session_name(self._satellite, topics.EXPRESS),
            access=None if access is None else access.second(topics.EXPRESS),
            station=opened.station,
            opened=express,
            topic=topics.express(self._satellite),
            report=self._report,
        )
        self._say_hello()
        self._next_beat_s = 0.0
        for lane in self._lanes:
            lane.sender.connected(opened.rtt_s, time.monotonic(), go_on=self._only_the_link_was_lost)
        self._pace()

    def _say_hello(self) -> None:
        """Tell the ground that tasks can come now."""
        if self.tasks is not None:
            self._reply_to_tasks([Hello()])

    def _reply_to_tasks(self, replies: Sequence[Upward]) -> None:
        connection = self._bulk.connection
        for reply in replies:
            if connection is not None and connection.alive:
                connection.send(encode(reply), topics.tasks_down(self._satellite))

    def _pace(self) -> None:
        """Prevent TCP's startup from filling the link's queue; on short paths that does little harm.

        BBR starts at 2.9 times the rate and leaves this phase only if it never runs out of data, but the
        window makes it run out. The limit never falls below the planning rate: if it followed a falling
        estimate, the estimate would fall further.
        """
        connection, window = self._bulk.connection, self._bulk.window
        if connection is not None and connection.alive and window.rtt_s >= PACED_RTT_S / window.speed:
            connection.pace(max(window.rate_byte_s, window.planned_byte_s) * PACE_MARGIN)

    def _feed(self, station: Station) -> None:
        watch = self._stations[station]
        self._beat()
        self._reply()
        self._express.feed(watch.up)
        self._bulk.feed(lambda: watch.up() and self._express_is_idle())

    def _express_is_idle(self) -> bool:
        """Return whether images may be sent: no answer waits and no heartbeat is due."""
        return self._express.sender.idle and (not self._heartbeat_s or time.monotonic() < self._next_beat_s)

    def _beat(self) -> None:
        connection, now_s = self._express.connection, time.monotonic()
        if not self._heartbeat_s or connection is None or now_s < self._next_beat_s:
            return
        self._next_beat_s = now_s + self._heartbeat_s
        if connection.alive and connection.drained():  # a late heartbeat would be useless
            pending, pending_bytes = self._outbox.depth()
            heartbeat = Heartbeat(
                monotonic_s=now_s,
                time_s=self._clock.now_s(),
                pending=pending,
                pending_bytes=pending_bytes,
                contacts=self._contacts,
            )
            connection.send(encode(heartbeat))

    def _reply(self) -> None:
        """Reply to the station's requests for released items."""
        connection = self._express.connection
        while connection is not None and connection.alive and connection.drained():
            reply = self._requests.next_reply()
            if reply is None:
                return
            connection.send(encode(reply))

    def _wait(self) -> None:
        reading: list[socket.socket] = [self._wake_read]
        writing: list[socket.socket] = []
        is_close = any(self.contact_up.values()) or self.expects_contact()
        wait_s = poll_s(self._clock.speed()) if is_close else POLL_S
        connections = [lane.connection for lane in self._lanes if lane.connection is not None]
        for connection in connections:
            if connection.alive:
                reading.append(connection.socket)
                if not connection.drained():
                    writing.append(connection.socket)
        if not connections and any(self.contact_up.values()):
            shaking, connecting = self._connector.waits()
            reading += shaking
            writing += connecting
            wait_s = min(wait_s, self._connector.wait_s())
        readable, writable = _ready(reading, writing, wait_s)
        if self._wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
        for connection in connections:
            connection.serve(connection.socket in readable, connection.socket in writable)
        if self._station is not None and any(connection.refused for connection in connections):
            self._refused_until_s[self._station.name] = time.monotonic() + REFUSED_S
        if not all(connection.alive for connection in connections):
            self._drop("connection lost")

    def _tidy(self) -> None:
        """Do the periodic work, once every TIDY_S of scenario time."""
        now_s = time.monotonic()
        if now_s < self._next_tidy_s:
            return
        speed = self._clock.speed()
        self._next_tidy_s = now_s + max(TIDY_S / speed, min(TIDY_S, TIDY_AT_LEAST_S))
        self.refusals.tell()
        self._outbox.settle_again()
        self._pace()
        time_s, ends_s = self._clock.now_s(), self._contact_ends_s()
        if time_s is not None:
            self._outbox.expire(time_s)
        for lane in self._lanes:
            lane.sender.forget_settled()
            known = time_s is not None and ends_s is not None and ends_s > time_s
            left_s = ends_s - time_s if known else None  # type: ignore[operator]
            lane.sender.contact_ends_s = None if left_s is None else now_s + left_s / speed
        self._report_queue(now_s, speed)
        if self._station is not None and self._bulk.sender.silences > SILENCES_MAX:
            others = [s for s in self._look() if s != self._station]
            if others:
                self._shunned[self._station.name] = now_s + SHUN_S
                self._drop("no reply from the ground program")

    def _report_queue(self, now_s: float, speed: float) -> None:
        if self.queue_every_s is None or now_s < self._next_queue_s:
            return
        items, size_bytes = self._outbox.depth()
        value, deadline_s = self._outbox.most_urgent()
        queue = QueueReported(
            items=items,
            size_bytes=size_bytes,
            best_value=value,
            deadline_s=deadline_s,
            sending=any(lane.sender.sent_bytes > 0 for lane in self._lanes),
        )
        if queue != self._queue:
            self._queue, self._next_queue_s = queue, now_s + self.queue_every_s / speed
            self._report(queue)

    def _heard(self, topic: str, payload: bytes) -> None:
        if self.tasks is not None and topic == topics.tasks_up(self._satellite):
            self.tasks.receive(payload)
            self._reply_to_tasks(self.tasks.replies())
            return
        try:
            message = decode_upward(payload)
        except MalformedError as error:
            self.refusals.add("ground", str(error))
            return
        if isinstance(message, Again):
            if not self._requests.handle(message, time.monotonic()):
                self.refusals.add("ground", f"more than {REQUESTS_PER_S:g} requests a second for old items")
            return
        if isinstance(message, Hello):
            self._say_hello()
        for lane in self._lanes:
            lane.sender.handle(message, time.monotonic())

    def _drop(self, reason: str) -> None:
        if self._station is None:
            return
        for lane in self._lanes:
            if lane.connection is not None:
                lane.connection.close()
                lane.connection = None
        self._requests.forget()
        self._report(Disconnected(station=self._station.name, reason=reason))
        self._station = None
        self._only_the_link_was_lost = False


def _ready(
    reading: Sequence[socket.socket], writing: Sequence[socket.socket], wait_s: float
) -> tuple[set[Any], set[Any]]:
    """Wait until a socket can be read or written; return those that can. Descriptors may have any number."""
    with selectors.PollSelector() as selector:
        for one in {*reading, *writing}:
            wanted = selectors.EVENT_READ * (one in reading) | selectors.EVENT_WRITE * (one in writing)
            selector.register(one, wanted)
        ready = selector.select(wait_s)
    readable = {key.fileobj for key, events in ready if events & selectors.EVENT_READ}
    return readable, {key.fileobj for key, events in ready if events & selectors.EVENT_WRITE}
