"""The relay between a station and its model's server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from testbed.run.model_relay import ModelRelay
from tests.support.waiting import wait_for


def test_who_has_left_keeps_no_connection_to_a_silent_server(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ModelRelay(tmp_path / "model", *listener.getsockname()),
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "model"))
            served, _ = listener.accept()
        served.settimeout(5)
        with served:
            assert served.recv(1) == b""
            wait_for(lambda: _threads() == 1, "end of all threads but the one that accepts")


def _threads() -> int:
    return sum(thread.name == "model relay" for thread in threading.enumerate())
