"""The one place that talks to the kernel about networks: namespaces, veths, bridges, carrier, offloads.

A namespace is a thread that lives in it.  The kernel looks at the calling thread's namespace for
everything that matters here (netlink sockets, /proc/sys/net, child processes), so work is handed to that
thread and nothing in the process ever changes namespace under somebody else's feet.

An anonymous namespace has no name and no mount: open file descriptors and threads of this process are all
that hold it.  When the process dies, also by kill -9, the kernel takes it away with every bridge and veth.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from testbed.kernel.errors import CapabilityError, LinkError
from testbed.kernel.netlink import (
    ATTRIBUTE,
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute_places,
    messages,
)

CLONE_NEWNET = 0x40000000
IFF_UP, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x40, 0x10000
_READY = IFF_UP | IFF_RUNNING
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
BRIDGE_PORT_FORWARDING = 3
RTM_GETLINK, IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_STATE = 18, 18, 5, 1
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
DUMPS = 10  # so often is a dump begun again because interfaces came or went meanwhile
NUD_PERMANENT = 0x80
RT_SCOPE_LINK = 253

# Interface numbers of sky ports start here.  A veth whose two ends happen to share a number (each namespace
# counts from 1) is taken for a physical NIC by the kernel's linkwatch, which then reports its carrier up to
# 1 s late; measured with ports numbered 2.
FIRST_PORT_INDEX = 1 << 20

_IFREQ = struct.Struct("16sH22x")  # name and flags, netdevice(7)
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change; rtnetlink(7)
_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class InterfaceReading:
    """What the kernel says about one interface.

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


