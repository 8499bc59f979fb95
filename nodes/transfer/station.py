"""The ground station's side of the link: takes what satellites send, stores it, replies."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.config import BrokerAddress
from nodes.mqtt import make_client, start
from nodes.report import Report
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import DOWN_TOPIC, HELLO_TOPIC, UP_TOPIC, Hello, encode
from nodes.transfer.receiver import Receiver

KEEPALIVE_S = 15
WAITING_MAX = 64  # payloads between network and disk: 16 MiB of the largest chunks, then TCP pushes back
BATCH_S = 0.02


class Arrival(NamedTuple):
    """A payload as it came."""

    satellite: str
    payload: bytes
    at_s: float


class StationLink(threading.Thread):
    """A thread that stores and replies, fed by paho's network thread: a slow disk stalls no keepalive.

    Args:
        name: the station's name, its MQTT client id.
        broker: the station's own broker.
        inbox: where items are kept.
        report: gets the receiver's events, connected and disconnected.
        on_complete: called in this thread once per item that became complete.
    """

    def __init__(
        self,
        *,
        name: str,
        broker: BrokerAddress,
        inbox: Inbox,
        report: Report,
        on_complete: Callable[[InboxItem], None],
    ) -> None:
        super().__init__(name="station", daemon=True)
        self.receiver = Receiver(inbox, report, on_complete)
        self._station = name
        self._broker = broker
        self._report = report
        self._arrivals: queue.Queue[Arrival | None] = queue.Queue(WAITING_MAX)
        self._stopping = threading.Event()
        self.failure: BaseException | None = None
        self._client = make_client(f"{name}-ground", broker)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def run(self) -> None:
        """Serve until `stop`; an unexpected error is kept in `failure`."""
        start(self._client, self._broker, KEEPALIVE_S)
        try:
            while not self._stopping.is_set():
                self._store_batch()
        except Exception as error:
            self.failure = error
        finally:
            self._stopping.set()
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping.set()

    def _store_batch(self) -> None:
        """Store what has come, then reply once per item: replies grow rarer as the disk gets slower."""
        try:
            arrival = self._arrivals.get(timeout=0.1)
        except queue.Empty:
            return
        until_s = time.monotonic() + BATCH_S
        while arrival is not None:
            self.receiver.handle(*arrival)
            if time.monotonic() >= until_s:
                break
            try:
                arrival = self._arrivals.get_nowait()
            except queue.Empty:
                break
        for satellite, reply in self.receiver.replies():
            self._client.publish(UP_TOPIC.format(satellite=satellite), encode(reply), qos=0)

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if reason.is_failure:
            self._report("connection_refused", station=self._station, reason=str(reason))
            return
        client.subscribe(DOWN_TOPIC.format(satellite="+"), qos=0)
        client.publish(HELLO_TOPIC, encode(Hello()), qos=0)
        self._report("connected", station=self._station)

    def _on_disconnect(
        self, _: Client, __: object, ___: object, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if not self._stopping.is_set():
            self._report("disconnected", station=self._station, reason=str(reason))

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        arrival = Arrival(message.topic.rsplit("/", 1)[-1], bytes(message.payload), time.monotonic())
        while not self._stopping.is_set():
            try:
                self._arrivals.put(arrival, timeout=0.1)
                return
            except queue.Full:
                continue
