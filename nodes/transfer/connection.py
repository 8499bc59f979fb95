"""MQTT sessions to a ground station over sockets that are open already."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.contract.config import Station
from nodes.contract.events import Connected, ConnectionRefused
from nodes.contract.report import Report
from nodes.runtime.mqtt import identify
from nodes.transfer.connect import close_at_once

KEEPALIVE_S = 15
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it before 3.12
SO_MAX_PACING_RATE = 47  # asm-generic/socket.h
EXPEDITED = 0xB8  # DSCP EF, RFC 3246
INTERACTIVE_PRIORITY = 6  # linux/pkt_sched.h: TC_PRIO_INTERACTIVE
Heard = Callable[[bytes], None]


class Connection:
    """One MQTT session over one TCP connection, driven by the caller's thread.

    paho's own thread is not used: with it, a publish queues, and nobody could say when the first byte of an
    item went to the socket, nor what can still be overtaken. A session is used once and then thrown away, so
    that nothing of a lost contact is sent in the next one.

    Args:
        client_id: what the broker knows it by.
        station: where the socket leads.
        opened: the socket.
        topic: where it publishes.
        report: gets connected and connection_refused, if `heard` is given.
        replies: topics to subscribe to.
        heard: takes what comes there.
    """

    def __init__(
        self,
        *,
        client_id: str,
        station: Station,
        opened: socket.socket,
        topic: str,
        report: Report,
        replies: list[str] | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.station = station
        self.socket = opened
        self._alive = True
        self.refused = False
        self.drained_s = time.monotonic()
        self._topic = topic
        self._heard = heard
        self._report = report
        self._client = _OpenedClient(client_id, opened)
        identify(self._client, station.access)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect(station.host, station.port, keepalive=KEEPALIVE_S)
        # MQTT 3.1.1, 3.1.4: a client need not wait for CONNACK. It saves one round trip of every contact.
        if replies:
            self._client.subscribe([(reply, 0) for reply in replies])

    @property
    def alive(self) -> bool:
        """Whether it can be used; paho closes the socket by itself when it finds it broken."""
        return self._alive and self.socket.fileno() >= 0

    def drained(self) -> bool:
        """Whether the socket has taken all that was handed over."""
        return not self._client.want_write()

    def pace(self, rate_byte_s: float) -> None:
        """Let the kernel send no faster than this."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, min(int(rate_byte_s), 0x7FFFFFFF))

    def send(self, payload: bytes) -> None:
        """Hand a payload to the socket; as much as it takes goes at once, the rest with `serve`."""
        self._note(self._client.publish(self._topic, payload, qos=0).rc)

    def serve(self, readable: bool, writable: bool) -> None:
        """Let MQTT read, write and keep alive."""
        if readable and self.alive:
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
            self._alive, self.refused = False, True
            self._report(ConnectionRefused(station=self.station.name, reason=str(reason)))
        elif self._heard is not None:
            self._report(Connected(station=self.station.name))

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        if self._heard is not None:
            self._heard(bytes(message.payload))


def prepare_bulk(opened: socket.socket, unsent_bytes: int) -> None:
    """Socket options for images.

    Args:
        opened: the socket.
        unsent_bytes: how much the kernel may hold that it has not sent; what sits there cannot be recalled.
    """
    opened.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes)
    # BBR keeps the link's queue short, which everything urgent has to pass through. Not every kernel has it.
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")


def prepare_express(opened: socket.socket) -> None:
    """Socket options for what is urgent: little in the kernel, and marked for queues that look at that."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    with contextlib.suppress(OSError):
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, INTERACTIVE_PRIORITY)


class _OpenedClient(Client):
    """A paho client on a socket that is connected already; paho itself could only block to connect."""

    def __init__(self, client_id: str, opened: socket.socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self._opened = opened

    def _create_socket_connection(self) -> socket.socket:
        return self._opened
