"""Network namespaces with their interfaces: veths, bridges, addresses, neighbours, offloads."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from testbed.kernel.errors import LinkError
from testbed.kernel.interface_flags import BRIDGE_PORT_FORWARDING, IFF_LOWER_UP, IFF_UP, InterfaceFlags

NUD_PERMANENT = 0x80
RT_SCOPE_LINK = 253

# Interface numbers of sky ports start here. A veth whose two ends happen to share a number (each namespace
# counts from 1) is taken for a physical NIC by the kernel's linkwatch, which then reports its carrier up to
# 1 s late.
FIRST_PORT_INDEX = 1 << 20

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InterfaceReading:
    """The state of one interface, as the kernel holds it.

    Args:
        name: interface name.
        index: interface number, within its namespace.
        up: administratively up.
        carrier: the other end of the cable is up too.
        forwarding: it is a bridge port, and the bridge lets packets through it.
        mtu_bytes: largest IP packet, bytes.
        mac: Ethernet address.
    """

    name: str
    index: int
    up: bool
    carrier: bool
    forwarding: bool
    mtu_bytes: int
    mac: str


class NetworkNamespace(InterfaceFlags):
    """A network namespace and the thread that works in it; use `create()` or `enter()`.

    Every method may be called from any thread; calls run one after another.
    """

    def __init__(self, join: Callable[[], None], what: str) -> None:
        self._netlink: Any = None
        super().__init__(join, what)

    def read(self, name: str) -> InterfaceReading:
        """Return the state of interface `name`. Raises LinkError if there is none."""
        return self.call(lambda: _reading(self._link(name)))

    def names(self) -> list[str]:
        """Return the names of all interfaces in the namespace."""
        return self.call(lambda: [link.get("ifname") for link in self._ipr().get_links()])

    def add_bridge(self, name: str) -> None:
        """Add a bridge that is up and does nothing but forward: no spanning tree, no multicast snooping."""
        self._do(
            f"add bridge {name}",
            lambda ipr: ipr.link(
                "add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0
            ),
        )
        self.set_up(name, True)

    def add_veth(
        self,
        name: str,
        *,
        peer_name: str,
        peer_path: str,
        index: int | None = None,
        peer_mac: str | None = None,
        mtu_bytes: int = 1500,
    ) -> None:
        """Add a veth here whose other end (of MTU 1500) appears directly in the namespace at `peer_path`.

        Neither end is ever seen by a third namespace, so names need to be unique only where they live.
        """
        peer: dict[str, Any] = {"ifname": peer_name}
        if peer_mac is not None:
            peer["address"] = peer_mac

        def add(ipr: Any) -> None:
            fd = os.open(peer_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                number = {} if index is None else {"index": index}
                peer["net_ns_fd"] = fd
                ipr.link("add", ifname=name, kind="veth", mtu=mtu_bytes, peer=peer, **number)
            finally:
                os.close(fd)

        self._do(f"add veth {name} to {peer_name}", add)

    def plug(self, port: str, bridge: str) -> None:
        """Make `port` a port of `bridge` that never learns: what enters at one port leaves at the other."""

        def plug(ipr: Any) -> None:
            index, master = self._index(port), self._index(bridge)
            ipr.link("set", index=index, master=master)
            ipr.brport("set", index=index, learning=0, unicast_flood=1, mcast_flood=1, bcast_flood=1)

        self._do(f"plug {port} into {bridge}", plug)

    def set_flooding(self, port: str, on: bool) -> None:
        """Let the bridge send packets out of `port`, or none at all.

        A bridge that never learns floods every packet, so a port without flooding gets none.
        """

        def flood(ipr: Any) -> None:
            ipr.brport("set", index=self._index(port), unicast_flood=on, mcast_flood=on, bcast_flood=on)

        self._do(f"{'open' if on else 'close'} {port}", flood)

    def set_mac(self, name: str, mac: str) -> None:
        """Give an interface an Ethernet address."""
        self._do(
            f"set the address of {name}",
            lambda ipr: ipr.link("set", index=self._index(name), address=mac),
        )

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """Set the largest IP packet of an interface, bytes."""
        self._do(
            f"set the MTU of {name} to {mtu_bytes}",
            lambda ipr: ipr.link("set", index=self._index(name), mtu=mtu_bytes),
        )

    def add_address(self, name: str, address: str, prefix_length: int) -> None:
        """Give an interface an IPv4 or IPv6 address; no error if it has it already."""

        def add(ipr: Any) -> None:
            ipr.addr("replace", index=self._index(name), address=address, prefixlen=prefix_length)

        self._do(f"add address {address}/{prefix_length} to {name}", add)

    def remove_address(self, name: str, address: str, prefix_length: int) -> None:
        """Remove an address from an interface."""

        def remove(ipr: Any) -> None:
            ipr.addr("del", index=self._index(name), address=address, prefixlen=prefix_length)

        self._do(f"remove address {address}/{prefix_length} from {name}", remove)

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of an interface as text, "10.0.0.1/24"."""

        def read(ipr: Any) -> list[str]:
            found = ipr.get_addr(index=self._index(name))
            return [f"{address.get('address')}/{address['prefixlen']}" for address in found]

        return self._do(f"read the addresses of {name}", read)

    def add_route(self, name: str, destination: str) -> None:
        """Send packets for `destination`, such as "192.0.2.7/32", directly out of an interface."""

        def add(ipr: Any) -> None:
            ipr.route("replace", dst=destination, oif=self._index(name), scope=RT_SCOPE_LINK)

        self._do(f"add a route to {destination} by {name}", add)

    def add_neighbour(self, name: str, address: str, mac: str) -> None:
        """Tell interface `name` the Ethernet address of `address` for good, so that it never asks."""

        def add(ipr: Any) -> None:
            ipr.neigh("replace", ifindex=self._index(name), dst=address, lladdr=mac, state=NUD_PERMANENT)

        self._do(f"add neighbour {address} to {name}", add)

    def delete(self, name: str) -> None:
        """Delete an interface; no error if it is gone already (its peer's namespace may have ended)."""

        def delete(ipr: Any) -> None:
            with suppress(LinkError):
                ipr.link("del", index=self._index(name))

        self._do(f"delete {name}", delete)

    def disable_super_packets(self, name: str) -> None:
        """Switch off every offload that lets frames larger than the MTU reach a shaper, and read it back.

        With TSO, GSO or GRO on, loss, queue limits and serialisation would act on frames of up to 64 kB.
        Raises LinkError if one stays on.
        """

        def disable() -> list[str]:
            ethtool = IoctlEthtool(name)
            try:
                features = ethtool.get_features()
                for feature in [found for found, on, *_ in features if on and _makes_super_packets(found)]:
                    features[feature] = False
                ethtool.set_features(features)
            finally:
                ethtool.close()
            return self.super_packet_features(name)

        if left := self.call(disable):
            raise LinkError(
                f"interface {name} keeps {', '.join(left)} on; it cannot be shaped packet by packet"
            )

    def super_packet_features(self, name: str) -> list[str]:
        """Return the offloads of `name` that are on and make frames larger than the MTU."""

        def read() -> list[str]:
            ethtool = IoctlEthtool(name)
            try:
                features = ethtool.get_features()
                return [found for found, on, fixed, *_ in features if on and _makes_super_packets(found)]
            finally:
                ethtool.close()

        return self.call(read)

    def _ipr(self) -> Any:
        if self._netlink is None:
            self._netlink = IPRoute()  # in the thread: its socket then belongs to the namespace
        return self._netlink

    def _do(self, what: str, action: Callable[[Any], _T]) -> _T:
        try:
            return self.call(lambda: action(self._ipr()))
        except (NetlinkError, OSError) as error:
            raise LinkError(f"cannot {what} in network namespace {self._what}: {error}") from error

    def _link(self, name: str) -> Any:
        try:
            found = self._ipr().link("get", ifname=name)
        except NetlinkError as error:
            raise LinkError(f"there is no interface {name} in network namespace {self._what}") from error
        return found[0]

    def _close_in_thread(self) -> None:
        if self._netlink is not None:
            self._netlink.close()


def _reading(link: Any) -> InterfaceReading:
    port_state = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_STATE")
    return InterfaceReading(
        name=link.get("ifname"),
        index=link["index"],
        up=bool(link["flags"] & IFF_UP),
        carrier=bool(link["flags"] & IFF_LOWER_UP),
        forwarding=port_state == BRIDGE_PORT_FORWARDING,
        mtu_bytes=link.get("mtu"),
        mac=link.get("address"),
    )


def _makes_super_packets(feature: str) -> bool:
    return "segmentation" in feature or feature in {
        "tx-gso-list",
        "rx-gro",
        "rx-gro-list",
        "rx-gro-hw",
        "rx-lro",
        "rx-udp-gro-forwarding",
    }
