"""Connections over a link that does not carry any: the reason is reported, once."""

from __future__ import annotations

import socket
import time

import pytest

from nodes.contract.config import Station
from nodes.transfer import connect
from nodes.transfer.connect import RacingConnector
from tests.support.nodes.ends import Recorder, free_port


def test_contact_without_a_connection_is_reported_once_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "TELL_AFTER_S", 0.3)
    report = Recorder()
    station = Station(name="G", host="127.0.0.1", port=free_port())
    connector = RacingConnector([station], 2, report)
    until_s = time.monotonic() + 1.0
    while time.monotonic() < until_s:
        assert connector.advance([station]) is None
        time.sleep(0.02)
    (refused,) = report.of("connection_refused")
    assert refused["station"] == "G" and "Connection refused" in refused["reason"]
    connector.abandon()
    until_s = time.monotonic() + 1.0
    while time.monotonic() < until_s:  # the next contact
        connector.advance([station])
        time.sleep(0.02)
    assert len(report.of("connection_refused")) == 2
    connector.abandon()


def test_connection_that_comes_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TELL_AFTER_S", 0.3)
    report = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as server:
        station = Station(name="G", host="127.0.0.1", port=server.getsockname()[1])
        connector = RacingConnector([station], 2, report)
        opened = None
        until_s = time.monotonic() + 5.0
        while opened is None and time.monotonic() < until_s:
            opened = connector.advance([station])
            time.sleep(0.01)
        assert opened is not None
        for opened_socket in opened.sockets:
            opened_socket.close()
    assert report.events == []