class NetworkNamespace:
    """A network namespace and the thread that works in it; use `create()` or `enter()`.

    Every method may be called from any thread; calls run one after another.
    """

    def __init__(self, join: Callable[[], None], what: str) -> None:
        self._what = what
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._netlink: Any = None
        self._fd = -1
        self._any_socket: socket.socket | None = None
        self._raw_netlink: socket.socket | None = None
        self._requests: dict[str, bytes] = {}
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"netns {what}", daemon=True)
        self._thread.start()
        try:
            self._fd = self.call(lambda: _enter(join))
        except OSError as error:
            self.close()
            raise _namespace_error(what, error) from error

    @classmethod
    def create(cls, what: str = "new") -> NetworkNamespace:
        """Make an anonymous namespace that lives until `close()` or the end of this process.

        Raises CapabilityError when not root.
        """
        space = cls(lambda: _check(_libc.unshare(CLONE_NEWNET)), what)
        with suppress(OSError):
            # Where IPv6 is a module, its settings (and its chatter) are there once somebody has asked for it:
            # better now than in the middle of a measurement.
            space.call(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close())
        return space

    @classmethod
    def enter(cls, path: str, what: str = "") -> NetworkNamespace:
        """Work in an existing namespace, given as a path such as /proc/PID/ns/net. Raises LinkError."""

        def join() -> None:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(fd, CLONE_NEWNET))
            finally:
                os.close(fd)

        return cls(join, what or path)

    @property
    def path(self) -> str:
        """A path that any process may open for setns or nsenter, as long as this object is open."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def call(self, function: Callable[[], _T]) -> _T:
        """Run `function` in the namespace and return what it returns."""
        if threading.current_thread() is self._thread:
            return function()
        result: Future[_T] = Future()
        with self._gate:  # so that no task comes after the last
            if self._closed:
                raise LinkError(f"network namespace {self._what} is closed")
            self._tasks.put((result, function))
        return result.result()

    def close(self) -> None:
        """Leave the namespace; one made by `create()` ends with all in it. May be called twice."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._tasks.put(None)
        self._thread.join()
        for one in (self._any_socket, self._raw_netlink):
            if one is not None:
                one.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- interfaces ---------------------------------------------------------------------------------

    def read(self, name: str) -> InterfaceReading:
        """What the kernel says about interface `name` now. Raises LinkError if there is none."""
        return self.call(lambda: _reading(self._link(name)))

    def is_up(self, name: str) -> bool:
        """Whether `name` is administratively up; a few microseconds, unlike `read`. Raises LinkError."""
        return bool(self._flags(name) & IFF_UP)

    def is_ready(self, name: str) -> bool:
        """Whether the kernel lets packets out of `name`: it is up and has noticed its carrier."""
        return self._flags(name) & _READY == _READY

    def is_forwarding(self, port: str) -> bool:
        """Whether a bridge lets packets through `port`; as `read` says it, in a hundredth of the time.

        The kernel answers when whatever it has begun to change about interfaces is done. Raises LinkError.
        """
        return self._do(f"read port {port}", lambda _: self._port_state(port) == BRIDGE_PORT_FORWARDING)

    def look_into(self, path: str, name: str) -> tuple[bool, bool]:
        """`is_up` and `is_ready` of interface `name` in the namespace at `path`. Raises LinkError.

        This namespace's thread goes there for the one look: `enter` would start a thread for it.
        """

        def look() -> int:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(fd, CLONE_NEWNET))
                try:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
                        answer = fcntl.ioctl(there, SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
                finally:
                    _check(_libc.setns(self._fd, CLONE_NEWNET))
            finally:
                os.close(fd)
            return int(_IFREQ.unpack(answer)[1])

        try:
            flags = self.call(look)
        except OSError as error:
            raise LinkError(f"cannot read interface {name} in {path}: {error.strerror}") from error
        return bool(flags & IFF_UP), flags & _READY == _READY

    def names(self) -> list[str]:
        """Names of all interfaces in the namespace."""
        return self.call(lambda: [link.get("ifname") for link in self._ipr().get_links()])

    def flags(self) -> dict[str, int]:
        """Flags of each interface, netdevice(7), by its name; one dump, cheap among hundreds.

        Raises LinkError, also where interfaces come and go so fast that no dump is whole.
        """
        return self._do("read the interfaces", lambda _: self._all_flags())

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
        """Let the bridge send packets out of `port`, or none of any protocol.

        A bridge that never learns floods every packet, so that a port without flooding gets none.
        """

        def flood(ipr: Any) -> None:
            ipr.brport("set", index=self._index(port), unicast_flood=on, mcast_flood=on, bcast_flood=on)

        self._do(f"{'open' if on else 'close'} {port}", flood)

    def set_up(self, name: str, up: bool) -> None:
        """Take an interface administratively up or down. Raises LinkError.

        By ioctl, netdevice(7), as `is_up` reads it: this is what every contact begins with, and through
        netlink it takes a slow machine 2 ms.
        """
        flags = self._flags(name)
        self._flags(name, (flags | IFF_UP) if up else (flags & ~IFF_UP))

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
        """Take an address away from an interface."""

        def remove(ipr: Any) -> None:
            ipr.addr("del", index=self._index(name), address=address, prefixlen=prefix_length)

        self._do(f"remove address {address}/{prefix_length} from {name}", remove)

    def addresses(self, name: str) -> list[str]:
        """Addresses of an interface as text, "10.0.0.1/24"."""

        def read(ipr: Any) -> list[str]:
            found = ipr.get_addr(index=self._index(name))
            return [f"{address.get('address')}/{address['prefixlen']}" for address in found]

        return self._do(f"read the addresses of {name}", read)

    def add_route(self, name: str, destination: str) -> None:
        """Send packets for `destination`, such as "192.0.2.7/32", out of an interface; it is on that link."""

        def add(ipr: Any) -> None:
            ipr.route("replace", dst=destination, oif=self._index(name), scope=RT_SCOPE_LINK)

        self._do(f"add a route to {destination} by {name}", add)

    def add_neighbour(self, name: str, address: str, mac: str) -> None:
        """Tell interface `name` for good which Ethernet address `address` has, so that it never asks."""

        def add(ipr: Any) -> None:
            ipr.neigh("replace", ifindex=self._index(name), dst=address, lladdr=mac, state=NUD_PERMANENT)

        self._do(f"add neighbour {address} to {name}", add)

    def delete(self, name: str) -> None:
        """Delete an interface; no error if it is gone already (its peer's namespace may have ended)."""

        def delete(ipr: Any) -> None:
            with suppress(LinkError):
                ipr.link("del", index=self._index(name))

        self._do(f"delete {name}", delete)

    # -- offloads -----------------------------------------------------------------------------------

    def disable_super_packets(self, name: str) -> None:
        """Switch off everything that lets frames larger than the MTU reach a shaper, and read it back.

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
        """The offloads of `name` that are on and make frames larger than the MTU."""

        def read() -> list[str]:
            ethtool = IoctlEthtool(name)
            try:
                features = ethtool.get_features()
                return [found for found, on, fixed, *_ in features if on and _makes_super_packets(found)]
            finally:
                ethtool.close()

        return self.call(read)

    # -- sysctls and programs -------------------------------------------------------------------------

    def write_sysctl(self, name: str, value: str) -> None:
        """Write /proc/sys/net/`name` as this namespace sees it, and read it back. Raises LinkError."""
        file = Path("/proc/sys/net", name)

        def write() -> str:
            file.write_text(value)
            return file.read_text().strip()

        try:
            held = self.call(write)
        except OSError as error:
            raise LinkError(f"cannot set {file} to {value}: {error.strerror}") from error
        if held != value:
            raise LinkError(f"{file} holds {held!r} after {value!r} was written to it")

    def read_sysctl(self, name: str) -> str | None:
        """The value of /proc/sys/net/`name` in this namespace; None where the kernel has no such file."""
        try:
            return self.call(Path("/proc/sys/net", name).read_text).strip()
        except FileNotFoundError:
            return None

    def run(self, arguments: Sequence[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end inside the namespace; its exit status is the caller's to judge."""
        return self.call(
            lambda: subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
        )

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program inside the namespace.

        Its parent, for PR_SET_PDEATHSIG, is this namespace's thread: it may ask to end when `close()` comes.
        """
        return self.call(lambda: subprocess.Popen(arguments, **options))

    # -- the thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            result, function = task
            try:
                result.set_result(function())
            except BaseException as error:  # whatever it is, it belongs to the caller
                result.set_exception(error)
        if self._netlink is not None:
            self._netlink.close()

    def _ipr(self) -> Any:
        if self._netlink is None:
            self._netlink = IPRoute()  # in the thread: the socket belongs to the namespace for good
        return self._netlink

    def _do(self, what: str, action: Callable[[Any], _T]) -> _T:
        try:
            return self.call(lambda: action(self._ipr()))
        except (NetlinkError, OSError) as error:
            raise LinkError(f"cannot {what} in network namespace {self._what}: {error}") from error

    def _flags(self, name: str, wanted: int | None = None) -> int:
        """Flags of an interface, after they were set to `wanted`, if that is given; see netdevice(7)."""
        # A socket stays in the namespace where it was made, so this needs no turn of the namespace's thread.
        if self._any_socket is None:
            self._any_socket = self.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            if wanted is not None:
                fcntl.ioctl(self._any_socket, SIOCSIFFLAGS, _IFREQ.pack(name.encode(), wanted))
            request = self._requests.get(name)
            if request is None:
                request = self._requests[name] = _IFREQ.pack(name.encode(), 0)
            answer = fcntl.ioctl(self._any_socket, SIOCGIFFLAGS, request)
        except OSError as error:
            what = "read" if wanted is None else "set"
            raise LinkError(
                f"cannot {what} interface {name} in network namespace {self._what}: {error.strerror}"
            ) from error
        except ValueError:
            raise LinkError(f"network namespace {self._what} is closed") from None
        flags: int = _IFREQ.unpack(answer)[1]
        return flags

    def _port_state(self, port: str) -> int | None:
        """IFLA_BRPORT_STATE, or None of what is no port; in the namespace's thread."""
        netlink = self._raw()
        question = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, self._index(port), 0, 0)
        length = HEADER.size + len(question)
        netlink.send(HEADER.pack(length, RTM_GETLINK, NLM_F_REQUEST, 0, 0) + question)
        answer = netlink.recv(1 << 16)
        at, end = HEADER.size + _IFINFOMSG.size, HEADER.unpack_from(answer)[0]
        for number in (IFLA_LINKINFO, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_STATE):
            if number not in (places := attribute_places(answer, at, end)):
                return None
            at, end = places[number]
        return answer[at]

    def _all_flags(self) -> dict[str, int]:
        """One dump that nothing changed meanwhile; in the namespace's thread."""
        netlink = self._raw()
        mask = ATTRIBUTE.pack(8, IFLA_EXT_MASK) + RTEXT_FILTER_SKIP_STATS.to_bytes(4, sys.byteorder)
        question = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + mask
        asked = HEADER.pack(HEADER.size + len(question), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)
        try:
            for _ in range(DUMPS):
                netlink.send(asked + question)
                found: dict[str, int] = {}
                whole, more = True, True
                while more:
                    answer = netlink.recv(1 << 16)
                    for at, end, kind, flags, _ in messages(answer):
                        whole = whole and not flags & NLM_F_DUMP_INTR
                        if kind in (NLMSG_ERROR, NLMSG_DONE):
                            whole, more = whole and kind == NLMSG_DONE, False
                            break
                        name, its_flags = _name_and_flags(answer[at:end])
                        found[name] = its_flags
                if whole:
                    return found
        except OSError:  # what else comes would be taken for the next answer
            netlink.close()
            self._raw_netlink = None
            raise
        raise OSError(errno.EAGAIN, "they changed whenever they were looked at")

    def _raw(self) -> socket.socket:
        if self._raw_netlink is None:
            self._raw_netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        return self._raw_netlink

    def _index(self, name: str) -> int:
        try:
            return socket.if_nametoindex(name)  # of the calling thread's namespace
        except OSError as error:
            raise LinkError(f"there is no interface {name} in network namespace {self._what}") from error

    def _link(self, name: str) -> Any:
        try:
            found = self._ipr().link("get", ifname=name)
        except NetlinkError as error:
            raise LinkError(f"there is no interface {name} in network namespace {self._what}") from error
        return found[0]


def _enter(join: Callable[[], None]) -> int:
    join()
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _namespace_error(what: str, error: OSError) -> CapabilityError | LinkError:
    if isinstance(error, PermissionError):
        return CapabilityError(f"network namespace {what}: not permitted; run as root (sudo)")
    return LinkError(f"network namespace {what}: {error}")


def _name_and_flags(link: bytes) -> tuple[str, int]:
    """Of the body of an RTM_NEWLINK; the name is its first attribute (rtnl_fill_ifinfo)."""
    length, _ = ATTRIBUTE.unpack_from(link, _IFINFOMSG.size)
    name = link[_IFINFOMSG.size + ATTRIBUTE.size : _IFINFOMSG.size + length]
    return name.rstrip(b"\0").decode(errors="replace"), _IFINFOMSG.unpack_from(link)[3]


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
