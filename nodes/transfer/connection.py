"""MQTT sessions to a ground station over connected sockets."""

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

from nodes.contract.config import MqttAccess, Station
from nodes.contract.events import Connected, ConnectionRefused
from nodes.contract.report import Report
from nodes.runtime.mqtt import identify
from nodes.transfer.connect import close_at_once

KEEPALIVE_S = 15
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it before 3.12
SO_MAX_PACING_RATE = 47  # asm-generic/socket.h
EXPEDITED = 0xB8  # DSCP EF, RFC 3246
INTERACTIVE_PRIORITY = 6  # linux/pkt_sched.h: TC_PRIO_INTERACTIVE
Heard = Callable[[str, bytes], None]


class Connection:
    """One MQTT session over one TCP connection, driven by the caller's thread.

    paho's network thread is not used: it queues publications, which hides when the first byte of an item is
    written to the socket and which payloads can still be overtaken. A session is used for one contact only,
    so that no payload of a lost contact is sent in the next one.

    Args:
        client_id: MQTT client id, for brokers without accounts.
        access: account at the station's broker.
        station: station at the other end of the socket.
        opened: the connected socket.
        topic: topic to publish to.
        report: receives connection_refused and, if `heard` is set, connected.
        replies: topics to subscribe to.
        heard: receives topic and payload of what comes there.
    """

    def __init__(
        self,
        *,
        client_id: str,
        access: MqttAccess | None,
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
        self.accepted = self.refused = False
        self.drained_s = time.monotonic()
        self._topic = topic
        self._heard = heard
        self._report = report
        self._client = _OpenedClient(client_id, opened)
        identify(self._client, access)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect(station.host, station.port, keepalive=KEEPALIVE_S)
        # MQTT 3.1.1, 3.1.4: a client need not wait for CONNACK. This saves one round trip in every contact.
        if replies:
            self._client.subscribe([(reply, 0) for reply in replies])

    @property
    def alive(self) -> bool:
        """Whether the session can be used; paho itself closes a broken socket."""
        return self._alive and self.socket.fileno() >= 0

    def drained(self) -> bool:
        """Return whether the socket has accepted every payload in full."""
        return not self._client.want_write()

    def pace(self, rate_byte_s: float) -> None:
        """Limit the rate at which the kernel sends."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, min(int(rate_byte_s), 0x7FFFFFFF))

    def send(self, payload: bytes, topic: str | None = None) -> None:
        """Write a payload to the socket; `serve` writes the part that does not fit at once.

        Args:
            payload: the payload.
            topic: None for the connection's own.
        """
        self._note(self._client.publish(topic or self._topic, payload, qos=0).rc)

    def serve(self, readable: bool, writable: bool) -> None:
        """Read, write and keep the session alive."""
        if readable and self.alive:
            self._note(self._client.loop_read())
            while self.alive and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                self._note(self._client.loop_read())  # already decrypted, so select() does not report it
        if writable and self.alive:
            self._note(self._client.loop_write())
        if self.alive:
            self._note(self._client.loop_misc())

    def close(self) -> None:
        """Close at once, without waiting for a link that may be down."""
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
            return
        self.accepted = True
        if self._heard is not None:
            self._report(Connected(station=self.station.name))

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        if self._heard is not None:
            self._heard(message.topic, bytes(message.payload))


def prepare_bulk(opened: socket.socket, unsent_bytes: int) -> None:
    """Set the socket options for images.

    Args:
        opened: the socket.
        unsent_bytes: largest amount of unsent data in the kernel, where it cannot be overtaken.
    """
    opened.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes)
    # Urgent messages pass through the link's queue, which BBR keeps short. Not every kernel has BBR.
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")


def prepare_express(opened: socket.socket) -> None:
    """Set the socket options for urgent messages: a small send buffer, and the marks that queues evaluate."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    with contextlib.suppress(OSError):
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, INTERACTIVE_PRIORITY)


class _OpenedClient(Client):
    """A paho client on a connected socket, since paho can only connect by blocking."""

    def __init__(self, client_id: str, opened: socket.socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self._opened = opened

    def _create_socket_connection(self) -> socket.socket:
        return self._opened
