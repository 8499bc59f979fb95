"""The state of this machine's network, as far as it matters for attaching a board; changes nothing.

All functions read the network namespace of the calling thread, which is the machine's own.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.kernel.interface_flags import IFF_LOWER_UP, IFF_UP

SYSFS = Path("/sys")
SSH_PORT = 22
# Drivers of NICs that exist in virtual machines alone, and whose they are.
VIRTUAL_NICS = {
    "virtio_net": "QEMU or a cloud (virtio)",
    "vmxnet3": "VMware",
    "hv_netvsc": "Hyper-V or Azure",
    "vif": "Xen",
    "ena": "Amazon",
    "gve": "Google",
}
TCP_ESTABLISHED = "01"  # of include/net/tcp_states.h, as /proc/net/tcp prints it
MAIN_TABLE = 254


@dataclass(frozen=True, slots=True)
class Interface:
    """The current state of one interface.

    Args:
        name: Its name.
        index: Its index.
        kind: "veth", "bridge", ...; "" for a physical NIC.
        up: Whether it is administratively up.
        carrier: Whether a live device is at the other end of the cable; always False while it is not up.
        mtu_bytes: Largest IP packet, bytes.
        mac: Ethernet address; "" if it has none.
        master: Name of the bridge or bond that it is a port of, or None.
        lower: Name of the interface that it is stacked on (a VLAN on its NIC), or None.
        peers_elsewhere: Whether its lower interface, or its other end, is in another network namespace.
        addresses: Addresses such as "192.0.2.1/24", without IPv6 link-local addresses.
        xdp: Whether an XDP program receives its packets before the network stack.
    """

    name: str
    index: int
    kind: str
    up: bool
    carrier: bool
    mtu_bytes: int
    mac: str
    master: str | None
    lower: str | None
    peers_elsewhere: bool
    addresses: tuple[str, ...]
    xdp: bool


@dataclass(frozen=True, slots=True)
class Way:
    """The kernel's route to an address: outgoing interface, source address and MTU."""

    interface: str
    source: str
    mtu_bytes: int


def interfaces() -> dict[str, Interface]:
    """Return all interfaces by name."""
    with IPRoute() as ipr:
        links = list(ipr.get_links())
        addresses = list(ipr.get_addr())
    names = {link["index"]: str(link.get("ifname")) for link in links}
    return {names[link["index"]]: _interface(link, names, addresses) for link in links}


def default_route_interfaces() -> set[str]:
    """Return the names of the interfaces of all default routes, in all tables."""
    found = set()
    with IPRoute() as ipr:
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in ipr.get_routes(family=family):
                if route["dst_len"] == 0 and route["type"] == 1:  # RTN_UNICAST
                    hops = route.get("multipath") or [{"oif": route.get("oif")}]
                    found |= {hop["oif"] for hop in hops}
    names = dict(socket.if_nameindex())
    return {names[index] for index in found if index in names}


def vlan_numbers(trunk: Interface) -> dict[int, str]:
    """Return the VLANs on top of an interface: the name of each VLAN interface by its number."""
    numbers = {}
    with IPRoute() as ipr:
        for link in ipr.get_links(kind="vlan"):
            if link.get("link") == trunk.index and link.get("link_netnsid") is None:
                number = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VLAN_ID")
                numbers[int(number)] = str(link.get("ifname"))
    return numbers


def way_to(address: str) -> Way | None:
    """Return the route to `address`; None if there is none, or if it is an address of this machine."""
    with IPRoute() as ipr:
        try:
            route = ipr.route("get", dst=address, family=_family(address))[0]
        except NetlinkError:
            return None
        if route["type"] != 1:
            return None
        link = ipr.get_links(route.get("oif"))[0]
    metrics = dict(route.get("metrics", {}).get("attrs", [])) if route.get("metrics") else {}
    mtu_bytes = int(metrics.get("RTAX_MTU") or link.get("mtu"))
    return Way(str(link.get("ifname")), str(route.get("prefsrc")), mtu_bytes)


def speed_bit_s(interface: str, sysfs: Path = SYSFS) -> int | None:
    """Return the negotiated rate of a NIC, bit/s; None if it is unknown."""
    try:
        mbit_s = int((sysfs / "class/net" / interface / "speed").read_text())
    except (OSError, ValueError):
        return None
    return mbit_s * 1_000_000 if mbit_s > 0 else None


def is_wireless(interface: str, sysfs: Path = SYSFS) -> bool:
    """Return whether an interface is a Wi-Fi station or access point, as marked in sysfs."""
    folder = sysfs / "class/net" / interface
    return any((folder / mark).exists() for mark in ("wireless", "phy80211"))


def hypervisor_of(interface: str, sysfs: Path = SYSFS) -> str | None:
    """Return whose virtual NIC an interface is, as its driver in sysfs tells; None if it is no such NIC."""
    driver = sysfs / "class/net" / interface / "device/driver"
    return VIRTUAL_NICS.get(driver.resolve().name) if driver.exists() else None


def ssh_peers(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the peers of ssh sessions into this machine, each with the local address of its session.

    They are read from $SSH_CONNECTION ("peer port own port", ssh(1)) and from all established connections to
    its port or to port 22.
    """
    ports, found = {SSH_PORT}, {}
    words = environment.get("SSH_CONNECTION", "").split()
    if len(words) == 4:
        found[words[0].partition("%")[0]] = words[2].partition("%")[0]
        ports.add(int(words[3]))
    for file in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/thread-self/net", file).read_text().splitlines()[1:]:
                _, own, peer, state, *_ = line.split()
                if state == TCP_ESTABLISHED and int(own.partition(":")[2], 16) in ports:
                    found[_from_proc(peer)] = _from_proc(own)
    return found


def _interface(link: Any, names: Mapping[int, str], addresses: list[Any]) -> Interface:
    index, flags = link["index"], link["flags"]
    lower = link.get("link")
    kind = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    own = [f"{a.get('address')}/{a['prefixlen']}" for a in addresses if a["index"] == index]
    return Interface(
        name=names[index],
        index=index,
        kind=kind,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        mtu_bytes=link.get("mtu"),
        mac=link.get("address") or "",
        master=names.get(link.get("master") or 0),
        lower=names.get(lower) if lower and link.get("link_netnsid") is None and lower != index else None,
        peers_elsewhere=link.get("link_netnsid") is not None,
        addresses=tuple(address for address in own if not _is_link_local(address)),
        xdp=bool(link.get_nested("IFLA_XDP", "IFLA_XDP_ATTACHED") or 0),
    )


def _is_link_local(address: str) -> bool:
    ip = ipaddress.ip_interface(address)
    return ip.version == 6 and ip.is_link_local


def _from_proc(text: str) -> str:
    """Parse an address of /proc/net/tcp: 32-bit words in the machine's byte order, hexadecimal."""
    raw = bytes.fromhex(text.partition(":")[0])
    words = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]
    ip = ipaddress.ip_address(b"".join(words))
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _family(address: str) -> int:
    return int(socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6)
