"""The satellite's side of the link: watches the contact, connects, sends what the outbox holds."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.config import Station
from nodes.management import slug
from nodes.mqtt import identify
from nodes.report import Report
from nodes.transfer.connect import Opened, RacingConnector, close_at_once
from nodes.transfer.messages import DOWN_TOPIC, HELLO_TOPIC, UP_TOPIC, MalformedError, decode_upward
from nodes.transfer.outbox import Outbox
from nodes.transfer.sender import Sender
from nodes.transfer.window import Window

KEEPALIVE_S = 15
IDLE_WAIT_S = 0.05  # also how often the contact is looked at
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it before 3.12
UNSENT_S = 0.02
UNSENT_FLOOR_BYTES = 16 * 1024
UNSENT_CEILING_BYTES = 256 * 1024


class ContactWatch(Protocol):
    """Tells whether there is contact now."""

    def up(self) -> bool:
        """Whether there is; cheap, never blocks."""


class Downlink(threading.Thread):
    """One thread that owns the connection; everything else reaches it through the outbox.

    Args:
        satellite: its name; the slug of it stands in topics and in MQTT client ids.
        stations: brokers, in order of preference, each with what tells whether there is contact.
        outbox: what to send; `wake` is to be called after something was added.
        rate_bit_s: planning rate of the downlink.
        report: gets contact, connected and disconnected, and the sender's events.
    """

    def __init__(
        self,
        *,
        satellite: str,
        stations: Mapping[Station, ContactWatch],
        outbox: Outbox,
        rate_bit_s: float,
        report: Report,
    ) -> None:
        super().__init__(name="downlink", daemon=True)
        self.window = Window(rate_bit_s)
        self._satellite = slug(satellite)
        self._stations = dict(stations)
        self._report = report
        self._sender = Sender(outbox, self.window, report)
        unsent_bytes = int(rate_bit_s / 8 * UNSENT_S)
        unsent_bytes = max(UNSENT_FLOOR_BYTES, min(UNSENT_CEILING_BYTES, unsent_bytes))
        self._unsent_bytes = unsent_bytes
        self._connector = RacingConnector(list(stations), 1, report)
        self._connection: Connection | None = None
        self.contact_up: dict[str, bool] = {}
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.failure: BaseException | None = None
        self.malformed = 0

    def wake(self) -> None:
        """Have a look at the outbox now."""
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"w")

    def stop(self) -> None:
        """End the thread soon; the connection is closed on the way."""
        self._stopping.set()
        self.wake()

    def run(self) -> None:
        """Serve until `stop`; an unexpected error is kept in `failure`."""
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:
            self.failure = error
        finally:
            self._drop("stopped")
            self._connector.abandon()

    def _turn(self) -> None:
        reachable = self._look()
        if self._connection is not None and self._connection.station not in reachable:
            self._drop("contact lost")
        if self._connection is None:
            opened = self._connector.advance(reachable)
            if opened is not None:
                self._adopt(opened)
        connection = self._connection
        if connection is not None:
            self._feed(connection)
        self._wait(connection)

    def _look(self) -> list[Station]:
        """The stations that there is contact with."""
        reachable = []
        for station, watch in self._stations.items():
            up = watch.up()
            if up != self.contact_up.get(station.name):
                self.contact_up[station.name] = up
                self._report("contact", up=up, station=station.name)
            if up:
                reachable.append(station)
        return reachable

    def _adopt(self, opened: Opened) -> None:
        opened.sockets[0].setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, self._unsent_bytes)
        self._connection = Connection(self._satellite, opened, self._heard, self._report)
        self._sender.connected(opened.rtt_s, time.monotonic())

    def _feed(self, connection: Connection) -> None:
        """Hand payloads to the socket for as long as it takes them whole."""
        while connection.alive and connection.drained():
            now_s = time.monotonic()
            self._sender.written(connection.drained_s)
            payload = self._sender.next_payload(now_s)
            if payload is None:
                return
            connection.send(payload)
            if not self._stations[connection.station].up():
                return

    def _wait(self, connection: Connection | None) -> None:
        reading: list[socket.socket] = [self._wake_read]
        writing: list[socket.socket] = []
        wait_s = IDLE_WAIT_S
        if connection is not None and connection.alive:
            reading.append(connection.socket)
            if not connection.drained():
                writing.append(connection.socket)
        elif any(self.contact_up.values()):
            shaking, connecting = self._connector.waits()
            reading += shaking
            writing += connecting
            wait_s = min(wait_s, self._connector.wait_s())
        readable, writable, _ = select.select(reading, writing, [], wait_s)
        if self._wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
        if connection is not None:
            connection.serve(connection.socket in readable, connection.socket in writable)
            if not connection.alive:
                self._drop("connection lost")

    def _heard(self, payload: bytes) -> None:
        try:
            message = decode_upward(payload)
        except MalformedError as error:
            self.malformed += 1
            self._report("malformed", sender="ground", reason=str(error), count=self.malformed)
            return
        self._sender.handle(message, time.monotonic())

    def _drop(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.close()
            self._report("disconnected", station=self._connection.station.name, reason=reason)
            self._connection = None


class Connection:
    """One MQTT session over one TCP connection, driven by the caller's thread.

    paho's own thread is not used: with it, a publish queues, and nobody could say when the first byte of an
    item went to the socket, nor what can still be overtaken. A session is used once and then thrown away, so
    that nothing of a lost contact is sent in the next one.
    """

    def __init__(self, satellite: str, opened: Opened, heard: Heard, report: Report) -> None:
        self.station = opened.station
        self.socket = opened.sockets[0]
        self._alive = True
        self.drained_s = time.monotonic()
        self._topic = DOWN_TOPIC.format(satellite=satellite)
        self._heard = heard
        self._report = report
        self._client = _OpenedClient(satellite, self.socket)
        identify(self._client, opened.station.access)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect(opened.station.host, opened.station.port, keepalive=KEEPALIVE_S)
        # MQTT 3.1.1, 3.1.4: a client need not wait for CONNACK. It saves one round trip of every contact.
        self._client.subscribe([(UP_TOPIC.format(satellite=satellite), 0), (HELLO_TOPIC, 0)])

    @property
    def alive(self) -> bool:
        """Whether it can be used; paho closes the socket by itself when it finds it broken."""
        return self._alive and self.socket.fileno() >= 0

    def drained(self) -> bool:
        """Whether the socket has taken all that was handed over."""
        return not self._client.want_write()

    def send(self, payload: bytes) -> None:
        """Hand a payload to the socket; as much as it takes goes at once, the rest with `serve`."""
        self._note(self._client.publish(self._topic, payload, qos=0).rc)

    def serve(self, readable: bool, writable: bool) -> None:
        """Let MQTT read, write and keep alive."""
        if readable:
            self._note(self._client.loop_read())
            while self.alive and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                self._note(self._client.loop_read())  # decrypted already, so nothing to wait for
        if writable and self.alive:
            self._note(self._client.loop_write())
        if self.alive:
            self._note(self._client.loop_misc())

    def close(self) -> None:
        """Close now, without waiting for a link that may be gone."""
        self._alive = False
        close_at_once(self.socket)

    def _note(self, outcome: MQTTErrorCode) -> None:
        if outcome != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._alive = False
        elif self.drained():
            self.drained_s = time.monotonic()

    def _on_connect(
        self, _: Client, __: object, ___: ConnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if reason.is_failure:
            self._alive = False
            self._report("connection_refused", station=self.station.name, reason=str(reason))
        else:
            self._report("connected", station=self.station.name)

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        self._heard(bytes(message.payload))


class Heard(Protocol):
    """Takes the payload of a message from the ground."""

    def __call__(self, payload: bytes) -> None:
        """Handle it; must not block."""


class _OpenedClient(Client):
    """A paho client on a socket that is connected already; paho itself could only block to connect."""

    def __init__(self, client_id: str, opened: socket.socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self._opened = opened

    def _create_socket_connection(self) -> socket.socket:
        return self._opened
