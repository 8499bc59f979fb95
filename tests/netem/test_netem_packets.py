"""Packets on a netem link: delay, rate, order, loss, queue, and the end of a contact."""

import json
import math
import re
import subprocess
import time
from itertools import pairwise
from statistics import median

import pytest

from testbed.network.link_state import DOWN_STATE, GilbertElliott, LinkState
from tests.support.starved import unless_starved

from .conftest import Line, arrivals, numbered, paced


@pytest.mark.parametrize("delay_s", [0.002, 0.02])
def test_ping_takes_twice_the_delay(line: Line, delay_s: float) -> None:
    line.set(LinkState(True, 100e6, delay_s))
    unless_starved(lambda: ping_rtts_s(line, 2 * delay_s), lambda rtts_s: median(rtts_s) < 2 * delay_s + 1e-3)


def ping_rtts_s(line: Line, least_s: float) -> list[float]:
    """Forty round trips, none of which may be shorter than `least_s`."""
    said = line.a.run(["ping", "-c", "40", "-i", "0.02", "10.9.0.2"]).stdout
    rtts_s = [float(found) / 1e3 for found in re.findall(r"time=([\d.]+) ms", said)]
    assert len(rtts_s) == 40
    assert min(rtts_s) >= least_s
    return rtts_s


def test_each_direction_has_its_own_delay(line: Line) -> None:
    line.set(down=LinkState(True, 100e6, 0.001), up=LinkState(True, 100e6, 0.030))
    sender, receiver = line.udp()
    sent_s = time.clock_gettime(time.CLOCK_REALTIME)
    sender.send(numbered(0, 100))
    ((_, arrived_s),) = arrivals(receiver, 1.0, 1)
    assert 0.001 <= arrived_s - sent_s < 0.030


@pytest.mark.parametrize("rate_bit_s", [20e6, 100e6])
def test_iperf3_reaches_the_rate(line: Line, rate_bit_s: float) -> None:
    """A guest that cannot carry the rate at all is asked for what it can."""

    def received_and_able_bit_s() -> tuple[float, float]:
        line.set(LinkState(True, rate_bit_s, 0.005, queue_bytes=500_000))
        received_bit_s = iperf3_bit_s(line)
        if received_bit_s > 0.90 * rate_bit_s:
            return received_bit_s, rate_bit_s
        line.set(LinkState(True, 10 * rate_bit_s, 0.005, queue_bytes=5_000_000))
        return received_bit_s, min(rate_bit_s, iperf3_bit_s(line))

    unless_starved(received_and_able_bit_s, lambda found: found[0] > 0.90 * found[1])


@pytest.mark.parametrize("rate_bit_s", [1e6, 20e6, 100e6])
def test_no_packet_arrives_before_its_time(line: Line, rate_bit_s: float) -> None:
    """However late a machine is, packet n of a flood has n packets before it on the air."""
    count = min(1500, round(rate_bit_s / 1514 / 8))
    line.set(LinkState(True, rate_bit_s, 0.005, queue_bytes=10**8))
    sender, receiver = line.udp()
    sent_s = time.clock_gettime(time.CLOCK_REALTIME)
    for number in range(count):
        sender.send(numbered(number, 1514))
    got = arrivals(receiver, 2.0, count)
    assert [number for number, _ in got] == list(range(count))
    early = [n for n, at_s in got if at_s - sent_s < 0.005 + (n + 1) * 1514 * 8 / rate_bit_s - 20e-6]
    assert early == []


def iperf3_bit_s(line: Line) -> float:
    """Goodput from a to b over 4 seconds, slow start left out, by the receiver."""
    server = line.b.popen(["iperf3", "-s", "-1", "-B", "10.9.0.2", "--forceflush"], stdout=subprocess.PIPE)
    try:
        while b"listening" not in (said := server.stdout.readline()):
            assert said, "iperf3's server ended"
        done = line.a.run(["iperf3", "-c", "10.9.0.2", "-t", "4", "-O", "1", "-C", "cubic", "-J"])
    finally:
        server.kill()
        server.communicate()
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])


@pytest.mark.parametrize(("frames", "frame_bytes"), [(7, 1500), (40, 60)])
def test_an_idle_link_gives_no_credit_and_counts_ethernet_frames(
    line: Line, frames: int, frame_bytes: int
) -> None:
    """10.5 kB over 100 kbit/s take 0.84 s; without the 14-byte header 60-byte frames would take 23 % less."""
    line.set(LinkState(True, 1e5, 0.01))
    sender, receiver = line.udp()
    takes_s = 0.01 + frames * frame_bytes * 8 / 1e5

    def message_s() -> float:
        time.sleep(0.3)  # a bucket would fill up now
        sent_s = time.clock_gettime(time.CLOCK_REALTIME)
        for number in range(frames):
            sender.send(numbered(number, frame_bytes))
        got = arrivals(receiver, 2.0, frames)
        assert [number for number, _ in got] == list(range(frames))
        assert got[-1][1] - sent_s > 0.99 * takes_s
        return got[-1][1] - sent_s

    unless_starved(message_s, lambda found_s: found_s < 1.03 * takes_s)


def test_a_falling_delay_neither_reorders_nor_loses(line: Line) -> None:
    line.set(LinkState(True, 10e6, 0.060))
    sender, receiver = line.udp()
    start_s = time.monotonic()
    for number in range(150):
        if number == 75:
            line.set(LinkState(True, 10e6, 0.010))
        time.sleep(max(0.0, start_s + number * 0.004 - time.monotonic()))
        sender.send(numbered(number, 200))
    assert [number for number, _ in arrivals(receiver, 0.5, 150)] == list(range(150))


