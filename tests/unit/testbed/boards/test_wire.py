"""Frames of the probe of a board's cable, decoded by scapy; and how long it waits for replies."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether

from testbed.boards import wire
from testbed.boards.wire import Endpoint, Wire
from tests.support.open_files import many_open_files

SOURCE, TARGET = Endpoint("02:00:0a:00:00:01", "10.0.0.1"), Endpoint("02:00:0a:00:00:02", "10.0.0.2")


def checked(layer: IP | ICMP | ICMPv6EchoRequest) -> bool:
    """Return whether the checksum is the one that scapy computes."""
    name = "cksum" if isinstance(layer, ICMPv6EchoRequest) else "chksum"
    told = getattr(layer, name)
    whole = layer.underlayer if isinstance(layer, ICMPv6EchoRequest) else layer
    again = whole.copy()
    delattr(again[type(layer)], name)
    return bool(getattr(type(again)(bytes(again))[type(layer)], name) == told)


@pytest.mark.parametrize("frame_bytes", [10, 60, 61, 1514])
def test_an_echo_request_has_its_size_and_right_checksums(frame_bytes: int) -> None:
    data = wire._echo(SOURCE, TARGET, 0x1234, 7, frame_bytes)
    frame = Ether(data)
    assert (frame.src, frame.dst) == (SOURCE.mac, TARGET.mac)
    assert (frame[IP].src, frame[IP].dst) == (SOURCE.address, TARGET.address)
    assert (frame[ICMP].type, frame[ICMP].id, frame[ICMP].seq) == (8, 0x1234, 7)
    assert checked(frame[IP]) and checked(frame[ICMP])
    assert len(data) == max(frame_bytes, wire.SHORTEST_FRAME_BYTES) == 14 + frame[IP].len


def test_an_echo_request_to_all_is_of_ipv6() -> None:
    frame = Ether(wire._echo_to_all(SOURCE.mac, 3))
    assert (frame.src, frame.dst) == (SOURCE.mac, "33:33:00:00:00:01")
    assert (frame[IPv6].src, frame[IPv6].dst) == ("fe80::aff:fe00:1", "ff02::1")
    assert (frame[IPv6].hlim, frame[ICMPv6EchoRequest].seq) == (255, 3)
    assert checked(frame[ICMPv6EchoRequest])


def test_an_arp_request_asks_for_the_address() -> None:
    frame = Ether(wire._arp_request("10.0.0.2", SOURCE))
    asked = frame[ARP]
    assert frame.dst == "ff:ff:ff:ff:ff:ff" and asked.op == 1
    assert (asked.hwsrc, asked.psrc, asked.pdst) == (SOURCE.mac, SOURCE.address, "10.0.0.2")


class Replying(Wire):
    """A wire whose other end answers each request twice."""

    def __init__(self) -> None:
        self._socket = self  # type: ignore[assignment]
        self.sent: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def _frames(self, for_s: float) -> Iterator[tuple[bytes, float]]:
        for number, data in enumerate(self.sent * 2):
            frame = Ether(data)
            reply = Ether(src=frame.dst, dst=frame.src) / IP(src=frame[IP].dst, dst=frame[IP].src)
            reply /= ICMP(type=0, id=frame[ICMP].id, seq=frame[ICMP].seq)
            yield bytes(reply).ljust(60, b"\0"), 1.0 + number
        raise AssertionError("it waits although all replies are there")


def test_a_train_of_requests_waits_for_as_many_replies() -> None:
    assert Replying().echoed_train(SOURCE, TARGET, 4, 100, 1.0) == [1.0, 2.0, 3.0, 4.0]


def test_it_waits_also_in_a_process_with_thousands_of_open_files() -> None:
    with many_open_files():
        there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        quiet = Wire.__new__(Wire)  # without a packet socket, which needs root
        quiet._socket = here
        with there, quiet:
            assert list(quiet._frames(0.01)) == []
