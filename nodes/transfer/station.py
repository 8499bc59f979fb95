"""Uplink and downlink of a ground station: stores what satellites send, and replies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.contract import topics
from nodes.contract.config import BrokerAddress
from nodes.contract.events import Connected, ConnectionRefused, Disconnected
from nodes.contract.report import Report, ScenarioTime, no_time
from nodes.runtime.mqtt import make_client_of, start
from nodes.transfer.inbox import Inbox, InboxItem
from nodes.transfer.messages import Hello, encode
from nodes.transfer.receiver import Receiver
from nodes.transfer.senders.sieve import SievingClient
from nodes.transfer.senders.turns import BULK, EXPRESS, Arrival, Turns

KEEPALIVE_S = 15
BATCH_S = 0.02


class StationLink(threading.Thread):
    """Thread that stores payloads and replies; paho's network threads feed it.

    A slow disk therefore delays no keepalive. Urgent payloads have a separate connection here, too, and
    overtake payloads of the same satellite that wait for the disk. Satellites take turns.

    Args:
        name: the station's name, from which the MQTT client ids are made.
        broker: the station's own broker.
        inbox: box that stores the items.
        report: receives the receiver's events, connected and disconnected.
        on_complete: called in this thread once for each item that becomes complete.
        scenario_s: returns the scenario time, or None before it is known.

    Attributes:
        on_task_reply: called in a network thread with (satellite, what it says about its tasks); to be set
            before the start. None: nobody sends tasks.
    """

    def __init__(
        self,
        *,
        name: str,
        broker: BrokerAddress,
        inbox: Inbox,
        report: Report,
        on_complete: Callable[[InboxItem], None],
        scenario_s: ScenarioTime = no_time,
    ) -> None:
        super().__init__(name="station", daemon=True)
        self.receiver = Receiver(inbox, report, on_complete, scenario_s)
        self._station = name
        self._broker = broker
        self._report = report
        self.on_task_reply: Callable[[str, bytes], None] | None = None
        self._arrivals = Turns()
        self._stopping = threading.Event()
        self.failure: BaseException | None = None
        self._bulk = self._client(BULK, None)
        self._express = self._client(EXPRESS, topics.EXPRESS)

    def run(self) -> None:
        """Serve until `stop`; store an unexpected error in `failure`."""
        clients = self._express, self._bulk
        try:
            for client in clients:
                start(client, self._broker, KEEPALIVE_S)
            while not self._stopping.is_set():
                self._store_batch()
        except Exception as error:
            self.failure = error
        finally:
            self._stopping.set()
            for client in clients:
                client.disconnect()
                client.loop_stop()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a payload to the broker; from any thread. Without a connection it is lost."""
        self._bulk.publish(topic, payload, qos=0)

    def _client(self, urgency: int, session: str | None) -> Client:
        client_id = f"{self._station}-ground" if session is None else f"{self._station}-ground-{session}"
        client = make_client_of(SievingClient, client_id, self._broker, session)
        client.admits = lambda topic, size_bytes: self._arrivals.admits(_sender(topic), urgency, size_bytes)
        if urgency == BULK:
            client.on_connect = self._on_connect
            client.on_disconnect = self._on_disconnect
        else:
            client.on_connect = self._on_express_connect

        def on_message(_: Client, __: object, message: MQTTMessage) -> None:
            self._take(urgency, message)

        client.on_message = on_message
        return client

    def _store_batch(self) -> None:
        """Store waiting payloads, then reply once per item, so that a slower disk causes fewer replies."""
        until_s, timeout_s = time.monotonic() + BATCH_S, 0.1
        while (arrival := self._arrivals.get(timeout_s)) is not None:
            began_s = time.monotonic()
            self.receiver.handle(arrival.sender, arrival.payload, arrival.at_s)
            ended_s = time.monotonic()
            self._arrivals.spent(arrival.sender, ended_s - began_s)
            if ended_s >= until_s:
                break
            timeout_s = 0.0
        for satellite, reply in self.receiver.replies():
            self._bulk.publish(topics.up(satellite), encode(reply), qos=0)
        for (sender, reason), count in self._arrivals.take_refused().items():
            self.receiver.refusals.add(sender, reason, count)
        self.receiver.refusals.tell()

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if reason.is_failure:
            self._report(ConnectionRefused(station=self._station, reason=str(reason)))
            return
        client.subscribe(topics.down(topics.ANY), qos=0)
        if self.on_task_reply is not None:
            client.subscribe(topics.tasks_down(topics.ANY), qos=0)
        client.publish(topics.HELLO, encode(Hello()), qos=0)
        self._report(Connected(station=self._station))

    def _on_express_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if not reason.is_failure:  # the other connection reports
            client.subscribe(topics.express(topics.ANY), qos=0)
            client.publish(topics.HELLO, encode(Hello()), qos=0)

    def _on_disconnect(
        self, _: Client, __: object, ___: object, reason: ReasonCode, ____: Properties | None
    ) -> None:
        if not self._stopping.is_set():
            self._report(Disconnected(station=self._station, reason=str(reason)))

    def _take(self, urgency: int, message: MQTTMessage) -> None:
        satellite = topics.node_of(message.topic)
        if self.on_task_reply is not None and message.topic == topics.tasks_down(satellite):
            self.on_task_reply(satellite, bytes(message.payload))
            return
        self._arrivals.put(Arrival(urgency, time.monotonic(), satellite, bytes(message.payload)))


def _sender(topic: bytes) -> str:
    return topics.node_of(topic.decode(errors="replace"))
