"""Routes in real namespaces: a satellite, two stations that forward, and mission control behind them."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from nodes.runtime.contact import RouteWatch
from testbed.kernel.errors import LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.routes import Route, RouteSocket
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.routes.contact_graph import RoutedLink
from testbed.network.routes.route_player import RoutePlayer
from testbed.network.routes.routed_hosts import Neighbour, RoutedHost, node_address
from testbed.network.routes.schedule import RouteSchedule
from tests.support.network.contacts import contact_trace
from tests.support.waiting import wait_for
from traces.trace import Trace

pytestmark = pytest.mark.root
NODES = ("S", "G1", "G2", "M")
END_S = 3.0
TRACES = {
    ("S", "G1"): contact_trace((0.2, 1.0), end_s=END_S),
    ("S", "G2"): contact_trace((0.6, 1.6), (2.2, 2.8), delay_s=0.02, end_s=END_S),
    ("G1", "M"): contact_trace((0, END_S), delay_s=0.001, rate_bit_s=1e9, end_s=END_S),
    ("G2", "M"): contact_trace((0, END_S), delay_s=0.001, rate_bit_s=1e9, end_s=END_S),
}


class Handover:
    """The network, built; its routes follow a schedule."""

    def __init__(self, stack: ExitStack) -> None:
        self.network = stack.enter_context(EmulatedNetwork())
        self.spaces = {name: self.network.add_namespace(name) for name in NODES}
        self.address = {name: node_address(number) for number, name in enumerate(NODES, start=1)}
        neighbours: dict[str, dict[str, Neighbour]] = {name: {} for name in NODES}
        self.traces: dict[str, Trace] = {}
        links = []
        for number, ((one, other), trace) in enumerate(TRACES.items()):
            name, interface = f"{one} - {other}", f"link{number}"
            ends = f"10.0.{number}.1", f"10.0.{number}.2"
            self.network.join(name, self.spaces[one], self.spaces[other], interface=interface, addresses=ends)
            neighbours[one][other] = Neighbour(interface, ends[1])
            neighbours[other][one] = Neighbour(interface, ends[0])
            self.traces[name] = trace
            links.append(RoutedLink(name, (one, other), trace))
        self.schedule = RouteSchedule.compute(links, "M", closing_s=0.2)
        self.hosts = {
            name: RoutedHost(name, self.spaces[name].path, self.address[name], neighbours[name])
            for name in NODES
        }
        for host in self.hosts.values():
            stack.callback(host.close)

    def play(self, stack: ExitStack) -> RoutePlayer:
        clock = RealClock(time.monotonic() + 0.2)
        self.network.play(self.traces, clock)
        self.player = stack.enter_context(RoutePlayer(clock, self.schedule, self.hosts))
        self.clock = clock
        return self.player

    def socket(self, name: str, kind: socket.SocketKind) -> socket.socket:
        return self.spaces[name].call(lambda: socket.socket(socket.AF_INET, kind))


@pytest.fixture
def handover() -> Iterator[Handover]:
    with ExitStack() as stack:
        made = Handover(stack)
        made.play(stack)
        yield made


def test_a_stream_goes_over_to_the_next_station_without_a_loss_and_is_refused_where_no_route_is(
    handover: Handover,
) -> None:
    watch, contact = RouteWatch(handover.address["M"]), list[tuple[float, bool]]()
    with handover.socket("M", socket.SOCK_DGRAM) as there, handover.socket("S", socket.SOCK_DGRAM) as here:
        there.bind((handover.address["M"], 4000))
        sent: dict[int, float] = {}
        refused: list[float] = []
        for number in range(150):
            handover.clock.wait_until(0.01 + number * 0.02, _never())
            at_s = handover.clock.now_s()
            contact.append((at_s, handover.spaces["S"].call(watch.up)))
            try:
                here.sendto(number.to_bytes(2, "big"), (handover.address["M"], 4000))
                sent[number] = at_s
            except OSError as error:
                assert error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
                refused.append(at_s)
        there.settimeout(0.3)
        arrived: dict[int, str] = {}
        try:
            while True:
                data, source = there.recvfrom(100)
                arrived[int.from_bytes(data, "big")] = source[0]
        except TimeoutError:
            pass
    for at_s, up in contact:  # to the poll of a watch
        assert up or not any(begin + 0.1 < at_s < end for begin, end in ((0.2, 1.6), (2.2, 2.8))), at_s
        assert not up or not any(begin < at_s < end for begin, end in ((0, 0.15), (1.7, 2.2))), at_s
    assert set(arrived.values()) == {handover.address["S"]}  # one address, whatever the station
    assert any(at_s < 0.2 for at_s in refused)
    assert any(1.7 < at_s < 2.2 for at_s in refused)  # at once, while no station sees it
    assert not [at_s for at_s in refused if 0.3 < at_s < 1.55]
    lost = [at_s for number, at_s in sent.items() if number not in arrived]
    assert [at_s for at_s in lost if at_s < 1.5] == []  # the handover at 0.8 s lost nothing
    assert handover.player.error is None


def test_stations_reach_each_other_and_the_satellite_through_mission_control(handover: Handover) -> None:
    handover.clock.wait_until(0.3, _never())  # the satellite is over G1
    for source, target in (("G1", "G2"), ("G2", "S"), ("S", "G2"), ("M", "S")):
        assert _ping(handover.spaces[source], handover.address[target]), (source, target)


def test_a_link_that_is_cut_is_left_at_once(handover: Handover) -> None:
    handover.clock.wait_until(0.7, _never())  # both stations see it, and the way over G1 is the shorter one
    assert handover.player.steps[-1].path("S", "M") == ("S", "G1", "M")
    handover.player.link_changed("S - G1", is_open=False)
    wait_for(lambda: handover.player.steps[-1].path("S", "M") == ("S", "G2", "M"), "the other way")
    assert _ping(handover.spaces["S"], handover.address["M"])
    assert _ping(handover.spaces["M"], handover.address["S"])


def test_routes_that_the_kernel_dropped_are_written_again(handover: Handover) -> None:
    handover.clock.wait_until(0.3, _never())
    space = handover.spaces["G1"]
    space.set_up("link2", False)
    space.set_up("link2", True)
    assert not _ping(space, handover.address["M"])
    handover.player.restore("G1")
    assert _ping(space, handover.address["M"])


def _ping(space: NetworkNamespace, address: str) -> bool:
    return space.run(["ping", "-c", "1", "-W", "1", "-n", address]).returncode == 0


def _never() -> threading.Event:
    return threading.Event()


def test_a_crowd_of_routes_changes_at_one_moment() -> None:
    """The acknowledgements of all of them at once do not fit into a socket's buffer."""
    with NetworkNamespace.create("node") as node, NetworkNamespace.create("next") as following:
        node.add_veth("v0", peer_name="v1", peer_path=following.path)
        node.set_up("v0", True)
        node.add_address("v0", "10.0.0.1", 24)
        interface, first = node.read("v0").index, int(IPv4Address("10.1.0.0"))
        found = [
            Route(IPv4Network((first + number, 32)), IPv4Address("10.0.0.2"), interface)
            for number in range(1000)
        ]
        refused = replace(found[500], gateway=IPv4Address("10.9.0.2"), source=IPv4Address("10.9.0.1"))
        with RouteSocket(node, "node") as routes:
            routes.set(found)
            assert node.run(["ip", "-4", "route"]).stdout.count("via 10.0.0.2") == 1000
            with pytest.raises(LinkError, match=r"refuses the route to 10\.1\.1\.244/32 by"):
                routes.set([refused, *(Route(route.to) for route in found[:500])])
            routes.set([Route(route.to) for route in found])  # half of them for the second time
        assert "10.0.0.2" not in node.run(["ip", "-4", "route"]).stdout
