"""Raw Ethernet probing at one interface: discovery of neighbours and round-trip times.

It works beside the interface's other traffic, needs no address, changes nothing, and also works at a port of
the sky.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from testbed.kernel.ethernet import link_local
from testbed.kernel.timestamps import arrival_ns, stamp_arrivals

ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20  # packet(7)
ARP_REQUEST, ARP_REPLY = 1, 2
ICMP_ECHO, ICMP_ECHO_REPLY, ICMP6_ECHO = 8, 0, 128
HEADERS_BYTES = 14 + 20 + 8
SHORTEST_FRAME_BYTES = 64
BROADCAST = "ff:ff:ff:ff:ff:ff"
# The multicast address of all nodes of a link, and its Ethernet address; RFC 4291, 2.7.1, and RFC 2464, 7.
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_identifiers = itertools.count(os.getpid())
_ROUND_S = 0.3  # between two echo requests to all nodes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Ethernet and IPv4 address of one end of a link."""

    mac: str
    address: str


class Wire:
    """A packet socket at an interface of the calling thread's namespace; a context manager.

    Args:
        interface: Name of the interface.

    Raises:
        OSError: the interface does not exist; later, it is down while something is sent.
    """

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        stamp_arrivals(self._socket)
        # Bypass the qdisc: at a port of the sky it belongs to the shaper, which passes nothing while the
        # link is down.
        self._socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        try:
            self._socket.bind((interface, ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise
        self.mac = _text(self._socket.getsockname()[4])

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def neighbours(self, patience_s: float = 2.4) -> set[str]:
        """Return the Ethernet addresses that send anything while all nodes are asked for an ICMPv6 echo.

        An interface that has just come up may be deaf for a second, because the kernel looks for new links
        only that often. So the request is repeated until somebody answers and two more requests find nobody
        else.

        Args:
            patience_s: Time limit, seconds.
        """
        macs: set[str] = set()
        quiet = 0
        give_up_s = time.monotonic() + patience_s
        for sequence in itertools.count():
            self._socket.send(_echo_to_all(self.mac, sequence))
            new = {_text(frame[6:12]) for frame, _ in self._frames(_ROUND_S)}
            quiet = quiet + 1 if macs and new <= macs else 0
            macs |= new
            if quiet == 2 or time.monotonic() > give_up_s:
                break
        return macs

    def who_has(self, address: str, source: Endpoint, patience_s: float = 2.0) -> set[str]:
        """Return the Ethernet addresses that claim an IPv4 address by ARP.

        Args:
            address: The IPv4 address.
            source: Sender of the ARP requests.
            patience_s: The request is repeated until there is an answer, for at most this long, seconds.
        """
        claimants: set[str] = set()
        give_up_s = time.monotonic() + patience_s
        while not claimants and time.monotonic() < give_up_s:
            self._socket.send(_arp_request(address, source))
            for frame, _ in self._frames(0.2):
                if _type(frame) == ETH_P_ARP and len(frame) >= 14 + _ARP.size:
                    *_, operation, mac, sender, _, _ = _ARP.unpack_from(frame, 14)
                    if operation == ARP_REPLY and sender == socket.inet_aton(address):
                        claimants.add(_text(mac))
        return claimants

    def announce(self, target: Endpoint, source: Endpoint) -> None:
        """Tell `target` the Ethernet address of `source`, which spares it an ARP request."""
        request = _arp_request(target.address, source)
        self._socket.send(_raw(target.mac) + request[6:])

    def round_trips_s(
        self, source: Endpoint, target: Endpoint, count: int, interval_s: float, frame_bytes: int = 64
    ) -> list[float]:
        """Return the round-trip times of ICMP echoes, seconds, without those that were lost.

        Each is measured from the send call to the kernel's timestamp of the reply.

        Args:
            source: Sender of the requests.
            target: Destination of the requests.
            count: Number of requests.
            interval_s: Interval between requests, seconds.
            frame_bytes: Size of each frame.
        """
        identifier = next(_identifiers) & 0xFFFF
        round_trips_s = []
        for sequence in range(count):
            next_s = time.monotonic() + interval_s
            frame = _echo(source, target, identifier, sequence, frame_bytes)
            sent_s = time.time()
            self._socket.send(frame)
            for answer, arrived_s in self._frames(interval_s):
                if _is_reply(answer, identifier, sequence):
                    round_trips_s.append(arrived_s - sent_s)
                    break
            time.sleep(max(0.0, next_s - time.monotonic()))
        return round_trips_s

    def echoed_train(
        self, source: Endpoint, target: Endpoint, count: int, frame_bytes: int, patience_s: float
    ) -> list[float]:
        """Send ICMP echo requests back to back and return the arrival times of the replies.

        Args:
            source: Sender of the requests.
            target: Destination of the requests.
            count: Number of requests.
            frame_bytes: Size of each frame.
            patience_s: Time limit for the replies, seconds.

        Returns:
            Seconds of CLOCK_REALTIME, in order of arrival.
        """
        identifier = next(_identifiers) & 0xFFFF
        frames = [_echo(source, target, identifier, sequence, frame_bytes) for sequence in range(count)]
        arrived: list[float] = []
        for frame in frames:
            with suppress(OSError):  # no buffer left: this request is lost
                self._socket.send(frame)
        for answer, arrived_s in self._frames(patience_s):
            if _is_reply(answer, identifier, None):
                arrived.append(arrived_s)
                if len(arrived) == count:
                    break
        return arrived

    def _frames(self, for_s: float) -> Iterator[tuple[bytes, float]]:
        """Yield the frames that arrive within `for_s` seconds, with kernel timestamps (CLOCK_REALTIME)."""
        waiting = select.poll()  # the process of a run may have more open files than select(2) allows
        waiting.register(self._socket, select.POLLIN)
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0:
            if not waiting.poll(left_s * 1e3):
                return
            data, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            if sender[2] == socket.PACKET_OUTGOING or len(data) < 14:
                continue
            yield data, arrival_ns(ancillary) / 1e9


def _arp_request(address: str, source: Endpoint) -> bytes:
    own, ip = _raw(source.mac), socket.inet_aton(source.address)
    body = _ARP.pack(1, ETH_P_IP, 6, 4, ARP_REQUEST, own, ip, bytes(6), socket.inet_aton(address))
    return _ethernet(BROADCAST, source.mac, ETH_P_ARP) + body


def _echo(source: Endpoint, target: Endpoint, identifier: int, sequence: int, frame_bytes: int) -> bytes:
    body = struct.pack("!BBHHH", ICMP_ECHO, 0, 0, identifier, sequence).ljust(
        max(frame_bytes, SHORTEST_FRAME_BYTES) - 34, b"\0"
    )
    body = body[:2] + _checksum(body) + body[4:]
    ends = socket.inet_aton(source.address) + socket.inet_aton(target.address)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, socket.IPPROTO_ICMP, 0) + ends
    header = header[:10] + _checksum(header) + header[12:]
    return _ethernet(target.mac, source.mac, ETH_P_IP) + header + body


def _echo_to_all(mac: str, sequence: int) -> bytes:
    body = struct.pack("!BBHHH", ICMP6_ECHO, 0, 0, next(_identifiers) & 0xFFFF, sequence)
    ends = socket.inet_pton(socket.AF_INET6, link_local(mac)) + socket.inet_pton(socket.AF_INET6, ALL_NODES)
    pseudo = ends + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)  # RFC 8200, 8.1
    body = body[:2] + _checksum(pseudo + body) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + ends
    return _ethernet(ALL_NODES_MAC, mac, ETH_P_IPV6) + header + body


def _is_reply(frame: bytes, identifier: int, sequence: int | None) -> bool:
    if _type(frame) != ETH_P_IP or len(frame) < HEADERS_BYTES or frame[23] != socket.IPPROTO_ICMP:
        return False
    at = 14 + 4 * (frame[14] & 0xF)
    kind, _, _, its_identifier, its_sequence = struct.unpack_from("!BBHHH", frame, at)
    return kind == ICMP_ECHO_REPLY and its_identifier == identifier and sequence in (None, its_sequence)


def _ethernet(to: str, source: str, kind: int) -> bytes:
    return _raw(to) + _raw(source) + struct.pack("!H", kind)


def _type(frame: bytes) -> int:
    return int.from_bytes(frame[12:14], "big")


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum of RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)


def _raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _text(mac: bytes) -> str:
    return mac.hex(":")
