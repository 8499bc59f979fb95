"""Network namespaces with their interfaces: veths, bridges, addresses, neighbours, offloads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.kernel import offloads, rtnetlink
from testbed.kernel.errors import LinkError
from testbed.kernel.interface_flags import BRIDGE_PORT_FORWARDING, IFF_LOWER_UP, IFF_UP, InterfaceFlags
from testbed.kernel.netlink import Request

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
        self._request(f"add bridge {name}", rtnetlink.bridge(name))

    def add_veth(
        self,
        name: str,
        *,
        peer_name: str,
        peer_path: str,
        index: int | None = None,
        peer_mac: str | None = None,
        peer_segments: int | None = None,
        mtu_bytes: int = 1500,
        group: int = 0,
    ) -> None:
        """Add a veth here whose other end (of MTU 1500) appears directly in the namespace at `peer_path`.

        Neither end is ever seen by a third namespace, so names need to be unique only where they live. This
        end belongs to a group, for `delete_group`; the other one sends at most `peer_segments` as one.
        """
        what = f"add veth {name} to {peer_name}"
        try:
            fd = os.open(peer_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise LinkError(f"cannot {what} in network namespace {self._what}: {error}") from error
        try:
            self._request(
                what,
                rtnetlink.veth(
                    name,
                    peer_name=peer_name,
                    peer_namespace=fd,
                    index=index,
                    peer_mac=peer_mac,
                    peer_segments=peer_segments,
                    mtu_bytes=mtu_bytes,
                    group=group,
                ),
            )
        finally:
            os.close(fd)

    def plug(self, port: str, bridge: str) -> None:
        """Make `port` a port of `bridge` that never learns: what enters at one port leaves at the other."""
        index = self._index(port)
        self._request(
            f"plug {port} into {bridge}",
            rtnetlink.change(index, master=self._index(bridge)),
            rtnetlink.bridge_port(index, flooding=True, learning=False),
        )

    def set_flooding(self, port: str, on: bool) -> None:
        """Let the bridge send packets out of `port`, or none at all.

        A bridge that never learns floods every packet, so a port without flooding gets none.
        """
        self._request(
            f"{'open' if on else 'close'} {port}", rtnetlink.bridge_port(self._index(port), flooding=on)
        )

    def set_mac(self, name: str, mac: str) -> None:
        """Give an interface an Ethernet address."""
        self._request(f"set the address of {name}", rtnetlink.change(self._index(name), mac=mac))

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """Set the largest IP packet of an interface, bytes."""
        self._request(
            f"set the MTU of {name} to {mtu_bytes}", rtnetlink.change(self._index(name), mtu_bytes=mtu_bytes)
        )

    def add_address(self, name: str, address: str, prefix_length: int) -> None:
        """Give an interface an IPv4 or IPv6 address; no error if it has it already."""
        self._request(
            f"add address {address}/{prefix_length} to {name}",
            rtnetlink.address(self._index(name), address, prefix_length),
        )

    def remove_address(self, name: str, address: str, prefix_length: int) -> None:
        """Remove an address from an interface."""
        self._request(
            f"remove address {address}/{prefix_length} from {name}",
            rtnetlink.address(self._index(name), address, prefix_length, present=False),
        )

    def addresses(self, name: str) -> list[str]:
        """Return the addresses of an interface as text, "10.0.0.1/24"."""
        index, what = self._index(name), f"read the addresses of {name}"
        return self._tried(what, lambda: rtnetlink.addresses(self.netlink(), index))

    def add_route(self, name: str, destination: str) -> None:
        """Send packets for `destination`, such as "192.0.2.7/32", directly out of an interface."""

        def add(ipr: Any) -> None:
            ipr.route("replace", dst=destination, oif=self._index(name), scope=RT_SCOPE_LINK)

        self._do(f"add a route to {destination} by {name}", add)

    def add_neighbour(self, name: str, address: str, mac: str) -> None:
        """Tell interface `name` the Ethernet address of `address` for good, so that it never asks."""
        self._request(
            f"add neighbour {address} to {name}", rtnetlink.neighbour(self._index(name), address, mac)
        )

    def delete(self, name: str) -> None:
        """Delete an interface; no error if it is gone already (its peer's namespace may have ended)."""
        try:
            index = self._index(name)
        except LinkError:
            return
        self._request(f"delete {name}", rtnetlink.deletion(index=index))

    def delete_group(self, group: int) -> None:
        """Delete the interfaces of a group in one go: each deletion by itself waits for the whole kernel."""
        try:
            self._request(f"delete the interfaces of group {group}", rtnetlink.deletion(group=group))
        except LinkError as error:
            if getattr(error.__cause__, "errno", None) != errno.ENODEV:  # it has none
                raise

    def disable_super_packets(self, name: str) -> None:
        """Switch off every offload that lets frames larger than the MTU reach a shaper, and read it back.

        With TSO, GSO or GRO on, loss, queue limits and serialisation would act on frames of up to 64 kB.
        Raises LinkError if one stays on.
        """

        def disable() -> list[str]:
            offloads.disable_super_packets(name)
            return offloads.super_packet_features(name)

        if left := self._tried(f"switch off offloads of {name}", disable):
            raise LinkError(
                f"interface {name} keeps {', '.join(left)} on; it cannot be shaped packet by packet"
            )

    def set_tcp_segmentation(self, name: str, on: bool) -> None:
        """Let TCP hand several packets as one to `name`, or no longer. Raises LinkError."""
        self._tried(f"set offloads of {name}", lambda: offloads.set_tcp_segmentation(name, on=on))

    def mtu_bytes(self, name: str) -> int:
        """Return the largest IP packet of `name`. Raises LinkError."""
        return self._tried(f"read the MTU of {name}", lambda: offloads.mtu_bytes(name))

    def super_packet_features(self, name: str) -> list[str]:
        """Return the offloads of `name` that are on and make frames larger than the MTU."""
        return self._tried(f"read the offloads of {name}", lambda: offloads.super_packet_features(name))

    def _request(self, what: str, *requests: Request) -> None:
        """Carry requests out, in any thread: a socket stays in the namespace where it was made."""
        if self._closed:
            raise LinkError(f"network namespace {self._what} is closed")
        try:
            self.netlink().do(requests)
        except OSError as error:
            raise LinkError(f"cannot {what} in network namespace {self._what}: {error}") from error

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
