"""The agent's connection to the management plane; callbacks only store messages for the agent's thread."""

from __future__ import annotations

import json
import queue
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from nodes.contract import topics
from nodes.contract.board import GONE, FileRequest, RunHeartbeat
from nodes.contract.config import BrokerAddress
from nodes.runtime.mqtt import make_client, start

KEEPALIVE_S = 3  # a halted board is noticed after 1.5 times this


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a file."""

    digest: str
    offset: int
    data: bytes


class Mailbox:
    """Messages from the run, and the state that the agent publishes.

    The broker proves its identity before the first byte of MQTT, the agent's password, is sent. Who cannot is
    named on stderr, once per reason, and tried again: the run may come to the same address later.

    Args:
        address: address of the management broker.
        board: the board's name.
    """

    def __init__(self, address: BrokerAddress, board: str) -> None:
        self._address = address
        name = self._board = topics.slug(board)
        self._state: dict[str, Any] = {"state": "idle", "run": None, "reason": None}
        self._lock = threading.Lock()
        self._heartbeats_s: dict[str, float] = {}
        self._complaints: set[str] = set()
        self.assignment: bytes | None = None
        self.pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        self.changed = threading.Event()
        self._client = make_client(f"{name}-agent", address, topics.AGENT)
        self._client.will_set(topics.board_state(name), json.dumps({"state": GONE}), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.message_callback_add(topics.HEARTBEAT, self._on_heartbeat)
        self._client.message_callback_add(topics.board_assignment(name), self._on_assignment)
        self._client.message_callback_add(topics.board_pieces(name), self._on_piece)

    def open(self) -> None:
        """Start connecting, and reconnect after every loss."""
        start(self._client, self._address, KEEPALIVE_S)

    def close(self) -> None:
        """Publish the state "gone" and disconnect."""
        self.tell({"state": GONE})
        self._client.disconnect()
        self._client.loop_stop()

    def tell(self, state: dict[str, Any]) -> None:
        """Publish the agent's state now and after each reconnection."""
        self._state = state
        if self._client.is_connected():
            self._client.publish(topics.board_state(self._board), json.dumps(state), qos=1, retain=True)

    def request(self, digest: str, offset: int) -> None:
        """Request a piece of a file."""
        request = FileRequest(sha256=digest, offset=offset)
        self._client.publish(topics.board_request(self._board), request.model_dump_json(), qos=0)

    def silent_s(self, run: str) -> float:
        """Return the seconds since the last heartbeat of `run`, or infinity if there was none."""
        with self._lock:
            heard_s = self._heartbeats_s.get(run)
        return float("inf") if heard_s is None else time.monotonic() - heard_s

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, reason: ReasonCode, ___: Properties | None
    ) -> None:
        if reason.is_failure:
            self._complain(
                f"the run at {self._address} refuses this board's account ({reason}); create agent.json "
                "again on its machine: spaceverse board agent-config"
            )
        else:
            self._complaints.clear()
            self.assignment = None  # the broker repeats a retained assignment; a new broker has none
            board = self._board
            filters = (topics.HEARTBEAT, topics.board_assignment(board), topics.board_pieces(board))
            client.subscribe([(topic, 1) for topic in filters])
            client.publish(topics.board_state(board), json.dumps(self._state), qos=1, retain=True)

    def _on_connect_fail(self, _: Client, __: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and does not pass it on
        if isinstance(error, ssl.SSLError | ConnectionResetError):  # a broker without TLS may reset
            reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error
            self._complain(
                f"the server at {self._address} is not a run that this agent knows (TLS: {reason}); no "
                "password was sent, and nothing is accepted from it"
            )
        elif not isinstance(error, ConnectionRefusedError):  # as between runs
            self._complain(f"no connection to {self._address}: {error}")

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            print(f"agent: {text}", file=sys.stderr, flush=True)

    def _on_heartbeat(self, _: Client, __: object, message: MQTTMessage) -> None:
        try:
            run = RunHeartbeat.model_validate_json(message.payload).run
        except ValueError:
            return
        with self._lock:
            self._heartbeats_s = {run: time.monotonic()}  # one run at a time
        self.changed.set()

    def _on_assignment(self, _: Client, __: object, message: MQTTMessage) -> None:
        self.assignment = bytes(message.payload)
        self.changed.set()

    def _on_piece(self, _: Client, __: object, message: MQTTMessage) -> None:
        if (piece := topics.piece_of(message.topic)) is not None:
            self.pieces.put(Piece(*piece, bytes(message.payload)))
            self.changed.set()
