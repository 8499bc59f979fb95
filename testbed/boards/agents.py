"""The run's side of the protocol with the agents of boards; nodes/agent.py describes its topics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from nodes.contract import topics
from nodes.contract.board import (
    FILE_PREFIX,
    GONE,
    HEARTBEAT_S,
    PIECE_BYTES,
    AgentState,
    Assignment,
    FileRequest,
    Role,
    RunHeartbeat,
)
from nodes.contract.config import MqttAccess, session_name
from nodes.contract.files import sha256
from testbed.errors import TestbedError
from testbed.mqtt.accounts import Account
from testbed.mqtt.polled_client import PolledClient

State = dict[str, Any]


class FileStore:
    """The files that boards may fetch, by SHA-256."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}

    def add(self, path: Path) -> str:
        """Offer a file.

        Returns:
            The reference to the file in a board's configuration.

        Raises:
            OSError: the file cannot be read.
        """
        digest = sha256(path)
        self._paths[digest] = path
        return FILE_PREFIX + digest

    def sizes_bytes(self, values: Any) -> dict[str, int]:
        """Return the size of each offered file that a configuration refers to, by SHA-256."""
        digest = values.removeprefix(FILE_PREFIX) if isinstance(values, str) else ""
        if digest in self._paths:
            return {digest: self._paths[digest].stat().st_size}
        items = values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ()
        return {name: size for item in items for name, size in self.sizes_bytes(item).items()}

    def piece(self, digest: str, offset: int) -> bytes | None:
        """Return a piece of an offered file; None if the file was not offered."""
        path = self._paths.get(digest)
        if path is None or offset < 0:
            return None
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)


class BoardAgents:
    """Assigns nodes to boards, serves the files that they request, and sends heartbeats.

    The boards stop their nodes when the heartbeats end.

    Args:
        socket: Unix socket of the run's management broker.
        run: Name of the run.
        account: Account of the run at that broker (testbed/mqtt/accounts.py, run_account).
        heartbeat_lapse_s: Time without a heartbeat after which a board stops its node, seconds.
        on_state: Called in another thread with (slug of the board, state) whenever an agent reports.

    Attributes:
        files: The files that boards may fetch.

    Raises:
        TestbedError: the broker does not answer.
    """

    def __init__(
        self,
        socket: Path,
        run: str,
        account: Account | None = None,
        *,
        heartbeat_lapse_s: float = 10.0,
        on_state: Callable[[str, State], None] = lambda board, state: None,
    ) -> None:
        self._run, self._lapse_s, self._on_state = run, heartbeat_lapse_s, on_state
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._assignments: dict[str, str] = {}
        self.files = FileStore()
        self._subscribed, self._ending = threading.Event(), threading.Event()
        self._client = PolledClient(CallbackAPIVersion.VERSION2, client_id="run-boards", transport="unix")
        if account is not None:
            username = session_name(account.username, topics.BOARDS)
            self._client.username_pw_set(username, account.password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.board_state(topics.ANY), 1), (topics.board_request(topics.ANY), 0)]
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect(str(socket))
        self._client.loop_start()
        if not self._subscribed.wait(5):
            raise TestbedError(f"the management broker at {socket} did not answer within 5 s")
        self._beat = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._beat.start()

    def state(self, board: str) -> State:
        """Return the latest report of a board's agent, by the board's slug; {"state": "gone"} if none."""
        with self._lock:
            return self._states.get(board, {"state": GONE})

    def assign(
        self, board: str, role: Role, config: Mapping[str, Any], access: Mapping[str, str] | None = None
    ) -> None:
        """Assign a node to a board.

        Args:
            board: Slug of the board.
            role: "satellite" or "ground".
            config: Configuration of the node; files in it are references from `files.add`.
            access: The node's account at the management broker.
        """
        assignment = Assignment(
            run=self._run,
            role=role,
            config=dict(config),
            access=None if access is None else MqttAccess(**access),
            files=self.files.sizes_bytes(config),
            heartbeat_lapse_s=self._lapse_s,
        )
        with self._lock:
            self._assignments[board] = assignment.model_dump_json()
        self._publish_assignment(board)

    def dismiss(self, board: str) -> None:
        """Tell a board, by its slug, to stop its node."""
        with self._lock:
            self._assignments[board] = ""
        self._publish_assignment(board)

    def close(self) -> None:
        """Dismiss every board and stop the heartbeats; may be called twice."""
        self._ending.set()
        with self._lock:
            boards = [board for board, text in self._assignments.items() if text]
        for board in boards:
            self.dismiss(board)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish_assignment(self, board: str) -> None:
        with self._lock:
            text = self._assignments[board]
        info = self._client.publish(topics.board_assignment(board), text, qos=1, retain=True)
        if threading.current_thread() is threading.main_thread() and self._client.is_connected():
            info.wait_for_publish(timeout=2)

    def _beat_on(self) -> None:
        while not self._ending.is_set():
            if self._client.is_connected():
                heartbeat = RunHeartbeat(run=self._run)
                self._client.publish(topics.HEARTBEAT, heartbeat.model_dump_json(), qos=0)
            self._ending.wait(HEARTBEAT_S)

    def _on_subscribe(self, *_: object) -> None:
        """Publish all assignments: a restarted broker has lost its retained messages."""
        with self._lock:
            boards = list(self._assignments)
        for board in boards:
            self._publish_assignment(board)
        self._subscribed.set()

    def _on_message(self, client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        board = topics.node_of(message.topic)
        try:
            if message.topic == topics.board_request(board):
                request = FileRequest.model_validate_json(message.payload)
                self._answer(board, request.sha256, request.offset)
                return
            state = AgentState.model_validate_json(message.payload).model_dump(mode="json")
        except (ValueError, OSError):
            return  # not from an agent, or the file no longer exists; the board repeats its request
        with self._lock:
            self._states[board] = state
        self._on_state(board, state)

    def _answer(self, board: str, digest: str, offset: int) -> None:
        piece = self.files.piece(digest, offset)
        if piece is not None:
            self._client.publish(topics.board_piece(board, digest, offset), piece, qos=1)
