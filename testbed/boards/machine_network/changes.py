"""Changes to this machine's network, each written to a journal before it is made, and how each is undone.

All functions act on the network namespace of the calling thread, which is the machine's own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from testbed.boards.machine_network.journal import Change, Journal, describe
from testbed.errors import LinkError

IFF_UP, IFF_PROMISC = 0x1, 0x100
SYSCTLS = Path("/proc/sys/net")

# Receive offloads that merge packets: with any of them, the shaper would see frames of up to 64 kB.
RECEIVE_OFFLOADS = ("rx-gro", "rx-gro-list", "rx-gro-hw", "rx-lro", "rx-udp-gro-forwarding")


class HostChanges:
    """Changes this machine's network, and can undo all changes.

    Every method reads the current state, writes it to the journal if it differs from the requested state, and
    only then changes it.

    Args:
        journal: Records the changes.

    Raises:
        LinkError: by every method, if the kernel refuses a change.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def undo(self) -> None:
        """Undo all changes, the last one first.

        Raises:
            TestbedError: a change could not be undone.
        """
        self._journal.finish(undo)

    def set_up(self, interface: str) -> None:
        """Bring an interface up; the qdisc that it gets when first brought up stays, also after undo."""
        link = _link(interface)
        if not link["flags"] & IFF_UP:
            self._make(_of(link, "up", before=False), True)

    def set_promiscuous(self, interface: str) -> None:
        """Switch an interface to promiscuous mode."""
        link = _link(interface)
        if not link["flags"] & IFF_PROMISC:
            self._make(_of(link, "promiscuous", before=False), True)

    def set_mtu(self, interface: str, mtu_bytes: int) -> None:
        """Set the MTU of an interface, bytes."""
        link = _link(interface)
        if link.get("mtu") != mtu_bytes:
            self._make(_of(link, "mtu", before=link.get("mtu")), mtu_bytes)

    def set_master(self, interface: str, bridge: str) -> None:
        """Make an interface a port of a bridge."""
        link, master = _link(interface), _link(bridge)["index"]
        if link.get("master") != master:
            self._make(_of(link, "master", before=link.get("master") or 0), master)

    def stop_merging_received(self, interface: str) -> None:
        """Switch off all offloads that merge received frames, and read them back."""
        link = _link(interface)
        on = [name for name, active in _features(interface).items() if active and name in RECEIVE_OFFLOADS]
        if on:
            self._make(_of(link, "offloads", before=on), False)
        left = [n for n, active in _features(interface).items() if active and n in RECEIVE_OFFLOADS]
        if left:
            raise LinkError(
                f"interface {interface} cannot be shaped: {', '.join(left)} cannot be switched off"
            )

    def write_sysctl(self, name: str, value: str, *, interface: str | None = None) -> None:
        """Write a sysctl.

        Args:
            name: Path under /proc/sys/net.
            value: The new value.
            interface: Interface that the sysctl belongs to, if any.
        """
        before = (SYSCTLS / name).read_text().strip()
        if before != value:
            change = {"kind": "sysctl", "name": name, "before": before}
            if interface is not None:
                change |= {"interface": interface, "index": _link(interface)["index"]}
            self._make(change, value)

    def add_address(self, interface: str, address: str) -> None:
        """Add an address such as "192.0.2.1/32" to an interface."""
        link, requested = _link(interface), ipaddress.ip_interface(address)
        with IPRoute() as ipr:
            present = [f"{a.get('address')}/{a['prefixlen']}" for a in ipr.get_addr(index=link["index"])]
        if requested.with_prefixlen not in present:
            self._make(_of(link, "address", address=requested.with_prefixlen), True)

    def add_route(self, interface: str, destination: str, table: int = 254) -> None:
        """Add a route to a destination such as "192.0.2.7/32" via an interface.

        Raises:
            LinkError: there is a route to the destination already.
        """
        link, network = _link(interface), ipaddress.ip_network(destination)
        with IPRoute() as ipr:
            known = ipr.get_routes(family=_family(network.version), table=table)
            if any(
                r.get("dst") == str(network.network_address) and r["dst_len"] == network.prefixlen
                for r in known
            ):
                raise LinkError(f"table {table} already has a route to {destination}; remove it first")
        self._make(_of(link, "route", destination=destination, table=table), True)

    def add_rule(self, source: str, table: int, priority: int) -> None:
        """Add a rule that routes packets from a source such as "192.0.2.7/32" by a table of its own."""
        with IPRoute() as ipr:
            if any(r.get("priority") == priority for r in ipr.get_rules(family=_family_of(source))):
                raise LinkError(f"a routing rule of priority {priority} already exists; remove it first")
        self._make({"kind": "rule", "source": source, "table": table, "priority": priority}, True)

    def will_add_link(self, name: str, mac: str) -> None:
        """Record that the caller is about to create an interface with this name and Ethernet address."""
        if name in (existing for _, existing in socket.if_nameindex()):
            raise LinkError(f"interface {name} already exists; remove it, or run: spaceverse clean")
        self._journal.write({"kind": "link", "name": name, "mac": mac})

    def _make(self, change: Change, value: Any) -> None:
        self._journal.write(change)
        try:
            _APPLY[change["kind"]](change, value)
        except (NetlinkError, OSError) as error:
            raise LinkError(f"cannot make {describe(change)}: {error}") from error


