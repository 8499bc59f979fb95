"""Faults of links: extreme values, floods, vanishing ends, killed processes, a second sky on the machine."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.errors import LinkError, ShaperDiedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import DOWN_STATE, Direction, GilbertElliott, LinkState
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from tests.integration.test_run import ROOT, command, write_scenario
from tests.support.child_processes import children_of
from tests.support.footprint import Footprint
from tests.support.network.pair import EARLY_MS, GROUND, Pair, Stream, state
from tests.support.starved import Starvation, unless_starved
from tests.support.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def fresh() -> Iterator[Pair]:
    """A pair that a test may break."""
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        pair.link.set(state(), state())
        yield pair


def carrier_of(pair: Pair, interface: str) -> bool:
    node = pair.satellite if interface.startswith("s") else pair.ground
    with NetworkNamespace.enter(f"/proc/{node.pid}/ns/net") as space:
        return space.read(interface).carrier


# -- extremes -----------------------------------------------------------------------------------------------


def test_a_rate_of_0_is_refused_and_the_link_stays_as_it_was(pair: Pair) -> None:
    requested = state(5e6, 0.01)
    pair.link.set(requested, requested)
    with pytest.raises(ValueError, match="while up"):
        pair.link.set(LinkState(True, 0.0, 0.01), requested)
    assert pair.link.states() == (requested, requested)


@pytest.mark.light
def test_the_lowest_rate_and_the_longest_delay_hold_everything_and_break_nothing(
    pair: Pair, stream: Stream
) -> None:
    pair.link.set(LinkState(True, 8.0, 86400.0), state())
    stream.send(3)
    assert stream.received(0.3) == []
    # The rate acts at once on what waits. The packet that was being sent when the delay fell is in flight
    # only after its last bit: the new delay holds for it.
    pair.link.set(state(), state())
    assert stream.received(0.3) == [0, 1, 2]


@pytest.mark.light
def test_a_rate_that_rises_lets_out_at_once_what_waits(pair: Pair, stream: Stream) -> None:
    def emptied_s() -> float:
        pair.link.set(state(20e3), state())
        first = stream.sent
        stream.send(40)  # 2.3 s of the link
        time.sleep(0.1)
        early = stream.received()
        began_s = time.monotonic()
        pair.link.set(state(2e6), state())
        assert early + stream.received(0.1) == list(range(first, first + 40))
        return time.monotonic() - began_s - 0.1

    unless_starved(emptied_s, lambda took_s: took_s < 0.1)


@pytest.mark.light
def test_a_delay_that_falls_by_100_ms_overtakes_nothing(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(delay_s=0.110), state())
    sender = threading.Thread(target=stream.send, args=(300, 0.001))
    sender.start()
    time.sleep(0.15)
    pair.link.set(state(delay_s=0.010), state())
    sender.join()
    assert stream.received(0.3) == list(range(300))


@pytest.mark.light
def test_jitter_varies_and_reorders_nothing(pair: Pair, stream: Stream) -> None:
    pair.link.set(state(delay_s=0.01, jitter_s=0.005), state(delay_s=0.0))
    rtts_ms = pair.rtts_ms(100, "-i", "0.02")  # so far apart that none waits for another
    assert len(rtts_ms) == 100
    assert 5.0 <= min(rtts_ms) < 6.5
    assert max(rtts_ms) > 13.5
    assert statistics.median(rtts_ms) == pytest.approx(10.1, abs=4 * 0.5)  # 0.5 ms: of 100 uniform draws
    stream.send(500, 0.0005)
    assert stream.received(0.3) == list(range(500))


@pytest.mark.light
def test_packets_of_9000_bytes_pass_whole_and_cost_their_time() -> None:
    with EmulatedNetwork("nfqueue") as network:
        satellite = network.add_host("s").node
        network.add_host("g")
        addresses = ("10.78.0.1/24", "10.78.0.2/24")
        link = network.add_link("s", "g", addresses=addresses, params1={"mtu": 9000}, params2={"mtu": 9000})
        link.set(state(10e6), state(1e9))
        least_ms = 9014 * 8 / 10e6 * 1e3

        def second_ms() -> float:
            ping = ("ping", "-c", "3", "-i", "0.05", "-M", "do", "-s", "8972", "10.78.0.2")
            rtts_ms = [float(found) for found in re.findall(r"time=([\d.]+) ms", satellite.pexec(*ping)[0])]
            assert len(rtts_ms) == 3
            assert min(rtts_ms) >= least_ms
            return rtts_ms[1]

        unless_starved(second_ms, lambda found_ms: found_ms < least_ms + 1)


# -- loss ---------------------------------------------------------------------------------------------------


def fates(seed: int, lossy: LinkState) -> list[int]:
    """Which of 1500 packets arrive, over a new link."""
    with EmulatedNetwork(lambda path: NfqueueShaper(path, seed)) as network:
        pair = Pair(network)
        for node in (pair.satellite, pair.ground):  # nothing else may cross the link
            node.cmd("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        pair.link.set(lossy, state())
        stream = Stream(pair)
        stream.send(1500)
        got = stream.received(0.3)
        stream.close()
        return got


@pytest.mark.light
@pytest.mark.parametrize(
    "lossy",
    [
        state(delay_s=0.01, loss=0.2, queue_bytes=10**7),
        state(delay_s=0.01, bursty_loss=GilbertElliott.of(0.2, 8), queue_bytes=10**7),
    ],
    ids=["random", "bursty"],
)
def test_a_run_can_be_repeated_packet_by_packet(lossy: LinkState) -> None:
    first = fates(7, lossy)
    assert fates(7, lossy) == first
    assert fates(8, lossy) != first
    assert 900 < len(first) < 1400
    bursts = sum(1 for a, b in pairwise(first) if b > a + 1)
    mean_burst = (1500 - len(first)) / bursts
    assert mean_burst == pytest.approx(1.25 if lossy.loss else 8, rel=0.5)


# -- floods -------------------------------------------------------------------------------------------------

FLOOD = """
import socket, sys, time
size, seconds = int(sys.argv[1]), float(sys.argv[2])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect((sys.argv[3], 9))
payload, end_s, sent = bytes(size - 42), time.monotonic() + seconds, 0
while time.monotonic() < end_s:
    sender.send(payload)
    sent += 1
