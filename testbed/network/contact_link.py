"""A Mininet link that goes through the sky: `net.addLink(satellite, ground, cls=ContactLink)`."""

from __future__ import annotations

import atexit
import ipaddress
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mininet.link import Intf, Link

from testbed.errors import InputError
from testbed.kernel.ethernet import link_local
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.clock import Clock, RealClock
from testbed.network.link_end import HostEnd, host_at
from testbed.network.link_state import LinkState, OnContactEnd
from testbed.network.player import Player
from testbed.network.sky import Sky
from traces.trace import Trace
from traces.trace_file import read_trace

LONGEST_INTERFACE_NAME = 15  # IFNAMSIZ - 1


class ContactInterface(Intf):  # type: ignore[misc]  # Mininet is untyped
    """A host's end of a `ContactLink`.

    Sets addresses by netlink; Mininet's own class types commands into the host's shell and ignores failures.
    """

    mac: str | None

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> None:  # noqa: N802, N803 - Mininet's names
        """Replace the IPv4 address: "10.0.0.1/24", or an address and a prefix length."""
        try:
            address = ipaddress.ip_interface(ipstr if "/" in ipstr else f"{ipstr}/{prefixLen}")
        except ValueError as error:
            raise InputError(f"interface {self.name}: {error}") from error
        self.ip, self.prefixLen = str(address.ip), address.network.prefixlen
        with self.namespace() as space:
            for old in map(ipaddress.ip_interface, space.addresses(self.name)):
                if old.version == address.version and old != address:
                    space.remove_address(self.name, str(old.ip), old.network.prefixlen)
            space.add_address(self.name, self.ip, self.prefixLen)
        if self.link is not None:
            self.link.introduce()

    def setIP6(self, address: str) -> None:  # noqa: N802 - as Mininet would have called it
        """Add an IPv6 address with its prefix length: "fd00::1/64"."""
        try:
            interface = ipaddress.IPv6Interface(address)
        except ValueError as error:
            raise InputError(f"interface {self.name}: {error}") from error
        with self.namespace() as space:
            space.add_address(self.name, str(interface.ip), interface.network.prefixlen)
        if self.link is not None:
            self.link.introduce()

    def config(self, ip6: str | None = None, mtu: int | None = None, **params: Any) -> Any:
        """Apply Mininet's parameters (mac, ip, ifconfig, up), and `ip6` and `mtu` (bytes)."""
        result = super().config(**params)
        if mtu is not None:
            with self.namespace() as space:
                space.set_mtu(self.name, mtu)
        if ip6 is not None:
            self.setIP6(ip6)
        return result

    def addresses(self) -> list[str]:
        """Return its addresses, with the link-local one that the kernel adds at the first contact."""
        with self.namespace() as space:
            found = {str(ipaddress.ip_interface(one).ip) for one in space.addresses(self.name)}
            if space.read_sysctl(f"ipv6/conf/{self.name}/disable_ipv6") == "0":
                found.add(link_local(space.mac(self.name)))
        return sorted(found)

    def setMAC(self, macstr: str) -> None:  # noqa: N802
        """Give the interface an Ethernet address."""
        with self.namespace() as space:
            space.set_mac(self.name, macstr)
        self.mac = macstr
        if self.link is not None:
            self.link.introduce()

    def isUp(self, setUp: bool = False) -> bool:  # noqa: N802
        """Return whether the interface is administratively up, whatever its carrier; `setUp` sets it up."""
        with self.namespace() as space:
            if setUp:
                space.set_up(self.name, True)
            return space.read(self.name).up

    def delete(self) -> None:
        """Delete the whole link; one end alone has no use."""
        if self.link is not None:
            self.link.delete()

    def namespace(self) -> AbstractContextManager[NetworkNamespace]:
        """Enter the host's namespace."""
        return host_at(_namespace(self.node), _namespace_path(self.node), self.node.name)


