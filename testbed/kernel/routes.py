"""IPv4 routes of a namespace, by raw netlink: many changes in one message, each acknowledged."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import TYPE_CHECKING

from testbed.kernel.errors import LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.netlink import ATTRIBUTE, HEADER, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, messages

if TYPE_CHECKING:
    from typing_extensions import Self

RTM_NEWROUTE, RTM_DELROUTE = 24, 25  # linux/rtnetlink.h, as all below
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTNH_F_ONLINK = 254, 4, 1, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_NOWHERE = 0, 255
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 1, 4, 5, 7
BATCH_BYTES = 32_000  # of one write; the kernel takes more, up to the socket's buffer
ANSWER_WITHIN_S = 5.0
_RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of dst and src, tos, table, protocol, scope, type, flags


@dataclass(frozen=True, slots=True)
class Route:
    """A route by a gateway.

    Args:
        to: the destination.
        gateway: address of the next hop; None withdraws the route.
        interface: number of the interface that leads there.
        source: address that the node's own programs send from.
    """

    to: IPv4Network
    gateway: IPv4Address | None = None
    interface: int = 0
    source: IPv4Address | None = None


class RouteSocket:
    """Sets routes in one namespace, from any thread. Closed by `close` or the end of a `with` block.

    Args:
        space: the namespace; it may be closed afterwards.
        what: name for messages.

    Raises:
        LinkError: the namespace is closed.
    """

    def __init__(self, space: NetworkNamespace, what: str) -> None:
        self._what = what
        self._sequence = 0
        # A socket stays in the namespace where it was made.
        self._socket = space.call(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        )
        self._socket.settimeout(ANSWER_WITHIN_S)

    def set(self, routes: Sequence[Route]) -> None:
        """Add, replace and withdraw routes, each at once; to withdraw one that is not there is no error.

        The gateway need not answer, and its link need not be up: while it has no carrier, the route counts
        only where `ignore_routes_with_linkdown` is off.

        Raises:
            LinkError: the kernel refused a route; those after it were not tried.
        """
        batch, asked = bytearray(), list[Route]()
        for route in routes:
            self._sequence += 1
            batch += _message(route, self._sequence)
            asked.append(route)
            if len(batch) > BATCH_BYTES:
                self._exchange(batch, asked)
                batch, asked = bytearray(), []
        if asked:
            self._exchange(batch, asked)

    def close(self) -> None:
        """Close the socket; the routes stay. May be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, batch: bytearray, asked: Sequence[Route]) -> None:
        first = self._sequence - len(asked) + 1
        try:
            self._socket.sendto(batch, (0, 0))
            left = len(asked)
            while left:
                data = self._socket.recv(1 << 16)
                for begin, _, kind, _, sequence in messages(data):
                    if kind == NLMSG_ERROR and 0 <= sequence - first < len(asked):
                        left -= 1
                        self._check(-struct.unpack_from("=i", data, begin)[0], asked[sequence - first])
        except OSError as error:
            raise LinkError(f"cannot set routes in network namespace {self._what}: {error}") from error

    def _check(self, number: int, route: Route) -> None:
        if number == 0 or (number == errno.ESRCH and route.gateway is None):
            return
        what = f"the route to {route.to}" + ("" if route.gateway is None else f" by {route.gateway}")
        raise LinkError(f"network namespace {self._what} refuses {what}: {os.strerror(number)}")


def _message(route: Route, sequence: int) -> bytes:
    attributes = [(RTA_DST, route.to.network_address.packed)]
    if route.gateway is None:
        kind, flags, scope, onlink = RTM_DELROUTE, NLM_F_REQUEST | NLM_F_ACK, RT_SCOPE_NOWHERE, 0
    else:
        kind = RTM_NEWROUTE
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_REPLACE | NLM_F_CREATE
        scope, onlink = RT_SCOPE_UNIVERSE, RTNH_F_ONLINK  # its link may have no carrier yet
        attributes.append((RTA_GATEWAY, route.gateway.packed))
        attributes.append((RTA_OIF, struct.pack("=I", route.interface)))
        if route.source is not None:
            attributes.append((RTA_PREFSRC, route.source.packed))
    unicast = RTN_UNICAST if route.gateway is not None else 0
    body = _RTMSG.pack(
        socket.AF_INET, route.to.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, unicast, onlink
    )
    body += b"".join(ATTRIBUTE.pack(ATTRIBUTE.size + len(value), name) + value for name, value in attributes)
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body
