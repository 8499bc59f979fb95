"""Several sessions at one broker, served in turns by one thread.

A broker queues messages for each session apart, and drops what exceeds the queue. With a session for each
node, a flood of one can fill its own queue only.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from nodes.contract.config import session_name
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account

KEEPALIVE_S = 5  # a broker that hangs is noticed after some ten seconds at most
RECONNECT_S = 0.05  # before the nodes are back, whose events nobody else would take
CARE_S = 0.5  # between two looks at keepalives
CONNECT_TIMEOUT_S = 1.0  # a broker that hangs accepts no further connections
READY_S = 10.0
Filters = Sequence[tuple[str, int]]


class Sessions(threading.Thread):
    """Lasting sessions of one account: the broker keeps messages while a connection is away.

    Each turn takes one message of each session that has one, so that none waits behind another's backlog.

    Args:
        socket: Unix socket of the broker.
        account: the account, which has these sessions.
        filters: what each session subscribes to (topic, QoS), by the session's name.
        on_message: called in this thread, as paho calls it.

    Raises:
        TestbedError: the broker does not answer.
        OSError: the socket cannot be reached.
    """

    def __init__(
        self,
        socket: Path,
        account: Account,
        filters: Mapping[str, Filters],
        on_message: Callable[[mqtt.Client, Any, mqtt.MQTTMessage], None],
    ) -> None:
        super().__init__(name="sessions", daemon=True)
        self._path = socket
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self.failure: Exception | None = None
        self._unready = set(filters)
        self._ready = threading.Event()
        self._clients = [self._client(account, name, own, on_message) for name, own in filters.items()]
        self._next_s = dict.fromkeys(self._clients, float("-inf"))  # of those that are not connected
        self.start()
        if filters and not self._ready.wait(READY_S):
            self.stop()
            raise TestbedError(f"the management broker at {socket} did not answer within {READY_S:g} s")

    def run(self) -> None:
        """Serve until `stop`; store an unexpected error in `failure`."""
        try:
            self._serve_all()
        except Exception as error:
            self.failure = error
        finally:
            for client in self._clients:
                client.disconnect()
            self._selector.close()

    def _serve_all(self) -> None:
        care_s = 0.0
        while not self._stopping.is_set():
            now_s = time.monotonic()
            for client in [client for client, next_s in self._next_s.items() if next_s <= now_s]:
                self._connect(client)
            for key, events in self._selector.select(RECONNECT_S if self._next_s else CARE_S):
                self._serve(key.data, events)
            if now_s >= care_s:
                care_s = now_s + CARE_S
                for client in self._clients:
                    client.loop_misc()

    def stop(self) -> None:
        """End the sessions' connections and the thread."""
        self._stopping.set()
        if self.is_alive():
            self.join(CARE_S + CONNECT_TIMEOUT_S)

    def _client(
        self,
        account: Account,
        name: str,
        filters: Filters,
        on_message: Callable[[mqtt.Client, Any, mqtt.MQTTMessage], None],
    ) -> mqtt.Client:
        username = session_name(account.username, name)
        client = _UnixClient(
            CallbackAPIVersion.VERSION2, client_id=username, transport="unix", clean_session=False
        )
        client.username_pw_set(username, account.password)
        client.on_socket_open = self._on_open
        client.on_socket_close = self._on_close
        client.on_connect = lambda client, *_: client.subscribe(list(filters))
        client.on_subscribe = lambda *_: self._is_ready(name)
        client.on_message = on_message
        client.connect_async(str(self._path), keepalive=KEEPALIVE_S)
        return client

    def _is_ready(self, name: str) -> None:
        self._unready.discard(name)
        if not self._unready:
            self._ready.set()

    def _connect(self, client: mqtt.Client) -> None:
        try:
            client.reconnect()
        except OSError:
            self._next_s[client] = time.monotonic() + RECONNECT_S

    def _on_open(self, client: mqtt.Client, _: object, opened: Any) -> None:
        self._next_s.pop(client, None)
        self._selector.register(opened, selectors.EVENT_READ, client)

    def _on_close(self, client: mqtt.Client, _: object, closed: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(closed)
        self._next_s[client] = time.monotonic() + RECONNECT_S

    def _serve(self, client: mqtt.Client, events: int) -> None:
        outcome = MQTTErrorCode.MQTT_ERR_SUCCESS
        if events & selectors.EVENT_READ:
            outcome = client.loop_read()
        if events & selectors.EVENT_WRITE and outcome == MQTTErrorCode.MQTT_ERR_SUCCESS:
            client.loop_write()
        opened = client.socket()
        if opened is not None:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
            if self._selector.get_key(opened).events != wanted:
                self._selector.modify(opened, wanted, client)


class _UnixClient(mqtt.Client):
    """A paho client that does not wait for ever for a Unix socket whose owner stands still."""

    def _create_unix_socket_connection(self) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(CONNECT_TIMEOUT_S)
        try:
            opened.connect(self._host)
        except OSError:
            opened.close()
            raise
        return opened
