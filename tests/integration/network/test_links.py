"""A link between two hosts: construction, values read back, and measurements by packets."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError, LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.contact_link import link_local
from testbed.network.link_end import HostEnd
from testbed.network.link_state import DOWN_STATE, Direction, GilbertElliott, LinkState
from tests.support.network.pair import GROUND, GROUND6, SATELLITE, Pair, Stream, state
from tests.support.starved import unless_starved

pytestmark = [pytest.mark.root, pytest.mark.light]


def test_a_link_starts_down_and_the_hosts_see_it(pair: Pair) -> None:
    pair.link.set(DOWN_STATE, DOWN_STATE)
    for node in (pair.satellite, pair.ground):
        with NetworkNamespace.enter(f"/proc/{node.pid}/ns/net") as space:
            reading = space.read(f"{node.name}-eth0")
            assert (reading.up, reading.carrier) == (True, False)
            assert space.names() == ["lo", f"{node.name}-eth0"]
    pair.link.set(state(), state())
    with NetworkNamespace.enter(f"/proc/{pair.satellite.pid}/ns/net") as space:
        assert space.read("s0-eth0").carrier


def test_the_state_that_was_written_is_read_from_the_process_that_plays_it(pair: Pair) -> None:
    down = LinkState(True, 123456.0, 0.0125, 0.25, 9999, jitter_s=0.001)
    up = LinkState(True, 7e6, 0.3, bursty_loss=GilbertElliott(0.01, 0.2, 0.9, 0.001), queue_s=0.05)
    pair.link.set(down, up)
    assert pair.link.states() == (down, up)
    pair.link.set(DOWN_STATE, DOWN_STATE)
    assert pair.link.states() == (DOWN_STATE, DOWN_STATE)


def test_no_super_packet_can_reach_a_shaped_port(pair: Pair) -> None:
    for port in pair.link.sky_link.ends:
        assert pair.sky.namespace.super_packet_features(port) == []
    for node in (pair.satellite, pair.ground):
        with NetworkNamespace.enter(f"/proc/{node.pid}/ns/net") as space:
            assert space.super_packet_features(f"{node.name}-eth0") == []


def test_the_sky_changes_no_setting_of_the_machine(pair: Pair) -> None:
    """The shaper sets the bridge's switches in the sky; the machine's own are what they are without it."""
    names = ("iptables", "ip6tables", "arptables")
    machine = [Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}") for name in names]
    before = [path.read_text() for path in machine]
    wanted = "0" if pair.shaper.hook == "nft" else "1"
    for value in ("0" if wanted == "1" else "1", wanted):
        pair.sky.namespace.write_sysctl("bridge/bridge-nf-call-iptables", value)
        assert [path.read_text() for path in machine] == before


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_the_round_trip_is_twice_the_delay(pair: Pair, family: str) -> None:
    pair.link.set(state(100e6, 0.010), state(100e6, 0.010))

    def median_ms() -> float:
        rtts_ms = pair.rtts_ms(100, "-i", "0.01", to=GROUND if family == "IPv4" else GROUND6)
        print(f"{family}: median {statistics.median(rtts_ms):.3f} ms, worst {max(rtts_ms):.3f} ms")
        assert len(rtts_ms) == 100
        assert min(rtts_ms) >= 20.0
        return statistics.median(rtts_ms)

    unless_starved(median_ms, lambda found_ms: found_ms < 21.016)


@pytest.mark.alone  # not light: it takes most of a core
@pytest.mark.parametrize("rate_bit_s", [20e6, 100e6])
def test_tcp_gets_nine_tenths_of_the_rate(pair: Pair, rate_bit_s: float) -> None:
    queue_bytes = int(rate_bit_s / 8 * 0.05)
    pair.link.set(*[state(rate_bit_s, 0.005, queue_bytes=queue_bytes)] * 2)
    received_bit_s = unless_starved(
        lambda: tcp_goodput_bit_s(pair, for_s=2.5),
        lambda found_bit_s: 0.90 * rate_bit_s < found_bit_s < 1448 / 1514 * rate_bit_s * 1.005,
    )
    print(f"{rate_bit_s / 1e6:.0f} Mbit/s: goodput {received_bit_s / 1e6:.1f} Mbit/s")


def tcp_goodput_bit_s(pair: Pair, for_s: float) -> float:
    server = pair.ground.popen("iperf3", "-s", "-1", "--forceflush")
    try:
        server.stdout.readline()
        server.stdout.readline()  # "Server listening"
        out, err, code = pair.satellite.pexec("iperf3", "-c", GROUND, "-t", str(for_s), "-O", "0.5", "-J")
    finally:
        server.terminate()
        server.communicate()
    assert code == 0, err
    return float(json.loads(out)["end"]["sum_received"]["bits_per_second"])


def test_a_small_message_on_an_idle_slow_link_gets_no_credit(pair: Pair) -> None:
    pair.link.set(state(100e3, 0.0), state(100e6, 0.0))
    with pair.socket(pair.ground, socket.SOCK_STREAM) as server:
        server.bind((GROUND, 5001))
        server.listen()
        client = pair.socket(pair.satellite, socket.SOCK_STREAM)
        client.connect((GROUND, 5001))
        connection, _ = server.accept()

    def message_s() -> float:
        time.sleep(0.1)  # the link is idle again
        began_s = time.monotonic()
        client.sendall(bytes(10_000))
        left = 10_000
        while left:
            left -= len(connection.recv(left))
        took_s = time.monotonic() - began_s
        print(f"10 kB at 100 kbit/s: {took_s:.4f} s")
        assert took_s > 0.97 * 0.837
        return took_s

    with client, connection:
        unless_starved(message_s, lambda took_s: took_s < 1.03 * 0.837)


def test_changes_along_a_pass_neither_reorder_nor_lose(pair: Pair, stream: Stream) -> None:
    def states(step: int) -> LinkState:
        return state(20e6 + 1e6 * (step % 7), 0.110 - 0.01 * (step % 11), queue_bytes=10**6)

    pair.link.set(states(0), states(0))
    stream.send()
    assert stream.received(0.5) == [0]  # the neighbours know each other
    sender = threading.Thread(target=stream.send, args=(600, 0.001))
    sender.start()
    for step in range(30):
        pair.link.set(states(step), states(step))
        time.sleep(0.02)
    sender.join()
    assert stream.received(0.3) == list(range(1, 601))


def test_nothing_passes_after_the_end_of_a_contact(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(1e6, 0.050), state(1e6, 0.050))
    stream.send()
    stream.received(0.3)
    purged_before = pair.shaper.counters("s0-g0", Direction.DOWN)["purged"]
    stream.send(400)  # 57 kB: 0.45 s of the link
    time.sleep(0.15)
    pair.link.set(DOWN_STATE, DOWN_STATE)
    passed = stream.received()
    assert 0 < len(passed) < 400
    stream.send(20, 0.005)
    assert stream.received(0.6) == []
    down = pair.shaper.counters("s0-g0", Direction.DOWN)
    assert down["purged"] - purged_before >= 400 - len(passed)
    # The next contact begins empty: nothing of the last one comes out of it.
    pair.link.set(state(1e6, 0.001), state(1e6, 0.001))
    first = stream.sent
    stream.send(5, 0.01)
    assert stream.received(0.5) == list(range(first, first + 5))


def test_a_host_that_had_something_to_send_is_heard_at_once(pair: Pair, stream: Stream) -> None:
    """Packets sent while down must not leave the host asking for its neighbour's address."""
    pair.link.set(DOWN_STATE, DOWN_STATE)
    stream.send(5, 0.05)
    pair.link.set(state(), state())
    stream.send()
    assert stream.received(0.5) == [5]  # who asks, and was not answered, asks again after 1 s


