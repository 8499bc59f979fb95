"""Options of the sockets to a station: nothing waits for more data, and images can be overtaken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nodes.contract.config import Station
from nodes.runtime.contact import CarrierWatch
from nodes.transfer import connect
from nodes.transfer.connect import USER_TIMEOUT_MS, Attempt
from nodes.transfer.connection import EXPEDITED, TCP_NOTSENT_LOWAT, Connection, prepare_express
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
            assert downlink._bulk.connection is not None and downlink._express.connection is not None
            held = downlink._bulk.connection.socket.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT)
            mark = downlink._express.connection.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
        finally:
            downlink.stop()
            downlink.join(5)
    assert held == unsent_bytes and mark == EXPEDITED


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


class Line:
    """A connection whose socket takes everything."""

    alive, drained_s, refused = True, 0.0, False

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def drained(self) -> bool:
        return True

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def close(self) -> None:
        self.alive = False


def grounded(folder: Path, *names: str) -> Downlink:
    """Return a downlink to these stations, whose thread does not run."""
    stations = {Station(name=name, host="127.0.0.1", port=9): CarrierWatch(None) for name in names}
    outbox = Outbox(folder, "sat", 4096)
    return Downlink(satellite="Sat", stations=stations, outbox=outbox, rate_bit_s=1e9, report=Recorder())


@pytest.mark.parametrize("answer_waits", [False, True])
def test_images_pause_while_an_answer_waits(tmp_path: Path, answer_waits: bool) -> None:
    downlink = grounded(tmp_path, "G")
    bulk, express = Line(), Line()
    downlink._bulk.connection, downlink._express.connection = bulk, express  # type: ignore[assignment]
    downlink._outbox.add_image("image", bytes(100_000), {})
    if answer_waits:
        downlink._outbox.add_answer("answer", b"yes", {})
    downlink._feed(next(iter(downlink._stations)))
    assert len(express.sent) == answer_waits
    assert len(bulk.sent) == (1 if answer_waits else 26)


def test_a_silent_station_is_the_last_choice_and_one_that_refuses_none(tmp_path: Path) -> None:
    downlink = grounded(tmp_path, "G", "H")
    g, h = downlink._stations
    assert downlink._preferred([g, h]) == [g, h]
    downlink._shunned["G"] = float("inf")
    assert downlink._preferred([g, h]) == [h] and downlink._preferred([g]) == [g]
    downlink._refused_until_s["H"] = float("inf")
    assert downlink._preferred([g, h]) == [g] and downlink._preferred([h]) == []


def test_a_station_that_refuses_the_account_is_not_asked_again_at_once(tmp_path: Path) -> None:
    downlink = grounded(tmp_path, "G")
    (station,) = downlink._stations
    near, far = socket.socketpair()
    with near, far:
        line = Line()
        line.refused, line.alive, line.socket = True, False, near  # type: ignore[attr-defined]
        line.serve = lambda readable, writable: None  # type: ignore[attr-defined]
        downlink._bulk.connection, downlink._station = line, station  # type: ignore[assignment]
        downlink._wait()
    assert downlink._station is None and downlink._preferred([station]) == []


@pytest.mark.parametrize("accepted", [True, False])
def test_a_session_lives_only_if_the_broker_takes_it(accepted: bool) -> None:
    report = Recorder()
    near, far = socket.socketpair()
    with far:
        connection = Connection(
            client_id="sat", access=None, station=Station(name="G", host="127.0.0.1"), opened=near,
            topic="spaceverse/down/sat", report=report, heard=lambda topic, payload: None,
        )  # fmt: skip
        assert connection.alive
        far.sendall(b"\x20\x02\x00" + (b"\x00" if accepted else b"\x05"))
        connection.serve(True, False)
        assert (connection.alive, connection.refused) == (accepted, not accepted)
        assert len(report.of("connected")) == accepted
        assert len(report.of("connection_refused", station="G")) == (not accepted)
        connection.close()
        assert not connection.alive
