"""Makes interfaces, addresses and neighbours by raw rtnetlink(7) messages, several in one system call.

pyroute2 takes 0.4 ms of Python for a message, which is most of the time that a link of a hundred would take.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from testbed.kernel.netlink import NetlinkSocket, Request, attribute, attribute_places

# linux/netlink.h, linux/rtnetlink.h
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLA_F_NESTED = 0x8000
RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR, RTM_NEWNEIGH = 20, 21, 22, 28
# linux/if_link.h, linux/veth.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_PROTINFO = 1, 3, 4, 10, 12
IFLA_LINKINFO, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_GSO_MAX_SEGS = 18, 27, 28, 40
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING = 1, 5, 23
IFLA_BRPORT_LEARNING, FLOODING = 8, (9, 27, 30)  # of unicast, multicast and broadcast
IFF_UP = 0x1
# linux/if_addr.h, linux/neighbour.h
IFA_ADDRESS, IFA_LOCAL = 1, 2
NDA_DST, NDA_LLADDR, NUD_PERMANENT = 1, 2, 0x80

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def bridge(name: str, index: int | None = None) -> Request:
    """Return the request for a bridge that is up and only forwards: no spanning tree, no snooping."""
    quiet = _u32(IFLA_BR_FORWARD_DELAY, 0) + _u32(IFLA_BR_STP_STATE, 0) + _u8(IFLA_BR_MCAST_SNOOPING, 0)
    kind = _text(IFLA_INFO_KIND, "bridge") + _nest(IFLA_INFO_DATA, quiet)
    up = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index or 0, IFF_UP, IFF_UP)
    body = up + _text(IFLA_IFNAME, name) + _nest(IFLA_LINKINFO, kind)
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def veth(
    name: str,
    *,
    peer_name: str,
    peer_namespace: int,
    index: int | None = None,
    peer_mac: str | None = None,
    peer_segments: int | None = None,
    mtu_bytes: int = 1500,
    group: int = 0,
) -> Request:
    """Return the request for a veth whose other end is in the namespace of an open descriptor.

    `peer_segments` is the largest number of packets that the other end may send as one.
    """
    peer = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _text(IFLA_IFNAME, peer_name)
    peer += _u32(IFLA_NET_NS_FD, peer_namespace)
    if peer_mac is not None:
        peer += attribute(IFLA_ADDRESS, _ethernet(peer_mac))
    if peer_segments is not None:
        peer += _u32(IFLA_GSO_MAX_SEGS, peer_segments)
    kind = _text(IFLA_INFO_KIND, "veth") + _nest(IFLA_INFO_DATA, _nest(VETH_INFO_PEER, peer))
    body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index or 0, 0, 0) + _text(IFLA_IFNAME, name)
    body += _u32(IFLA_MTU, mtu_bytes) + _u32(IFLA_GROUP, group) + _nest(IFLA_LINKINFO, kind)
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def change(index: int, *, master: int | None = None, mtu_bytes: int | None = None, mac: str = "") -> Request:
    """Return the request that gives an interface a bridge, an MTU or an Ethernet address."""
    body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    if master is not None:
        body += _u32(IFLA_MASTER, master)
    if mtu_bytes is not None:
        body += _u32(IFLA_MTU, mtu_bytes)
    if mac:
        body += attribute(IFLA_ADDRESS, _ethernet(mac))
    return RTM_SETLINK, 0, body


def bridge_port(index: int, *, flooding: bool, learning: bool | None = None) -> Request:
    """Return the request that sets whether a bridge floods packets out of a port, and learns at it."""
    learns = b"" if learning is None else _u8(IFLA_BRPORT_LEARNING, learning)
    floods = b"".join(_u8(number, flooding) for number in FLOODING)
    body = _IFINFOMSG.pack(socket.AF_BRIDGE, 0, index, 0, 0) + _nest(IFLA_PROTINFO, learns + floods)
    return RTM_SETLINK, 0, body


def deletion(*, index: int = 0, group: int | None = None) -> Request:
    """Return the request that deletes one interface, or all of a group."""
    chosen = b"" if group is None else _u32(IFLA_GROUP, group)
    return RTM_DELLINK, 0, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0) + chosen


def address(index: int, text: str, prefix_length: int, *, present: bool = True) -> Request:
    """Return the request that gives an interface an IPv4 or IPv6 address, or takes it away.

    Raises:
        ValueError: the text is no address.
    """
    parsed = ipaddress.ip_address(text)
    body = _IFADDRMSG.pack(_FAMILIES[parsed.version], prefix_length, 0, 0, index)
    body += attribute(IFA_LOCAL, parsed.packed) + attribute(IFA_ADDRESS, parsed.packed)
    return (RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body) if present else (RTM_DELADDR, 0, body)


def neighbour(index: int, text: str, mac: str) -> Request:
    """Return the request that tells an interface the Ethernet address of an IP address for good.

    Raises:
        ValueError: the text is no IP address, or the other one no Ethernet address.
    """
    parsed = ipaddress.ip_address(text)
    body = _NDMSG.pack(_FAMILIES[parsed.version], index, NUD_PERMANENT, 0, 0)
    body += attribute(NDA_DST, parsed.packed) + attribute(NDA_LLADDR, _ethernet(mac))
    return RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body


def addresses(netlink: NetlinkSocket, index: int) -> list[str]:
    """Return the addresses of an interface as text, "10.0.0.1/24". Raises OSError."""
    answers, _ = netlink.dump(RTM_GETADDR, _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    return [_address_text(answer) for answer in answers if _IFADDRMSG.unpack_from(answer)[4] == index]


def _address_text(answer: bytes) -> str:
    prefix_length = _IFADDRMSG.unpack_from(answer)[1]
    places = attribute_places(answer, _IFADDRMSG.size, len(answer))
    begin, stop = places[IFA_LOCAL if IFA_LOCAL in places else IFA_ADDRESS]
    return f"{ipaddress.ip_address(answer[begin:stop])}/{prefix_length}"


def _nest(number: int, payload: bytes) -> bytes:
    return attribute(number | NLA_F_NESTED, payload)


def _u8(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=B", value))


def _u32(number: int, value: int) -> bytes:
    return attribute(number, struct.pack("=I", value))


def _text(number: int, text: str) -> bytes:
    return attribute(number, text.encode() + b"\0")


def _ethernet(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