def test_the_first_packet_passes_soon_after_the_contact_begins(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(), state())
    stream.send()
    assert stream.received(0.5)

    def median_s() -> float:
        took_s = []
        for _ in range(5):
            pair.link.set(DOWN_STATE, DOWN_STATE)
            time.sleep(0.05)
            began_s = time.monotonic()
            pair.link.set(state(), state())
            while not stream.received(0.002):
                stream.send()
            took_s.append(time.monotonic() - began_s)
            stream.received(0.05)
        print(f"AOS to first packet: {[f'{t * 1e3:.1f} ms' for t in took_s]}")
        return statistics.median(took_s)

    unless_starved(median_s, lambda took_s: took_s < 0.05)


def test_one_direction_may_be_closed_while_the_other_is_open(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(), state())
    stream.send()
    assert stream.received(0.5) == [0]
    pair.link.set(DOWN_STATE, state())
    assert pair.link.states()[1].up
    stream.send(5)
    assert stream.received(0.3) == []
    # ARP neither: a broadcast question, requested from an interface that has forgotten its neighbour.
    pair.satellite.cmd(f"ip neigh del {GROUND} dev s0-eth0; ip neigh del {SATELLITE} dev s0-eth0")
    with sniffer(pair.ground, "g0-eth0") as arrived:
        pair.satellite.pexec("ping", "-c", "2", "-i", "0.2", "-W", "0.3", GROUND)
        pair.satellite.pexec("ping", "-c", "1", "-W", "0.3", "ff02::1%s0-eth0")
        assert frames(arrived) == []
        pair.link.introduce()
        pair.link.set(state(), state())
        assert len(pair.rtts_ms(1)) == 1
        assert frames(arrived) != []


