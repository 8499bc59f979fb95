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
from testbed.kernel.netlink import NetlinkSocket, Request, attribute

if TYPE_CHECKING:
    from typing_extensions import Self

RTM_NEWROUTE, RTM_DELROUTE = 24, 25  # linux/rtnetlink.h, as all below
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTNH_F_ONLINK = 254, 4, 1, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_NOWHERE = 0, 255
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 1, 4, 5, 7
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
        self._netlink = space.call(NetlinkSocket)  # a socket stays in the namespace where it was made

    def set(self, routes: Sequence[Route]) -> None:
        """Add, replace and withdraw routes, each at once; to withdraw one that is not there is no error.

        The gateway need not answer, and its link need not be up: while it has no carrier, the route counts
        only where `ignore_routes_with_linkdown` is off.

        Raises:
            LinkError: the kernel refused a route; the others were set.
        """
        try:
            errors = self._netlink.acknowledged([_request(route) for route in routes])
        except OSError as error:
            raise LinkError(f"cannot set routes in network namespace {self._what}: {error}") from error
        for route, error_number in zip(routes, errors, strict=True):
            self._check(error_number, route)

    def close(self) -> None:
        """Close the socket; the routes stay. May be called twice."""
        self._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, number: int, route: Route) -> None:
        if number == 0 or (number == errno.ESRCH and route.gateway is None):
            return
        what = f"the route to {route.to}" + ("" if route.gateway is None else f" by {route.gateway}")
        raise LinkError(f"network namespace {self._what} refuses {what}: {os.strerror(number)}")


def _request(route: Route) -> Request:
    to = attribute(RTA_DST, route.to.network_address.packed)
    if route.gateway is None:
        return RTM_DELROUTE, 0, _route(route, RT_SCOPE_NOWHERE, 0, 0) + to
    # Its link may have no carrier yet.
    body = _route(route, RT_SCOPE_UNIVERSE, RTN_UNICAST, RTNH_F_ONLINK) + to
    body += attribute(RTA_GATEWAY, route.gateway.packed)
    body += attribute(RTA_OIF, struct.pack("=I", route.interface))
    if route.source is not None:
        body += attribute(RTA_PREFSRC, route.source.packed)
    return RTM_NEWROUTE, NLM_F_REPLACE | NLM_F_CREATE, body


def _route(route: Route, scope: int, kind: int, flags: int) -> bytes:
    lengths = socket.AF_INET, route.to.prefixlen, 0
    return _RTMSG.pack(*lengths, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, kind, flags)