def test_ten_changes_a_second_lose_nothing(line: Line) -> None:
    sender, receiver = line.udp()
    for step in range(10):
        line.set(LinkState(True, 5e6 + step * 1e6, 0.005 - step * 0.0002))
        for number in range(step * 25, step * 25 + 25):
            sender.send(numbered(number, 200))
            time.sleep(0.003)
    assert [number for number, _ in arrivals(receiver, 0.5, 250)] == list(range(250))


def test_loss_lies_inside_its_binomial_interval(line: Line) -> None:
    count, loss = 2000, 0.1
    line.set(LinkState(True, 1e9, 0.0, loss=loss))
    sender, receiver = line.udp()
    for number in range(count):
        sender.send(numbered(number, 100))
    lost = count - len(arrivals(receiver, 0.3))
    assert abs(lost - count * loss) < 4.5 * math.sqrt(count * loss * (1 - loss))


def test_the_queue_holds_what_was_asked_and_drops_the_tail(line: Line) -> None:
    line.set(LinkState(True, 1e6, 0.0, queue_bytes=20 * 1514))
    sender, receiver = line.udp()
    began_s = time.monotonic()
    for number in range(100):
        sender.send(numbered(number, 1514))
    left_meanwhile = (time.monotonic() - began_s) * 1e6 / (1514 * 8)
    got = [number for number, _ in arrivals(receiver, 0.5)]
    assert got[:20] == list(range(20))
    assert len(got) <= 20 + 2 + left_meanwhile  # one is being sent, and one may come in as another leaves


@pytest.mark.parametrize("by", ["shaper", "carrier", "both", "nobody"])
def test_nothing_of_one_contact_arrives_in_the_next(line: Line, by: str) -> None:
    """20 packets fly and 30 wait; the kernel purges when the carrier goes, we when the direction closes."""
    state = LinkState(True, 1e6, 0.3)
    line.set(state)
    sender, receiver = line.udp()
    for number in range(50):
        sender.send(numbered(number, 1514))
    time.sleep(0.25)  # serialised some, delivered none; a starved machine is late, and delivers a few
    if by in ("shaper", "both"):
        line.set(DOWN_STATE)
    if by in ("carrier", "both"):
        line.carrier(False)
    ended_s = time.clock_gettime(time.CLOCK_REALTIME)
    time.sleep(0.05)
    line.carrier(True)
    line.set(state)
    got = arrivals(receiver, 1.0)
    if by == "nobody":  # what the other three must prevent does happen
        assert len(got) == 50
        return
    assert len(got) <= 20, "the contact ended so late that too little was left to purge"
    assert [number for number, arrived_s in got if arrived_s > ended_s] == []
    line.warm()
    sender.send(numbered(99, 100))
    assert [number for number, _ in arrivals(receiver, 1.0, 1)] == [99]


def test_a_direction_that_closes_leaves_the_packets_of_the_other_one(line: Line) -> None:
    """Both directions hold 30 packets; closing one purges those of that one only."""
    state = LinkState(True, 1e6, 0.3)
    line.set(state)
    senders, receivers = zip(line.udp(), line.udp_upwards(), strict=True)
    for number in range(30):
        for sender in senders:
            sender.send(numbered(number, 1514))
    time.sleep(0.1)  # nothing has arrived: the first flies until 0.312 s
    line.set(down=state, up=DOWN_STATE)
    assert [number for number, _ in arrivals(receivers[0], 1.0)] == list(range(30))
    senders[0].send(numbered(99, 100))
    senders[1].send(numbered(99, 100))
    assert [number for number, _ in arrivals(receivers[0], 1.0, 1)] == [99]
    assert arrivals(receivers[1], 0.1) == []


def test_a_closed_direction_passes_nothing(line: Line) -> None:
    line.set(down=DOWN_STATE, up=LinkState(True, 1e9, 0.0))
    sender, receiver = line.udp()
    paced(sender, 10, 0.005)
    assert arrivals(receiver, 0.2) == []


def test_jitter_varies_and_reorders_nothing(line: Line) -> None:
    line.set(LinkState(True, 100e6, 0.020, jitter_s=0.010), LinkState(True, 100e6, 0.0))
    said = line.a.run(["ping", "-c", "60", "-i", "0.035", "10.9.0.2"]).stdout
    rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", said)]
    assert len(rtts_ms) == 60
    assert 10.0 <= min(rtts_ms) < 13
    assert max(rtts_ms) > 27
    sender, receiver = line.udp()
    paced(sender, 300, 0.001)
    assert [number for number, _ in arrivals(receiver, 0.5)] == list(range(300))


def test_bursty_loss_has_its_share_and_its_bursts(line: Line) -> None:
    line.set(LinkState(True, 1e9, 0.0, bursty_loss=GilbertElliott.of(0.2, 10), queue_bytes=10**8))
    sender, receiver = line.udp()
    got = []
    for start in range(0, 6000, 500):
        for number in range(start, start + 500):
            sender.send(numbered(number, 100))
        got += [number for number, _ in arrivals(receiver, 0.05)]
    lost = 6000 - len(got)
    bursts = sum(b > a + 1 for a, b in pairwise(got))
    # 120 bursts of geometric length: their mean is 10 +- 4 x 0.87.
    assert lost / bursts == pytest.approx(10, abs=4)
    assert lost / 6000 == pytest.approx(0.2, abs=0.08)