def test_an_ipv6_host_is_heard_at_once_too(pair: Pair) -> None:
    """By its own address and by the link-local one that it has from the first contact on; nobody asks."""
    pair.link.set(DOWN_STATE, DOWN_STATE)
    pair.link.set(state(delay_s=0.05), state(delay_s=0.05))
    mac = next(s for s in pair.ground.cmd("ip -o link show g0-eth0").split() if s.count(":") == 5)
    for address in (GROUND6, f"{link_local(mac)}%s0-eth0"):
        (rtt_ms,) = pair.rtts_ms(1, to=address)
        assert 100 <= rtt_ms < 190  # a question before it would make it 200


@contextmanager
def sniffer(node: Any, interface: str) -> Iterator[socket.socket]:
    """Every frame that comes into a host."""
    with NetworkNamespace.enter(f"/proc/{node.pid}/ns/net") as space:
        raw = space.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
    with raw:
        raw.bind((interface, 3))
        raw.setblocking(False)
        yield raw


def frames(raw: socket.socket) -> list[bytes]:
    """What has come in so far (PACKET_OUTGOING, 4, is the host's own)."""
    found = []
    while True:
        try:
            frame, address = raw.recvfrom(2048)
        except BlockingIOError:
            return found
        if address[2] != 4:
            found.append(frame)


def test_random_loss_has_its_share(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(), state())
    stream.send()
    assert stream.received(0.5)
    pair.link.set(state(loss=0.2, queue_bytes=10**7), state())
    stream.send(2000)
    got = len(stream.received(0.3))
    assert got == pytest.approx(1600, abs=4 * (2000 * 0.2 * 0.8) ** 0.5)


def test_a_full_queue_drops_its_tail(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(), state())
    stream.send()
    assert stream.received(0.5)
    pair.link.set(state(1e6, queue_bytes=10 * 142), state())
    dropped_before = pair.shaper.counters("s0-g0", Direction.DOWN)["dropped_queue"]
    first = stream.sent
    began_s = time.monotonic()
    stream.send(100)
    left_meanwhile = (time.monotonic() - began_s) * 1e6 / (142 * 8)
    got = stream.received(0.3)
    assert got[:10] == list(range(first, first + 10))
    assert len(got) <= 10 + 2 + left_meanwhile  # one is being sent, and one may come in as another leaves
    dropped = pair.shaper.counters("s0-g0", Direction.DOWN)["dropped_queue"] - dropped_before
    assert len(got) + dropped == 100


def test_a_name_is_used_once(pair: Pair) -> None:
    with pytest.raises(InputError, match="s0-g0"):
        pair.sky.add_link("s0-g0", *pair.link.sky_link.ends.values())


def test_a_link_that_cannot_be_built_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pair.sky.namespace.names()
    ends = list(pair.link.sky_link.ends.values())  # their interfaces exist: the kernel will refuse
    with pytest.raises(LinkError, match="File exists"):
        pair.sky.add_link("twin", *ends)
    assert pair.sky.namespace.names() == before
    assert "twin" not in pair.sky.links

    def refuse(_: Any) -> None:
        raise LinkError("no")

    monkeypatch.setattr(pair.sky.shaper, "attach", refuse)
    fresh = [HostEnd(end.namespace_path, f"new{number}") for number, end in enumerate(ends)]
    with pytest.raises(LinkError, match="no"):
        pair.sky.add_link("third", *fresh)
    assert pair.sky.namespace.names() == before
