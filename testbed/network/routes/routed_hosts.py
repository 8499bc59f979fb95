"""Hosts that forward packets, and their routes.

Each node has an address of its own on its loopback interface, which stays the same whatever link leads to it:
a TCP connection goes on when its route changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.routes import Route, RouteSocket
from testbed.network.routes.schedule import ANYBODY, Table

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