print(sent)
"""


@pytest.mark.alone
@pytest.mark.parametrize("size_bytes", [1514, 64])
def test_a_flood_gets_the_links_rate_and_no_more_and_then_the_link_is_as_before(
    pair: Pair, size_bytes: int
) -> None:
    rate_bit_s = 10e6
    pair.link.set(*[state(rate_bit_s, 0.005, queue_s=0.1)] * 2)
    pair.ground.cmd("iptables -A INPUT -p udp --dport 9 -j DROP")  # no ICMP answers
    # A busy machine may starve the sender now and then; more than the rate is never right.
    unless_starved(
        lambda: flooded_bit_s(pair, size_bytes, 1.02 * rate_bit_s),
        lambda passed_bit_s: passed_bit_s > 0.75 * rate_bit_s,
    )

    def settled_ms() -> float:
        rtts_ms = pair.rtts_ms(30, "-i", "0.01")
        assert len(rtts_ms) == 30
        assert min(rtts_ms) >= 10
        return statistics.median(rtts_ms)

    unless_starved(settled_ms, lambda found_ms: found_ms < 11.2)


def flooded_bit_s(pair: Pair, size_bytes: int, most_bit_s: float) -> float:
    """What a link with a queue of 0.1 s lets through of a flood; nothing stays inside."""
    before = pair.shaper.counters("s0-g0", Direction.DOWN)
    out, _, code = pair.satellite.pexec(sys.executable, "-c", FLOOD, str(size_bytes), "1.5", GROUND)
    assert code == 0
    time.sleep(0.3)
    after = pair.shaper.counters("s0-g0", Direction.DOWN)
    delta = {name: after[name] - before[name] for name in before}
    passed_bit_s = 8 * delta["delivered_bytes"] / 1.6  # and the queue of 0.1 s that was full at the end
    print(f"{int(out)} sent of {size_bytes} bytes: {delta}, {passed_bit_s / 1e6:.2f} Mbit/s")
    assert passed_bit_s < most_bit_s
    assert after["inside"] == 0
    return passed_bit_s


# -- ends that vanish, and a shaper that does ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["interface", "host"])
def test_an_end_that_vanishes_takes_its_link_down_and_no_other(fresh: Pair, how: str) -> None:
    other = Pair(fresh.network, 1)
    other.link.set(state(), state())
    assert carrier_of(fresh, "g0-eth0")
    if how == "interface":
        with NetworkNamespace.enter(f"/proc/{fresh.satellite.pid}/ns/net") as space:
            space.delete("s0-eth0")
    else:
        fresh.satellite.terminate()
    wait_for(lambda: fresh.link.sky_link.failure is not None, "failure of the link", 2)
    wait_for(lambda: not carrier_of(fresh, "g0-eth0"), "loss of carrier", 2)
    for check in (fresh.sky.check, fresh.link.check):
        with pytest.raises(LinkError, match="s0-g0: the interface s0-eth0 at one end has vanished"):
            check()
    with pytest.raises(LinkError, match="vanished"):
        fresh.link.set(state(), state())
    other.link.check()
    assert len(other.rtts_ms(3, "-i", "0.01")) == 3
    fresh.link.delete()
    fresh.sky.check()


def test_a_killed_shaper_takes_the_carrier_though_nobody_looks(fresh: Pair) -> None:
    began_s = time.monotonic()
    with Starvation() as starvation:
        os.kill(fresh.shaper.pid, signal.SIGKILL)
        wait_for(
            lambda: not (carrier_of(fresh, "s0-eth0") or carrier_of(fresh, "g0-eth0")),
            "loss of both carriers",
            10,
        )
    assert time.monotonic() - began_s < 1 or starvation.starved
    for check in (fresh.sky.check, fresh.link.check):
        with pytest.raises(ShaperDiedError, match=r"nfqueue process ended \(status -9\)"):
            check()
    with pytest.raises(ShaperDiedError):
        fresh.link.set(state(), state())
    with pytest.raises(ShaperDiedError):
        fresh.link.set(DOWN_STATE, DOWN_STATE)
    assert not fresh.link.sky_link.carrier()


def test_a_shaper_that_hangs_lets_nothing_pass_and_is_reported(
    fresh: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.network.shapers.nfqueue.player_process.ANSWER_WITHIN_S", 0.3)
    stream = Stream(fresh)
    os.kill(fresh.shaper.pid, signal.SIGSTOP)
    stream.send(5)
    assert stream.received(0.2) == []
    with pytest.raises(LinkError, match="did not answer"):
        fresh.link.set(state(), state())
    assert not fresh.link.sky_link.carrier()
    stream.close()
    monkeypatch.undo()
    began_s = time.monotonic()
    fresh.link.delete()
    assert time.monotonic() - began_s < 3, "it is asked again, for both directions"


# -- two at once --------------------------------------------------------------------------------------------

SECOND = """
import json
from testbed.network.emulation import EmulatedNetwork
from tests.support.network.pair import Pair, state

