"""Hosts that forward packets, and routes between them that follow a schedule.

Each node has an address of its own on its loopback interface, which stays the same whatever link leads to it:
a TCP connection goes on when its route changes.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.routes import Route, RouteSocket
from testbed.network.clock import Clock
from testbed.network.routes.schedule import ANYBODY, RouteSchedule, RouteStep, Table

_LOG = logging.getLogger(__name__)

EVERYBODY = IPv4Network("172.16.0.0/12")  # of which every node has one address

SETTINGS = {  # of each node's namespace, in this order
    "ipv4/ip_forward": "1",
    # A route over a link without a carrier does not count: what is sent is refused at once, not swallowed.
    "ipv4/conf/all/ignore_routes_with_linkdown": "1",
    # Replies may take another way. The larger of `all` and the interface's own holds.
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
}
OF_AN_INTERFACE = {"ignore_routes_with_linkdown": "1", "rp_filter": "0", "send_redirects": "0"}


def node_address(number: int) -> str:
    """Return the own address of the node with this number, counted from 1.

    Raises:
        ValueError: there are too many nodes.
    """
    address = EVERYBODY.network_address + number
    if not 0 < number < EVERYBODY.num_addresses - 1:
        raise ValueError(
            f"{number} is no number of a node; there are {EVERYBODY.num_addresses - 2} addresses"
        )
    return str(address)


@dataclass(frozen=True)
class Neighbour:
    """How a node reaches another one over their common link.

    Args:
        interface: name of the node's own interface.
        address: address of the other end.
    """

    interface: str
    address: str


class RoutedHost:
    """A host's address, and its routes.

    Args:
        name: the node's name.
        namespace_path: its network namespace.
        address: its own address.
        neighbours: how it reaches each neighbour, by the neighbour's name.

    Raises:
        LinkError: the namespace cannot be set up.
    """

    def __init__(
        self, name: str, namespace_path: str, address: str, neighbours: Mapping[str, Neighbour]
    ) -> None:
        self.name, self.address = name, IPv4Address(address)
        with NetworkNamespace.enter(namespace_path, f"of {name}") as space:
            for setting, value in SETTINGS.items():
                space.write_sysctl(setting, value)
            for one in neighbours.values():
                for setting, value in OF_AN_INTERFACE.items():
                    space.write_sysctl(f"ipv4/conf/{one.interface}/{setting}", value)
            space.set_up("lo", True)
            space.add_address("lo", address, 32)
            self._neighbours = {
                name: (space.read(one.interface).index, IPv4Address(one.address))
                for name, one in neighbours.items()
            }
            self._socket = RouteSocket(space, f"of {name}")
        self._table: dict[str, str] = {}

    def follow(self, table: Table, addresses: Mapping[str, IPv4Address], *, again: bool = False) -> int:
        """Change the routes to those of a table, and return how many were changed.

        Args:
            table: next hop by destination.
            addresses: own address of each node.
            again: write those that are there already, too, of which another program may have removed some.

        Raises:
            LinkError: the kernel refused a route.
        """
        changes = []
        for destination in self._table.keys() - table.keys():
            changes.append(Route(_network(destination, addresses)))
        for destination, hop in table.items():
            if again or self._table.get(destination) != hop:
                interface, gateway = self._neighbours[hop]
                changes.append(Route(_network(destination, addresses), gateway, interface, self.address))
        if changes:
            self._socket.set(changes)
        self._table = dict(table)
        return len(changes)

    def close(self) -> None:
        """Close the socket; the routes stay. May be called twice."""
        self._socket.close()


def _network(destination: str, addresses: Mapping[str, IPv4Address]) -> IPv4Network:
    return EVERYBODY if destination == ANYBODY else IPv4Network(addresses[destination])


class RoutePlayer:
    """Makes the routes of hosts follow a schedule, in a thread of its own.

    Args:
        clock: scenario time.
        schedule: the routes.
        hosts: the hosts, by name.
        on_step: called in its thread once the routes of a step are set.

    Attributes:
        error: the exception that ended it early, or None.
        lateness_s: of each step so far, seconds of scenario time.
    """

    def __init__(
        self,
        clock: Clock,
        schedule: RouteSchedule,
        hosts: Mapping[str, RoutedHost],
        on_step: Callable[[RouteStep], None] | None = None,
    ) -> None:
        self.error: Exception | None = None
        self.lateness_s: list[float] = []
        self._clock, self._schedule, self._hosts = clock, schedule, dict(hosts)
        self._on_step = on_step
        self._addresses = {name: host.address for name, host in hosts.items()}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._now = schedule.steps[0]
        self._next_s = -math.inf
        self._thread = threading.Thread(target=self._play, name="routes", daemon=True)

    def start(self) -> None:
        """Set the routes of now, then follow the schedule. Raises LinkError."""
        self._follow(self._schedule.at(self._clock.now_s()))
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the routes stay. May be called twice."""
        self._stop.set()
        self._clock.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def next_s(self) -> float:
        """Return the scenario time of the next step that the hosts do not follow yet; inf after the last."""
        return self._next_s

    def check(self) -> None:
        """Raise the exception that ended it early."""
        if self.error is not None:
            raise self.error

    def restore(self, name: str) -> None:
        """Write all routes of a host again: the kernel drops those of an interface that is taken down."""
        with self._lock:
            if name in self._hosts:
                self._hosts[name].follow(self._table(self._now, name), self._addresses, again=True)

    def __enter__(self) -> RoutePlayer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _play(self) -> None:
        try:
            for step in self._schedule.steps:
                if step.time_s <= self._now.time_s:
                    continue
                self._next_s = step.time_s
                if not self._clock.wait_until(step.time_s, self._stop):
                    return
                self._follow(step)
                self.lateness_s.append(self._clock.late_s(step.time_s))
            self._next_s = math.inf
        except Exception as error:
            self.error = error

    def _follow(self, step: RouteStep) -> None:
        tables = step.tables(self._schedule.root)
        with self._lock:
            changed = sum(
                host.follow(tables.get(name, {}), self._addresses) for name, host in self._hosts.items()
            )
            self._now = step
        if self._on_step is not None:
            self._on_step(step)
        _LOG.debug("routes at %.3f s: %d changed", step.time_s, changed)

    def _table(self, step: RouteStep, name: str) -> Table:
        return step.tables(self._schedule.root).get(name, {})