def undo(change: Change) -> bool:
    """Undo one change; does nothing if it was never made.

    Args:
        change: A change from a journal.

    Returns:
        False if the interface, and so the change, no longer exists.

    Raises:
        LinkError: the kernel refuses.
    """
    if change["kind"] == "link":
        return _delete_link(change["name"], change["mac"])
    if "index" in change and not _is_there(change):
        return False
    try:
        _UNDO[change["kind"]](change)
    except (NetlinkError, OSError) as error:
        raise LinkError(str(error)) from error
    return True


def _link(name: str) -> Any:
    try:
        with IPRoute() as ipr:
            return ipr.link("get", ifname=name)[0]
    except NetlinkError as error:
        raise LinkError(f"this machine has no interface {name}") from error


def _of(link: Any, kind: str, **more: Any) -> Change:
    return {"kind": kind, "interface": link.get("ifname"), "index": link["index"], **more}


def _is_there(change: Change) -> bool:
    """Return whether the same interface still exists: indices are not reused within a boot, names are."""
    try:
        return socket.if_nametoindex(change["interface"]) == int(change["index"])
    except OSError:
        return False


def _set_link(made: Change, /, **attributes: Any) -> None:
    with IPRoute() as ipr:
        ipr.link("set", index=made["index"], **attributes)


def _set_up(change: Change, up: bool) -> None:
    _set_link(change, state="up" if up else "down")


def _set_promiscuous(change: Change, on: bool) -> None:
    _set_link(change, flags=IFF_PROMISC if on else 0, change=IFF_PROMISC)


def _features(interface: str) -> dict[str, bool]:
    ethtool = IoctlEthtool(interface)
    try:
        return {name: bool(on) for name, on, *_ in ethtool.get_features()}
    finally:
        ethtool.close()


def _set_offloads(change: Change, on: bool) -> None:
    ethtool = IoctlEthtool(change["interface"])
    try:
        features = ethtool.get_features()
        for name in change["before"]:
            features[name] = on
        ethtool.set_features(features)
    finally:
        ethtool.close()


def _write_sysctl(change: Change, value: str) -> None:
    (SYSCTLS / change["name"]).write_text(value)


def _undo_sysctl(change: Change) -> None:
    with suppress(FileNotFoundError):
        _write_sysctl(change, change["before"])


def _add_address(change: Change, _: bool) -> None:
    address = ipaddress.ip_interface(change["address"])
    with IPRoute() as ipr:
        ipr.addr("add", index=change["index"], address=str(address.ip), prefixlen=address.network.prefixlen)


def _undo_address(change: Change) -> None:
    address = ipaddress.ip_interface(change["address"])
    with IPRoute() as ipr, _unless_gone():
        ipr.addr("del", index=change["index"], address=str(address.ip), prefixlen=address.network.prefixlen)


def _route(ipr: IPRoute, what: str, change: Change) -> None:
    ipr.route(what, dst=change["destination"], oif=change["index"], table=change["table"], scope=253)


def _add_route(change: Change, _: bool) -> None:
    with IPRoute() as ipr:
        _route(ipr, "add", change)


def _undo_route(change: Change) -> None:
    with IPRoute() as ipr, _unless_gone():
        _route(ipr, "del", change)


def _rule(ipr: IPRoute, what: str, change: Change) -> None:
    ipr.rule(
        what,
        src=change["source"],
        table=change["table"],
        priority=change["priority"],
        family=_family_of(change["source"]),
    )


def _add_rule(change: Change, _: bool) -> None:
    with IPRoute() as ipr:
        _rule(ipr, "add", change)


def _undo_rule(change: Change) -> None:
    with IPRoute() as ipr, _unless_gone():
        _rule(ipr, "del", change)


def _delete_link(name: str, mac: str) -> bool:
    """Delete an interface if it has the recorded Ethernet address; else it is another one of that name."""
    try:
        link = _link(name)
    except LinkError:
        return False
    if link.get("address") != mac:
        return False
    with IPRoute() as ipr, _unless_gone():
        ipr.link("del", index=link["index"])
    return True


class _unless_gone(suppress):  # noqa: N801  # a context manager, read as one
    """Suppress the kernel's errors about removing what does not exist: ESRCH, ENOENT, ..."""

    def __init__(self) -> None:
        super().__init__(NetlinkError)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, NetlinkError) and error.code in _GONE


_GONE = {2, 3, 19, 99}  # ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL

_APPLY: dict[str, Callable[[Change, Any], None]] = {
    "up": _set_up,
    "promiscuous": _set_promiscuous,
    "mtu": lambda change, value: _set_link(change, mtu=value),
    "master": lambda change, value: _set_link(change, master=value),
    "offloads": _set_offloads,
    "sysctl": _write_sysctl,
    "address": _add_address,
    "route": _add_route,
    "rule": _add_rule,
}
_UNDO: dict[str, Callable[[Change], None]] = {
    "up": lambda change: _set_up(change, change["before"]),
    "promiscuous": lambda change: _set_promiscuous(change, change["before"]),
    "mtu": lambda change: _set_link(change, mtu=change["before"]),
    "master": lambda change: _set_link(change, master=change["before"]),
    "offloads": lambda change: _set_offloads(change, True),
    "sysctl": _undo_sysctl,
    "address": _undo_address,
    "route": _undo_route,
    "rule": _undo_rule,
}


def _family(version: int) -> int:
    return int(socket.AF_INET if version == 4 else socket.AF_INET6)


def _family_of(network: str) -> int:
    return _family(ipaddress.ip_network(network).version)