class ContactLink(Link):  # type: ignore[misc]  # Mininet is untyped
    """A link between a satellite (node1) and a ground station (node2); it starts down.

    Args:
        node1: the satellite's Mininet node.
        node2: the ground station's.
        sky: the sky that holds the link; None shares one sky among all such links of the process and closes
            it with the last of them.
        link_name: name in reports; "node1-node2" if None.
        down, up: states to begin with.
        trace: a trace, or its file, to follow from now on; `play` does the same at another time.
        on_contact_end: "purge" drops the packets inside when a contact ends, "hold" keeps them for the next
            one (CapabilityError if the sky's shaper cannot).
        addr1, addr2, intfName1, intfName2, port1, port2, params1, params2: as for Mininet's `Link`;
            `params1={"ip": "10.0.0.1/24", "ip6": "fd00::1/64", "mtu": 9000}`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Mininet passes them all
        self,
        node1: Any,
        node2: Any,
        port1: int | None = None,
        port2: int | None = None,
        intfName1: str | None = None,  # noqa: N803 - Mininet's names
        intfName2: str | None = None,  # noqa: N803
        addr1: str | None = None,
        addr2: str | None = None,
        intf: Any = None,  # Mininet passes its default class; a contact link brings its own
        params1: dict[str, Any] | None = None,
        params2: dict[str, Any] | None = None,
        *,
        sky: Sky | None = None,
        link_name: str | None = None,
        down: LinkState | None = None,
        up: LinkState | None = None,
        trace: Trace | str | Path | None = None,
        on_contact_end: OnContactEnd | str = OnContactEnd.PURGE,
        **params: Any,
    ) -> None:
        self.name = link_name or f"{node1.name}-{node2.name}"
        ports = [node1.newPort() if port1 is None else port1, node2.newPort() if port2 is None else port2]
        names: list[str] = [
            intfName1 or self.intfName(node1, ports[0]),
            intfName2 or self.intfName(node2, ports[1]),
        ]
        for name in names:
            if len(name) > LONGEST_INTERFACE_NAME:
                raise InputError(
                    f"interface name {name!r} is too long; pass intfName1 or intfName2 of 15 letters"
                )
        self.intf1: ContactInterface | None = None
        self.intf2: ContactInterface | None = None
        self.player: Player | None = None
        self._shares_sky = sky is None
        self._sky: Sky | None = _shared_sky.take() if sky is None else sky
        try:
            self.sky_link = self._sky.add_link(
                self.name,
                HostEnd(_namespace_path(node1), names[0], addr1, _namespace(node1)),
                HostEnd(_namespace_path(node2), names[1], addr2, _namespace(node2)),
                _on_contact_end(on_contact_end),
            )
            self.intf1 = self._interface(node1, names[0], ports[0], addr1, {**params, **(params1 or {})})
            self.intf2 = self._interface(node2, names[1], ports[1], addr2, {**params, **(params2 or {})})
            self.introduce()
            if down is not None and up is not None:
                self.set(down, up)
            if trace is not None:
                self.play(trace)
        except BaseException:
            self.delete()
            raise

    @property
    def sky(self) -> Sky | None:
        """The sky that holds the link; None after `delete`."""
        return self._sky

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions and the carrier, and read them back; see `SkyLink.set`."""
        self.sky_link.set(down, up)

    def play(self, trace: Trace | str | Path, clock: Clock | None = None) -> Player:
        """Follow a trace until `delete` or `player.stop()`; second 0 is now unless `clock` says otherwise."""
        if self.player is not None:
            self.player.stop()
        read = trace if isinstance(trace, Trace) else read_trace(trace)
        self.player = Player(clock or RealClock(), {self: read})
        self.player.start()
        return self.player

    def states(self) -> tuple[LinkState, LinkState]:
        """Return the states (down, up) that the shaper holds."""
        return self.sky_link.states()

    def check(self) -> None:
        """Raise ShaperDiedError if the shaper has ended, LinkError if an end of the link has vanished."""
        self.sky_link.check()

    def introduce(self) -> None:
        """Tell each host the other's Ethernet address, for all addresses that both have.

        A radio link has no ARP and no neighbour discovery. With them, a host would repeat its question once
        a second, and up to 1 s of a pass would be lost. Call this again after adding addresses in other ways
        than by Mininet's or this module's methods.
        """
        if self.intf1 is None or self.intf2 is None:
            return
        for one, other in ((self.intf1, self.intf2), (self.intf2, self.intf1)):
            with one.namespace() as space:
                mac = space.mac(one.name)
            addresses = one.addresses()
            with other.namespace() as space:
                for address in addresses:
                    space.add_neighbour(other.name, address, mac)

    def delete(self) -> None:
        """Take the link and both interfaces away. May be called twice."""
        if self.player is not None:
            self.player.stop()
            self.player = None
        for interface in (self.intf1, self.intf2):
            if interface is not None:
                interface.node.delIntf(interface)
                interface.link = None
        self.intf1 = self.intf2 = None
        sky, self._sky = self._sky, None
        if sky is None:
            return
        try:
            if hasattr(self, "sky_link"):
                self.sky_link.close()
        finally:
            if self._shares_sky:
                _shared_sky.give_back()

    def status(self) -> str:
        """Return the link's status in Mininet's words."""
        return "(deleted)" if self._sky is None else "(OK OK)"

    def _interface(
        self, node: Any, name: str, port: int, mac: str | None, params: dict[str, Any]
    ) -> ContactInterface:
        interface = ContactInterface(
            name=name, node=node, link=self, port=port, moveIntfFn=self._ignore, **params
        )
        interface.mac = mac  # not by `mac=`: that would set it again
        return interface


class _SharedSky:
    """The sky of links without one of their own: made with the first, closed with the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sky: Sky | None = None
        self._users = 0
        atexit.register(self._close)

    def take(self) -> Sky:
        with self._lock:
            if self._sky is None:
                self._sky = Sky()
            self._users += 1
            return self._sky

    def give_back(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._close()

    def _close(self) -> None:
        sky, self._sky = self._sky, None
        if sky is not None:
            sky.close()


_shared_sky = _SharedSky()


def _on_contact_end(requested: OnContactEnd | str) -> OnContactEnd:
    try:
        return OnContactEnd(requested)
    except ValueError:
        choice = " or ".join(one.value for one in OnContactEnd)
        raise InputError(f"on_contact_end is {requested!r}; choose {choice}") from None


def _namespace(node: Any) -> NetworkNamespace | None:
    """Return the namespace of a host of this project, and None for another Mininet host; see hosts.py."""
    return getattr(node, "namespace", None)


def _namespace_path(node: Any) -> str:
    kept = _namespace(node)
    return f"/proc/{node.pid}/ns/net" if kept is None else kept.path
