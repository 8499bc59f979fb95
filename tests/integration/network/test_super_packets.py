"""Fast, clean links pass several packets of TCP as one, and count them as what they are."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.super_packets import FULL_FRAME_BYTES, SEGMENTS
from tests.support.network.pair import GROUND, GROUND6, Pair, state

pytestmark = pytest.mark.root

SENT_BYTES = 3_000_000
FAST = state(400e6, 0.001)
ETH_P_ALL = 3


def send(pair: Pair, family: socket.AddressFamily, to: str) -> tuple[list[int], dict[str, float]]:
    """Send SENT_BYTES by TCP; the sizes of the frames as they reach the ground, and what the link counted."""
    before = pair.shaper.counters(pair.link.sky_link.name, Direction.DOWN)
    with ExitStack() as stack:
        tap = stack.enter_context(raw_socket(pair))
        server = stack.enter_context(pair.socket(pair.ground, socket.SOCK_STREAM, family))
        server.bind((to, 0))
        server.listen()
        client = stack.enter_context(pair.socket(pair.satellite, socket.SOCK_STREAM, family))
        client.settimeout(10)
        client.connect((to, server.getsockname()[1]))
        connection = stack.enter_context(server.accept()[0])
        sending = threading.Thread(target=client.sendall, args=(bytes(SENT_BYTES),), daemon=True)
        sending.start()
        left, sizes = SENT_BYTES, []
        while left:
            left -= len(connection.recv(1 << 20))
            sizes += frame_sizes(tap)
        sending.join()
        sizes += frame_sizes(tap)
    after = pair.shaper.counters(pair.link.sky_link.name, Direction.DOWN)
    return sizes, {name: after[name] - before[name] for name in ("delivered", "delivered_bytes")}


def raw_socket(pair: Pair) -> socket.socket:
    with pair.link.intf2.namespace() as space:
        tap = space.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
    tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    tap.setblocking(False)
    return tap


def frame_sizes(tap: socket.socket) -> list[int]:
    sizes = []
    while True:
        try:
            size, _, _, (_, _, kind, *_) = tap.recvmsg_into([bytearray(1)], 0, socket.MSG_TRUNC)
        except BlockingIOError:
            return sizes
        if kind == 0:  # PACKET_HOST: what came in
            sizes.append(size)


@pytest.mark.parametrize(
    ("family", "to", "headers_bytes"), [(socket.AF_INET, GROUND, 66), (socket.AF_INET6, GROUND6, 86)]
)
def test_a_fast_link_counts_a_super_packet_as_its_packets(
    pair: Pair, family: socket.AddressFamily, to: str, headers_bytes: int
) -> None:
    pair.link.set(FAST, FAST)
    sizes, counted = send(pair, family, to)
    payload_bytes = FULL_FRAME_BYTES - headers_bytes
    packets = SENT_BYTES / payload_bytes
    assert max(sizes) == SEGMENTS * payload_bytes + headers_bytes
    assert len(sizes) < packets / 2
    assert counted["delivered"] == pytest.approx(packets, rel=0.01)
    assert counted["delivered_bytes"] == pytest.approx(SENT_BYTES + headers_bytes * packets, rel=0.002)


@pytest.mark.parametrize(
    "exact",
    [
        pytest.param({"loss": 1e-4}, id="loss"),
        pytest.param({"jitter_s": 1e-4}, id="jitter"),
        pytest.param({"queue_bytes": 90_000}, id="short queue"),
        pytest.param({"rate_bit_s": 200e6}, id="slower"),
    ],
)
def test_a_link_that_a_measurement_could_tell_passes_single_packets(
    pair: Pair, exact: dict[str, Any]
) -> None:
    pair.link.set(FAST, FAST)
    fields = {"up": True, "rate_bit_s": FAST.rate_bit_s, "delay_s": FAST.delay_s, **exact}
    pair.link.set(LinkState(**fields), FAST)
    sizes, _ = send(pair, socket.AF_INET, GROUND)
    assert max(sizes) == FULL_FRAME_BYTES
    with pair.link.intf1.namespace() as space:
        assert space.super_packet_features(pair.link.intf1.name) == []


def test_many_states_at_once_say_it_too(pair: Pair) -> None:
    name = pair.link.sky_link.name
    slow = state(100e6, 0.001)
    pair.link.set(slow, slow)
    with pair.link.intf1.namespace() as space:
        for states, there in ((FAST, True), (slow, False)):
            pair.sky.set_links({name: (states, states)})
            assert bool(space.super_packet_features(pair.link.intf1.name)) is there
    pair.sky.set_links({name: (FAST, FAST)})
    assert max(send(pair, socket.AF_INET, GROUND)[0]) > FULL_FRAME_BYTES


def test_a_host_with_another_mtu_sends_single_packets(pair: Pair) -> None:
    slow = state(100e6, 0.001)
    pair.link.set(slow, slow)
    with pair.link.intf1.namespace() as space:
        space.set_mtu(pair.link.intf1.name, 1400)
        try:
            pair.link.set(FAST, FAST)
            assert space.super_packet_features(pair.link.intf1.name) == []
        finally:
            space.set_mtu(pair.link.intf1.name, 1500)
            pair.link.set(slow, slow)
