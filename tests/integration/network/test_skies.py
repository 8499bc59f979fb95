"""Several skies at once, a failing shaper, a killed process, and complete removal."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from mininet.net import Mininet
from mininet.node import Host

from testbed.errors import LinkError, ShaperDiedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.clock import RealClock
from testbed.network.contact_link import ContactLink
from testbed.network.emulation import EmulatedNetwork
from testbed.network.hosts import HostNetwork
from testbed.network.link_state import DOWN_STATE, GilbertElliott
from testbed.network.player import Change, Player
from testbed.network.sky import Sky
from tests.support.network.pair import Pair, Stream, namespace_of, state
from tests.support.one_way import one_way_trace
from tests.support.starved import unless_starved
from tests.support.waiting import wait_for
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace

pytestmark = pytest.mark.root


def namespaces() -> set[str]:
    """Every network namespace that a process, thread or open file holds, as far as /proc shows."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in [*process.glob("task/*/ns/net"), *process.glob("fd/*")]:
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("net:["):
                found.add(target)
    return found


def machine() -> tuple[str, str, str]:
    """Interfaces and rules of the machine's own namespace."""
    links = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    names = sorted(link["ifname"] for link in json.loads(links))
    saved = [
        subprocess.run([f"iptables-{flavour}-save"], capture_output=True, text=True, check=True).stdout
        for flavour in ("nft", "legacy")
    ]
    rules = ["\n".join(line for line in text.splitlines() if not line.startswith("#")) for text in saved]
    return str(names), rules[0], rules[1]


def gone(spaces: set[str], within_s: float = 3.0) -> bool:
    give_up_s = time.monotonic() + within_s
    while spaces & namespaces():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.05)
    return True


def test_killing_the_shaper_closes_the_link_and_is_reported() -> None:
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        stream = Stream(pair)
        pair.link.set(state(), state())
        stream.send()
        assert stream.received(0.5) == [0]
        os.kill(pair.shaper.pid, signal.SIGKILL)
        give_up_s = time.monotonic() + 2
        with pytest.raises(ShaperDiedError, match="drop every packet"):
            while time.monotonic() < give_up_s:
                pair.link.check()
        stream.send(20)
        assert stream.received(0.2) == []  # the carrier is still there, the kernel drops
        with pytest.raises(ShaperDiedError):
            pair.link.set(state(), state())
        assert not pair.link.sky_link.carrier()
        stream.close()


def test_a_player_stops_and_takes_the_link_down_when_the_shaper_dies() -> None:
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        with Player(RealClock(), {pair.link: one_contact(0.0, 60.0)}) as player:
            assert pair.link.sky_link.carrier()
            os.kill(pair.shaper.pid, signal.SIGKILL)
            with pytest.raises(ShaperDiedError):
                player.join(3)
            assert not pair.link.sky_link.carrier()


def one_contact(aos_s: float, los_s: float) -> Trace:
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    starts = [0.0, aos_s, los_s] if aos_s else [0.0, los_s]
    up = [False, True, False][-len(starts) :]
    rate, delay_s, loss = [np.where(up, value, 0.0) for value in (20e6, 0.006, 0.0)]
    return Trace(
        header,
        np.array(starts),
        np.array(up),
        np.array(up),
        rate,
        rate,
        delay_s,
        delay_s,
        loss,
        loss,
        end_s=los_s + 1,
    )


@pytest.mark.light
def test_a_direction_that_goes_down_by_its_trace_leaves_the_other_one_flowing() -> None:
    """Both up, then the downlink only, then the uplink only, then none, for 0.5 s each."""
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        trace, clock = one_way_trace(rate_bit_s=20e6, delay_s=0.005, step_s=0.5), RealClock()
        carriers: list[tuple[float, bool]] = []
        got: dict[str, list[float]] = {"down": [], "up": []}
        with Player(clock, {pair.link: trace}) as player:
            streams = {"down": Stream(pair), "up": Stream(pair, upwards=True)}
            senders = [
                threading.Thread(target=stream.send, args=(1000, 0.002)) for stream in streams.values()
            ]
            for sender in senders:
                sender.start()
            while clock.now_s() < 2.0:
                for way, stream in streams.items():
                    got[way] += [clock.now_s()] * len(stream.received())
                carriers.append((clock.now_s(), pair.sky.links[pair.link.name].carrier()))
                time.sleep(0.001)
            for sender in senders:
                sender.join()
            assert player.error is None
        late_s = max(0.03, *player.lateness_s) + 0.03

        def during(way: str, begin_s: float, end_s: float) -> int:
            return sum(begin_s + late_s < moment < end_s - late_s for moment in got[way])

        assert during("down", 0.5, 1.0) > 100  # of 250, although the uplink is down
        assert during("up", 1.0, 1.5) > 100
        assert during("up", 0.5, 1.0) == during("down", 1.0, 1.5) == 0
        assert during("up", 1.5, 2.0) == during("down", 1.5, 2.0) == 0
        assert all(on for moment, on in carriers if late_s < moment < 1.5 - late_s)
        assert not any(on for moment, on in carriers if 1.5 + late_s < moment < 2.0)


@pytest.mark.light
def test_packets_pass_in_the_contact_and_only_then() -> None:
    with EmulatedNetwork("nfqueue") as network:
        pair = Pair(network)
        changes: list[Change] = []
        clock = RealClock()
        with Player(clock, {pair.link: one_contact(0.3, 0.9)}, changes.append) as player:
            stream = Stream(pair)
            arrivals_s: list[float] = []
            sender = threading.Thread(target=stream.send, args=(1200, 0.001))
            sender.start()
            while clock.now_s() < 1.4:
                arrivals_s += [clock.now_s() for _ in stream.received()]
                time.sleep(0.0005)
            sender.join()
            assert player.error is None
        stream.close()
    print(f"first {arrivals_s[0]:.4f} s, last {arrivals_s[-1]:.4f} s, late {player.lateness_s}")
    assert 0.3 < arrivals_s[0] < 0.4
    assert 0.85 < arrivals_s[-1] < 0.9 + player.lateness_s[-1] + 0.002
    assert [change.up for change in changes] == [False, True, False]


def test_two_skies_do_not_meet() -> None:
    with EmulatedNetwork("nfqueue") as one, EmulatedNetwork("nfqueue") as two:
        near, far = Pair(one, 1), Pair(two, 2)  # the same addresses, on purpose
        near.link.set(state(delay_s=0.002), state(delay_s=0.002))
        far.link.set(state(delay_s=0.020), state(delay_s=0.020))
        found: dict[str, list[float]] = {}
        pingers = [
            threading.Thread(target=lambda n=name, p=pair: found.update({n: p.rtts_ms(40, "-i", "0.01")}))
            for name, pair in (("near", near), ("far", far))
        ]
        for pinger in pingers:
            pinger.start()
        for pinger in pingers:
            pinger.join()
    assert len(found["near"]) == len(found["far"]) == 40
    assert 4 <= min(found["near"]) <= statistics.median(found["near"]) < 22  # nearer to its own
    assert min(found["far"]) >= 40


@pytest.mark.light
def test_three_links_of_one_sky_keep_their_own_states() -> None:
    with EmulatedNetwork("nfqueue") as network:
        pairs = [Pair(network, number) for number in range(3)]
        for number, pair in enumerate(pairs):
            pair.link.set(state(delay_s=0.005 * number), state(delay_s=0.005 * number))
        for number, pair in enumerate(pairs):
            median_ms = unless_starved(
                lambda pair=pair: statistics.median(pair.rtts_ms(20, "-i", "0.01")),
                lambda found_ms, number=number: found_ms < 10 * number + 1,
            )
            assert median_ms >= 10 * number
        pairs[1].link.delete()
        pairs[1].link.delete()
        assert sorted(network.sky.links) == ["s0-g0", "s2-g2"]
        assert pairs[0].rtts_ms(2, "-i", "0.1")
        with pytest.raises(LinkError):
            pairs[1].link.sky_link.set(state(), state())


def test_many_links_set_together_are_set_as_each_by_itself() -> None:
    with EmulatedNetwork("nfqueue") as network:
        pairs = [Pair(network, number) for number in range(3)]
        names = [pair.link.name for pair in pairs]
        network.sky.set_links(
            {names[0]: (state(), state()), names[1]: (state(), DOWN_STATE)}
        )  # two contacts begin
        requested = {
            names[0]: (state(delay_s=0.004), state(delay_s=0.006, rate_bit_s=2e6)),
            names[1]: (state(delay_s=0.01), state()),  # one of its directions was closed
            names[2]: (state(bursty_loss=GilbertElliott.of(0.1, 3)), state(queue_s=0.1)),
        }
        network.sky.set_links(requested)
        network.sky.set_links(requested)
        for pair in pairs:
            assert pair.link.states() == requested[pair.link.name]
        assert statistics.median(pairs[0].rtts_ms(20, "-i", "0.01")) >= 10
        with pytest.raises(LinkError, match="no link named 'nobody'"):
            network.sky.set_links({"nobody": (state(), state())})


def test_links_that_were_set_together_and_refused_are_down(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmulatedNetwork("nfqueue") as network:
        pairs = [Pair(network, number) for number in range(2)]
        requested = {pair.link.name: (state(), state()) for pair in pairs}
        network.sky.set_links(requested)
        assert all(pair.link.sky_link.carrier() for pair in pairs)
        truly = network.sky.shaper.apply_all
        monkeypatch.setattr(
            network.sky.shaper, "apply_all", lambda requested: [*truly(requested)[:-1], state(delay_s=1)]
        )
        with pytest.raises(LinkError, match=r"s1-g1 up: requested delay_s 0\.0, it is 1"):
            network.sky.set_links(requested)
        assert not any(pair.link.sky_link.carrier() for pair in pairs)
        monkeypatch.undo()
        network.sky.set_links(requested)
        assert all(pair.link.sky_link.carrier() for pair in pairs)


def test_anybodys_mininet_script_can_use_the_link_without_a_sky() -> None:
    Mininet.inited = True  # the test machine keeps its sysctls
    net = Mininet(controller=None)
    try:
        satellite, ground = net.addHost("sat"), net.addHost("gs")
        link = net.addLink(satellite, ground, cls=ContactLink)
        net.start()
        link.set(state(delay_s=0.003), state(delay_s=0.003))
        assert net.ping([satellite, ground], timeout="1") == 0
        assert net.linksBetween(satellite, ground) == [link]
        shared = link.sky_link.sky
        second = net.addLink(satellite, ground, cls=ContactLink, link_name="spare")
        assert second.sky_link.sky is shared
        net.delLink(second)
        assert shared.links.keys() == {"sat-gs"}
        space = namespace_of(f"{os.getpid()}/task/{shared.namespace.call(gettid)}")
        assert space in namespaces()
    finally:
        net.stop()
    assert gone({space})


def gettid() -> int:
    return int(Path("/proc/thread-self").resolve().name)


def test_a_link_can_follow_a_trace_file_by_itself(tmp_path: Path) -> None:
    write_trace(one_contact(0.2, 0.5), tmp_path / "pass.csv")
    with HostNetwork() as network:
        network.addHost("sat")
        network.addHost("gs")
        link = network.addLink("sat", "gs", cls=ContactLink, trace=tmp_path / "pass.csv")
        seen = []
        give_up_s = time.monotonic() + 1.0
        while time.monotonic() < give_up_s:
            carrier = link.sky_link.carrier()
            seen += [carrier] if seen[-1:] != [carrier] else []
            time.sleep(0.005)
        assert seen == [False, True, False]
        assert link.player.error is None


@pytest.mark.alone
def test_building_hosts_changes_no_limit_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mininet's own first object raises these, and would here: its flag says that it has not yet."""
    monkeypatch.setattr(Mininet, "inited", False)

    def limits() -> list[object]:
        names = ("core/rmem_max", "core/wmem_max", "core/netdev_max_backlog", "ipv4/tcp_rmem")
        files = [Path("/proc/sys/net", name).read_text() for name in names]
        return [*files, resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_NPROC)]

    before = limits()
    with HostNetwork() as network:
        host = network.addHost("alone")
        assert host.cmd("echo here").strip() == "here"
    assert limits() == before
    assert not Mininet.inited
    assert host.shell is None


def test_nothing_is_left_behind_after_use_and_after_a_failure() -> None:
    before = machine()
    mine: set[str] = set()
    try:
        with EmulatedNetwork("nfqueue") as network:
            pair = Pair(network)
            pair.link.set(state(), state())
            pid = pair.shaper.pid
            mine = {namespace_of(p) for p in (pid, pair.satellite.pid, pair.ground.pid)}
            assert len(mine) == 3 and namespace_of("self") not in mine
            assert machine() == before
            raise RuntimeError("a scenario that fails")
    except RuntimeError:
        pass
    assert gone(mine)
    assert not Path(f"/proc/{pid}").exists()
    assert machine() == before


SCRIPT = """
import os, time
from testbed.network.contact_link import ContactLink
from testbed.network.hosts import HostNetwork
from testbed.network.link_state import LinkState
from testbed.network.sky import Sky

network, sky = HostNetwork(), Sky("nfqueue")
a, b = network.addHost("a"), network.addHost("b")
link = network.addLink(a, b, cls=ContactLink, sky=sky)
link.set(LinkState(True, 1e6, 0.01), LinkState(True, 1e6, 0.01))
print(sky.shaper.pid, a.pid, b.pid, flush=True)
time.sleep(60)
"""


def test_nothing_is_left_behind_after_kill_9() -> None:
    before = machine()
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pids = run.stdout.readline().split()
        mine = {namespace_of(pid) for pid in pids}
        run.kill()
    assert len(mine) == 3
    assert gone(mine)
    assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]
    assert machine() == before


def test_the_sky_answers_after_close_with_an_error_not_a_hang() -> None:
    sky = Sky("nfqueue")
    sky.close()
    sky.close()
    with pytest.raises(ShaperDiedError, match="closed"):
        sky.check()
    with pytest.raises(LinkError, match="closed"):
        sky.namespace.names()


def test_a_host_that_ends_before_its_link_is_no_trouble() -> None:
    satellite, ground = Host("sat"), Host("gnd")
    with Sky("nfqueue") as sky:
        link = ContactLink(satellite, ground, sky=sky)
        link.set(state(), state())
        satellite.terminate()
        ground.terminate()
        # The kernel takes the veth with the host's namespace.
        wait_for(lambda: "sat1" not in sky.namespace.names(), "end of the veth", 2)
        with pytest.raises(LinkError, match="sat1"):
            link.set(DOWN_STATE, DOWN_STATE)
        link.delete()
        assert sky.namespace.names() == ["lo"]


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(LinkError, match="/proc/999999999/ns/net"):
        NetworkNamespace.enter("/proc/999999999/ns/net")
