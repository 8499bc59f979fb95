"""What the kernel tells of a packet, and what a super-packet stands for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from testbed.network.shapers.nfqueue.packet_queue import (
    NFQA_CAP_LEN,
    NFQA_PAYLOAD,
    NFQA_SKB_GSO,
    NFQA_SKB_INFO,
    NFQA_TIMESTAMP,
    PACKET_TYPE,
    PacketQueue,
)

IPV4 = bytes([0x45]) + bytes(19)
IPV6 = bytes([0x60]) + bytes(39)
TCP = bytes(12) + bytes([8 << 4]) + bytes(1)  # of 32 bytes, with time stamps


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, PacketQueue]]:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(socket, "socket", lambda *_: ours)
    monkeypatch.setattr(PacketQueue, "_bind", lambda _: None)
    with kernel, ours:
        queue = PacketQueue(1)
        ours.setblocking(False)
        yield kernel, queue


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(
    size_bytes: int, *, head: bytes, number: int = 7, info: int | None = None, stamp: bool = True
) -> bytes:
    """A packet's message, as nfqnl_build_packet_message() makes it."""
    attributes = attribute(1, struct.pack(">IHBx", number, 0x0800, 2))
    if stamp:
        attributes += attribute(NFQA_TIMESTAMP, struct.pack(">QQ", 100, 250_000))
    if size_bytes > len(head):
        attributes += attribute(NFQA_CAP_LEN, struct.pack(">I", size_bytes))
    if info is not None:
        attributes += attribute(NFQA_SKB_INFO, struct.pack(">I", info))
    attributes += attribute(NFQA_PAYLOAD, head)
    return struct.pack("=IHHIIBBH", 20 + len(attributes), PACKET_TYPE, 0, 0, 0, 0, 0, 0) + attributes


@pytest.mark.parametrize(
    ("head", "headers_bytes"),
    [(IPV4 + TCP, 52), (bytes([0x46]) + bytes(23) + TCP, 56), (IPV6 + TCP, 72)],
    ids=["IPv4", "IPv4 with an option", "IPv6"],
)
@pytest.mark.parametrize(("last_bytes", "packets"), [(0, 3), (1, 4)])
def test_a_super_packet_has_the_headers_of_each_of_its_packets(
    ends: tuple[socket.socket, PacketQueue], head: bytes, headers_bytes: int, last_bytes: int, packets: int
) -> None:
    kernel, queue = ends
    payload_bytes = 3 * (1500 - headers_bytes) + last_bytes
    kernel.send(message(headers_bytes + payload_bytes, head=head, info=NFQA_SKB_GSO | 1))
    on_the_wire = payload_bytes + packets * (headers_bytes + 14)
    assert queue.read() == (7, on_the_wire, 100.25, packets)


def test_a_large_packet_that_is_none_counts_as_one(ends: tuple[socket.socket, PacketQueue]) -> None:
    kernel, queue = ends
    kernel.send(message(9000, head=IPV4 + TCP, info=1))
    assert queue.read() == (7, 9014, 100.25, 1)


def test_messages_of_one_length_with_other_attributes_are_told_apart(
    ends: tuple[socket.socket, PacketQueue],
) -> None:
    """A whole packet with information about it is as long as the beginning of one that has none."""
    kernel, queue = ends
    whole = message(len(IPV4 + TCP), head=IPV4 + TCP, info=1, number=1)
    beginning = message(1500, head=IPV4 + TCP, number=2)
    unstamped = message(1500, head=IPV4 + TCP, info=1, number=3, stamp=False)
    assert len(whole) == len(beginning)
    for sent in (whole, beginning, whole, unstamped):
        kernel.send(sent)
    assert [queue.read() for _ in range(4)] == [
        (1, 48, 100.25, 1),
        (2, 1514, 100.25, 1),
        (1, 48, 100.25, 1),
        (3, 1514, 0.0, 1),
    ]
    assert queue.read() is None
