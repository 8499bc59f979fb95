"""The broker class with a real mosquitto."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from testbed.mqtt.broker import Broker, BrokerError, TcpListener, UnixListener


def test_both_listeners_accept_and_nothing_is_left(tmp_path: Path, port: int) -> None:
    path = tmp_path / "broker.sock"
    with Broker(tmp_path / "b", [UnixListener(path), TcpListener("127.0.0.1", port)]) as broker:
        pid = broker.pid
        assert pid is not None and broker.running
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass
        assert path.is_socket()
    assert not path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_tcp_alone_is_waited_for(tmp_path: Path, port: int) -> None:
    with Broker(tmp_path, [TcpListener("127.0.0.1", port)]), socket.create_connection(("127.0.0.1", port), 1):
        pass


def test_address_in_use_is_told_from_the_log(tmp_path: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        broker = Broker(tmp_path, [TcpListener("127.0.0.1", port)])
        with pytest.raises(BrokerError, match="Address already in use"):
            broker.start()
    assert not broker.running


def test_long_socket_path_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="shorter folder"):
        Broker(tmp_path, [UnixListener(tmp_path / ("x" * 120))])


def test_popen_is_used(tmp_path: Path, port: int) -> None:
    commands: list[list[str]] = []

    def popen(command: list[str], **options: object) -> object:
        commands.append(command)
        return subprocess.Popen(command, **options)  # type: ignore[call-overload]

    with Broker(tmp_path, [TcpListener("127.0.0.1", port)], popen=popen):
        assert len(commands) == 1
