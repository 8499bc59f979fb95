"""The ends of a link: how a port of the sky leads to an emulated host."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from testbed.kernel.namespace import NetworkNamespace
from testbed.network.shapers.super_packets import MTU_BYTES, SEGMENTS

PORT_MTU_BYTES = 65535  # the hosts' own MTUs limit packets; the sky passes any size
PORT_GROUP = 1  # of the interfaces in a sky that lead to hosts; 0 is every other interface's

# Otherwise a host checks for 1 s at every AOS whether its own addresses are in use, and looks for routers.
# Both ends of a link are known.
QUIET_IPV6 = {"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}


class LinkEnd(Protocol):
    """Where one end of a link appears: in an emulated host (`HostEnd`), or at a board (testbed/boards)."""

    @property
    def interface(self) -> str:
        """The interface at that end, for messages."""

    def add_port(self, sky: NetworkNamespace, port: str, index: int, *, super_packets: bool = False) -> None:
        """Make interface `port`, numbered `index`, in the sky, so that it leads to that end; down.

        A host limits its `super_packets` from the start: each connection keeps the limit that it began with.
        Raises LinkError, and then leaves nothing.
        """

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Return whether that end's own interface is up, and whether it has noticed its carrier."""


@dataclass(frozen=True, slots=True)
class HostEnd:
    """An interface in a host's namespace, made with the link.

    Args:
        namespace_path: the namespace, as a path such as /proc/PID/ns/net.
        interface: the interface's name there.
        mac: its Ethernet address; None lets the kernel choose.
        host: the namespace itself, where it is at hand: to enter it by its path takes a thread.
    """

    namespace_path: str
    interface: str
    mac: str | None = None
    host: NetworkNamespace | None = None

    def add_port(self, sky: NetworkNamespace, port: str, index: int, *, super_packets: bool = False) -> None:
        """Add a veth between the sky and the host."""
        sky.add_veth(
            port,
            peer_name=self.interface,
            peer_path=self.namespace_path,
            index=index,
            peer_mac=self.mac,
            peer_segments=SEGMENTS if super_packets else None,
            mtu_bytes=PORT_MTU_BYTES,
            group=PORT_GROUP,
        )
        try:
            sky.disable_super_packets(port)
            with host_at(self.host, self.namespace_path, self.interface) as host:
                host.call(lambda: self._make_ready(host))
        except BaseException:
            sky.delete(port)
            raise

    def _make_ready(self, host: NetworkNamespace) -> None:
        """Set the interface up; runs in the host's thread, to which every call from outside is a switch."""
        host.disable_super_packets(self.interface)
        for setting, value in QUIET_IPV6.items():
            set_if_known(host, f"ipv6/conf/{self.interface}/{setting}", value)
        host.set_up(self.interface, True)

    def send_super_packets(self, on: bool) -> None:
        """Let the host send TCP's super-packets, or no longer; with another MTU it never does.

        Raises LinkError.
        """
        with host_at(self.host, self.namespace_path, self.interface) as host:
            on = on and host.mtu_bytes(self.interface) == MTU_BYTES
            host.set_tcp_segmentation(self.interface, on)

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Look from the sky into the host."""
        return sky.look_into(self.namespace_path, self.interface)


def set_if_known(space: NetworkNamespace, name: str, value: str) -> None:
    """Write a sysctl of a namespace, where the kernel has it."""
    if space.read_sysctl(name) is not None:
        space.write_sysctl(name, value)


def host_at(host: NetworkNamespace | None, path: str, what: str) -> AbstractContextManager[NetworkNamespace]:
    """Return a host's namespace, entered by its path if it is not at hand."""
    return nullcontext(host) if host is not None else NetworkNamespace.enter(path, f"of {what}")
