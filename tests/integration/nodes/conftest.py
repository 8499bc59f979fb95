"""Fixtures: a broker, both ends of a transfer, and a slow line between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.network.programs import spawn
from tests.support.nodes.ends import GroundEnd, Relay, SatelliteEnd, free_port

RATE_BIT_S = 40e6


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def broker(tmp_path: Path, port: int) -> Iterator[Broker]:
    listeners: list[TcpListener | UnixListener] = [
        TcpListener("127.0.0.1", port),
        UnixListener(tmp_path / "broker.sock"),
    ]
    with Broker(tmp_path / "broker", listeners, popen=spawn) as started:
        yield started


@pytest.fixture
def ground(broker: Broker, tmp_path: Path) -> Iterator[GroundEnd]:
    end = GroundEnd(tmp_path / "broker.sock", tmp_path / "inbox")
    yield end
    end.kill()


@pytest.fixture
def relay(broker: Broker, port: int) -> Iterator[Relay]:
    line = Relay(port, RATE_BIT_S)
    yield line
    line.mend()
    line.close()


@pytest.fixture
def satellite(relay: Relay, tmp_path: Path) -> Iterator[SatelliteEnd]:
    end = SatelliteEnd(tmp_path / "outbox", relay.port, RATE_BIT_S)
    yield end
    end.stop()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(os.urandom(5_000_000))
    return path
