"""Fast looks at the interfaces of a namespace: flags, bridge ports, and all interfaces in one dump.

pyroute2 takes milliseconds on a slow machine; what every contact does, and what is watched all the time, goes
by ioctl or by one raw netlink message instead.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Callable
from typing import TypeVar

from testbed.kernel.errors import LinkError
from testbed.kernel.namespace_thread import NamespaceThread, join_namespace
from testbed.kernel.netlink import ATTRIBUTE, NetlinkSocket, attribute, attribute_places

IFF_UP, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x40, 0x10000
_READY = IFF_UP | IFF_RUNNING
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFADDR = 0x8913, 0x8914, 0x8915
SIOCGIFHWADDR, SIOCGIFINDEX = 0x8927, 0x8933
BRIDGE_PORT_FORWARDING = 3
RTM_GETLINK, IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_STATE = 18, 18, 5, 1
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
DUMPS = 10  # attempts to read all interfaces while others change them

_T = TypeVar("_T")
_IFREQ = struct.Struct("16sH22x")  # name and flags, netdevice(7)
_IFREQ_INDEX = struct.Struct("16si20x")
_IFREQ_ETHERNET = struct.Struct("16sH6s16x")  # name; family and address
_IFREQ_ADDRESS = struct.Struct("16sHH4s16x")  # name; family, port and address
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change; rtnetlink(7)


class InterfaceFlags(NamespaceThread):
    """A namespace whose interfaces can be looked at, and taken up and down, in microseconds."""

    def __init__(self, join: Callable[[], None], what: str) -> None:
        self._any_socket: socket.socket | None = None
        self._raw_netlink: NetlinkSocket | None = None
        self._requests: dict[str, bytes] = {}
        super().__init__(join, what)

    def is_up(self, name: str) -> bool:
        """Return whether `name` is administratively up. Raises LinkError."""
        return bool(self._flags(name) & IFF_UP)

    def is_ready(self, name: str) -> bool:
        """Return whether the kernel lets packets out of `name`: it is up and has noticed its carrier."""
        return self._flags(name) & _READY == _READY

    def is_forwarding(self, port: str) -> bool:
        """Return whether a bridge lets packets through `port`.

        The kernel answers once it has finished changes of interfaces that it has begun. Raises LinkError.
        """
        return self._tried(f"read port {port}", lambda: self._port_state(port) == BRIDGE_PORT_FORWARDING)

    def mac(self, name: str) -> str:
        """Return the Ethernet address of `name`. Raises LinkError."""
        answer = self._ioctl(SIOCGIFHWADDR, "read", name, _IFREQ.pack(name.encode(), 0))
        octets: bytes = _IFREQ_ETHERNET.unpack(answer)[2]
        return octets.hex(":")

    def look_into(self, path: str, name: str) -> tuple[bool, bool]:
        """Return `is_up` and `is_ready` of interface `name` in the namespace at `path`. Raises LinkError.

        This namespace's thread goes there for the one look: `enter` would start a thread for it.
        """
        flags, _ = self._look_into(path, name, with_address=False)
        return bool(flags & IFF_UP), flags & _READY == _READY

    def look_for_address(self, path: str, name: str) -> tuple[bool, str | None]:
        """Return `is_up` and the first IPv4 address of interface `name` in the namespace at `path`.

        Raises:
            LinkError: there is no such interface or namespace.
        """
        flags, address = self._look_into(path, name, with_address=True)
        return bool(flags & IFF_UP), address

    def _look_into(self, path: str, name: str, *, with_address: bool) -> tuple[int, str | None]:
        def look() -> tuple[int, str | None]:
            join_namespace(path)
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
                    request = _IFREQ.pack(name.encode(), 0)
                    flags = int(_IFREQ.unpack(fcntl.ioctl(there, SIOCGIFFLAGS, request))[1])
                    return flags, _address(there, name) if with_address else None
            finally:
                self._rejoin()

        try:
            return self.call(look)
        except OSError as error:
            raise LinkError(f"cannot read interface {name} in {path}: {error.strerror}") from error

    def flags(self) -> dict[str, int]:
        """Return the flags of each interface, netdevice(7), by its name; one dump, cheap among hundreds.

        Raises:
            LinkError: the namespace is closed, or interfaces change so fast that no dump is whole.
        """
        return self._tried("read the interfaces", self._all_flags)

    def set_up(self, name: str, up: bool) -> None:
        """Take an interface administratively up or down. Raises LinkError.

        By ioctl, netdevice(7): every contact begins with this, and netlink is slow on slow machines.
        """
        flags = self._flags(name)
        self._flags(name, (flags | IFF_UP) if up else (flags & ~IFF_UP))

    def _flags(self, name: str, wanted: int | None = None) -> int:
        """Return the flags of an interface, after setting them to `wanted` if that is given; netdevice(7)."""
        what = "read" if wanted is None else "set"
        if wanted is not None:
            self._ioctl(SIOCSIFFLAGS, what, name, _IFREQ.pack(name.encode(), wanted))
        request = self._requests.get(name)
        if request is None:
            request = self._requests[name] = _IFREQ.pack(name.encode(), 0)
        flags: int = _IFREQ.unpack(self._ioctl(SIOCGIFFLAGS, what, name, request))[1]
        return flags

    def _ioctl(self, number: int, what: str, name: str, request: bytes) -> bytes:
        # A socket stays in the namespace where it was made, so the namespace's thread need not do this.
        if self._any_socket is None:
            self._any_socket = self.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            return fcntl.ioctl(self._any_socket, number, request)
        except OSError as error:
            raise LinkError(
                f"cannot {what} interface {name} in network namespace {self._what}: {error.strerror}"
            ) from error
        except ValueError:
            raise LinkError(f"network namespace {self._what} is closed") from None

    def _port_state(self, port: str) -> int | None:
        """Return IFLA_BRPORT_STATE, or None if it is no port; runs in the namespace's thread."""
        answer = self.netlink().ask(
            RTM_GETLINK, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, self._index(port), 0, 0)
        )
        at, end = _IFINFOMSG.size, len(answer)
        for number in (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_STATE):
            if number not in (places := attribute_places(answer, at, end)):
                return None
            at, end = places[number]
        return answer[at]

    def _all_flags(self) -> dict[str, int]:
        """Return one dump during which nothing changed; runs in the namespace's thread."""
        mask = attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
        question = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + mask
        for _ in range(DUMPS):
            links, whole = self.netlink().dump(RTM_GETLINK, question)
            if whole:
                return dict(map(_name_and_flags, links))
        raise OSError(errno.EAGAIN, "they change all the time")

    def netlink(self) -> NetlinkSocket:
        """Return the socket for rtnetlink messages, which any thread may use."""
        if self._raw_netlink is None:
            self._raw_netlink = self.call(NetlinkSocket)  # a socket stays in the namespace where it was made
        return self._raw_netlink

    def _index(self, name: str) -> int:
        try:
            answer = self._ioctl(SIOCGIFINDEX, "read", name, _IFREQ.pack(name.encode(), 0))
        except LinkError as error:
            raise LinkError(f"there is no interface {name} in network namespace {self._what}") from error
        index: int = _IFREQ_INDEX.unpack(answer)[1]
        return index

    def _tried(self, what: str, action: Callable[[], _T]) -> _T:
        try:
            return self.call(action)
        except OSError as error:
            raise LinkError(f"cannot {what} in network namespace {self._what}: {error}") from error

    def _close_sockets(self) -> None:
        for one in (self._any_socket, self._raw_netlink):
            if one is not None:
                one.close()


def _name_and_flags(link: bytes) -> tuple[str, int]:
    """Read the body of an RTM_NEWLINK; the name is its first attribute (rtnl_fill_ifinfo)."""
    length, _ = ATTRIBUTE.unpack_from(link, _IFINFOMSG.size)
    name = link[_IFINFOMSG.size + ATTRIBUTE.size : _IFINFOMSG.size + length]
    return name.rstrip(b"\0").decode(errors="replace"), _IFINFOMSG.unpack_from(link)[3]


def _address(there: socket.socket, name: str) -> str | None:
    """Return the first IPv4 address of an interface; None without one."""
    try:
        answer = fcntl.ioctl(
            there, SIOCGIFADDR, _IFREQ_ADDRESS.pack(name.encode(), socket.AF_INET, 0, bytes(4))
        )
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return socket.inet_ntoa(_IFREQ_ADDRESS.unpack(answer)[3])