with EmulatedNetwork("nfqueue") as network:
    pair = Pair(network)
    pair.link.set(state(delay_s=0.02), state(delay_s=0.02))
    print("ready", flush=True)
    input()
    print(json.dumps(pair.rtts_ms(50, "-i", "0.01")), flush=True)
    input()
"""


def test_two_programs_with_the_same_names_and_addresses_do_not_meet(pair: Pair) -> None:
    """Same hosts' names, same addresses, same queue numbers, at the same time, each in its own process."""
    with subprocess.Popen(
        [sys.executable, "-c", SECOND], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        pair.link.set(state(delay_s=0.003), state(delay_s=0.003))
        second.stdin.write("\n")
        second.stdin.flush()
        ours = pair.rtts_ms(50, "-i", "0.01")
        theirs = json.loads(second.stdout.readline())
        second.stdin.write("\n")
        second.stdin.flush()
        assert second.wait(10) == 0
    assert len(ours) == len(theirs) == 50
    assert min(ours) >= 6 - EARLY_MS
    assert 6 <= statistics.median(ours) < 23  # nearer to its own than to the other's
    assert min(theirs) >= 40
    assert len(pair.rtts_ms(5, "-i", "0.01")) == 5  # the end of the second is no end of the first


# -- a run whose shaper dies -------------------------------------------------------------------------------


def test_a_run_whose_shaper_is_killed_ends_with_one_clear_line(tmp_path: Path) -> None:
    with Footprint() as footprint:
        with subprocess.Popen(
            command(write_scenario(tmp_path, shaper="nfqueue"), tmp_path),
            cwd=ROOT,
            env=footprint.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as run:
            events = "runs/*/events.jsonl"
            wait_for(
                lambda: any('"link"' in file.read_text() for file in tmp_path.glob(events)),
                "change of a link",
                60,
            )
            (shaper,) = [pid for pid in children_of(run.pid) if "nfqueue.process" in command_line(pid)]
            os.kill(shaper, signal.SIGKILL)
            said = run.communicate(timeout=30)[0]
        assert run.returncode == 1, said
        assert "Traceback" not in said
        assert "nfqueue process ended (status -9)" in said.strip().splitlines()[-1]
        assert footprint.left_behind() == {}


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
