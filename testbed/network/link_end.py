"""The ends of a link: how a port of the sky leads to an emulated host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from testbed.kernel.namespace import NetworkNamespace

PORT_MTU_BYTES = 65535  # the hosts' own MTUs limit packets; the sky passes any size

# Otherwise a host checks for 1 s at every AOS whether its own addresses are in use, and looks for routers.
# Both ends of a link are known.
QUIET_IPV6 = {"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}


class LinkEnd(Protocol):
    """Where one end of a link appears: in an emulated host (`HostEnd`), or at a board (testbed/boards)."""

    @property
    def interface(self) -> str:
        """The interface at that end, for messages."""

    def add_port(self, sky: NetworkNamespace, port: str, index: int) -> None:
        """Make interface `port`, numbered `index`, in the sky, so that it leads to that end; down.

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
    """

    namespace_path: str
    interface: str
    mac: str | None = None

    def add_port(self, sky: NetworkNamespace, port: str, index: int) -> None:
        """Add a veth between the sky and the host."""
        sky.add_veth(
            port,
            peer_name=self.interface,
            peer_path=self.namespace_path,
            index=index,
            peer_mac=self.mac,
            mtu_bytes=PORT_MTU_BYTES,
        )
        try:
            sky.disable_super_packets(port)
            with NetworkNamespace.enter(self.namespace_path, f"of {self.interface}") as host:
                host.disable_super_packets(self.interface)
                for setting, value in QUIET_IPV6.items():
                    set_if_known(host, f"ipv6/conf/{self.interface}/{setting}", value)
                host.set_up(self.interface, True)
        except BaseException:
            sky.delete(port)
            raise

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Look from the sky into the host."""
        return sky.look_into(self.namespace_path, self.interface)


def set_if_known(space: NetworkNamespace, name: str, value: str) -> None:
    """Write a sysctl of a namespace, where the kernel has it."""
    if space.read_sysctl(name) is not None:
        space.write_sysctl(name, value)
