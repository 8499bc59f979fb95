"""Options of the sockets to a station: nothing waits for more data, and images can be overtaken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nodes.contract.config import Station
from nodes.runtime.contact import CarrierWatch
from nodes.transfer import connect
from nodes.transfer.connect import USER_TIMEOUT_MS, Attempt
from nodes.transfer.connection import EXPEDITED, TCP_NOTSENT_LOWAT, prepare_express
from nodes.transfer.downlink import UNSENT_CEILING_BYTES, Downlink
from nodes.transfer.outbox import Outbox
from tests.support.nodes.ends import Recorder
from tests.support.waiting import wait_for


def test_small_messages_are_sent_at_once_and_dead_links_are_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        attempt = Attempt(Station(name="G", host="127.0.0.1", port=door.getsockname()[1]), 2, None, 0.0)
        _, connecting = attempt.waits()
        options = [
            (s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0,
             s.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            for s in connecting
        ]  # fmt: skip
        attempt.close()
    assert options == [(True, USER_TIMEOUT_MS)] * 2


def test_an_attempt_without_a_route_fails_and_closes_what_it_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    class Unroutable(socket.socket):
        def connect_ex(self, address: object) -> int:
            opened.append(self)
            return 101 if len(opened) > 1 else 115  # ENETUNREACH, EINPROGRESS

    monkeypatch.setattr(connect.socket, "socket", Unroutable)
    with pytest.raises(OSError, match="cannot connect"):
        Attempt(Station(name="G", host="127.0.0.1", port=9), 2, None, 0.0)
    assert [s.fileno() for s in opened] == [-1, -1]


@pytest.mark.parametrize(("rate_bit_s", "unsent_bytes"), [(1000.0, 16384), (1e12, UNSENT_CEILING_BYTES)])
def test_what_the_kernel_holds_of_images_is_bounded(
    tmp_path: Path, rate_bit_s: float, unsent_bytes: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        station = Station(name="G", host="127.0.0.1", port=door.getsockname()[1])
        downlink = Downlink(
            satellite="Sat", stations={station: CarrierWatch(None)}, outbox=Outbox(tmp_path, "sat", 4096),
            rate_bit_s=rate_bit_s, report=Recorder(),
        )  # fmt: skip
        downlink.start()
        try:
            wait_for(lambda: downlink._bulk.connection is not None, "connection")
            assert downlink._bulk.connection is not None
            held = downlink._bulk.connection.socket.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT)
        finally:
            downlink.stop()
            downlink.join(5)
    assert held == unsent_bytes


@pytest.mark.parametrize(
    ("family", "level", "option"),
    [
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TOS),
        (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    ],
)
def test_urgent_messages_are_marked(family: socket.AddressFamily, level: int, option: int) -> None:
    with socket.socket(family) as made:
        prepare_express(made)
        assert made.getsockopt(level, option) == EXPEDITED
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6  # TC_PRIO_INTERACTIVE
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 16 * 1024
