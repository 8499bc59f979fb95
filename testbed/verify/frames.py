"""Frames of every kind that a link carries, made by scapy, for `spaceverse verify`.

    sent       as a whole Ethernet frame, through a packet socket at the satellite's interface; stamped in
               user space in the statement before the send call
    captured   by a packet socket at the ground's interface, stamped by that host's kernel (SO_TIMESTAMPNS)

scapy makes the frames before the first is sent, so how slow it is does not matter to any time.  A captured
frame is compared with the one that was sent byte by byte.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.packet_socket import packet_socket
from testbed.kernel.timestamps import arrival_ns

MARK = b"spaceverse verify"
KINDS = ("ARP", "IPv4", "IPv6", "neighbour solicitation")


@dataclass(frozen=True)
class Frame:
    """One frame: what it is, its bytes, and which of its kind."""

    kind: str
    number: int
    octets: bytes


@dataclass(frozen=True)
class Crossing:
    """What became of a frame.

    Args:
        sent_ns: CLOCK_REALTIME when it was sent.
        arrived_ns: when the same bytes arrived, in order; empty if they did not.
    """

    frame: Frame
    sent_ns: int
    arrived_ns: tuple[int, ...]


def make_frames(source_mac: str, destination_mac: str, of_each: int) -> list[Frame]:
    """Return frames of all KINDS in turn, `of_each` of them, all different."""
    from scapy.layers.inet import IP, UDP  # a second to import
    from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import ARP, Ether

    frames = []
    for number in range(of_each):
        ether = Ether(src=source_mac, dst=destination_mac)
        payload = UDP(sport=number, dport=9) / (MARK + bytes(number % 1000))
        bodies = {
            "ARP": ARP(op="who-has", hwsrc=source_mac, psrc="10.67.0.1", pdst=f"10.67.1.{number % 250}"),
            "IPv4": IP(src="10.67.0.1", dst="10.67.0.2", id=number) / payload,
            "IPv6": IPv6(src="fd67::1", dst="fd67::2", fl=number) / payload,
            "neighbour solicitation": IPv6(src="fd67::1", dst="ff02::1:ff00:2")
            / ICMPv6ND_NS(tgt=f"fd67::{number + 2:x}"),
        }
        frames += [Frame(kind, number, bytes(ether / bodies[kind])) for kind in KINDS]
    return frames


def cross(
    satellite: NetworkNamespace,
    ground: NetworkNamespace,
    interface: str,
    frames: Sequence[Frame],
    *,
    interval_s: float,
    quiet_s: float,
) -> list[Crossing]:
    """Send frames from the satellite's interface, one every `interval_s`, and capture them at the ground's.

    Args:
        satellite: namespace of the sender.
        ground: namespace of the receiver.
        interface: name of the interface in both.
        frames: frames to send.
        interval_s: seconds between frames.
        quiet_s: seconds without a frame after which the capture ends.
    """
    with packet_socket(satellite, interface) as sender, packet_socket(ground, interface) as tap:
        sent_ns = []
        begin_s = time.monotonic()
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, begin_s + number * interval_s - time.monotonic()))
            sent_ns.append(time.clock_gettime_ns(time.CLOCK_REALTIME))
            sender.send(frame.octets)
        arrived = _captured(tap, quiet_s)
    return [
        Crossing(frame, at_ns, tuple(arrived.get(frame.octets, ())))
        for frame, at_ns in zip(frames, sent_ns, strict=True)
    ]


def _captured(tap: socket.socket, quiet_s: float) -> dict[bytes, list[int]]:
    """Return the arrival times (ns) of all frames by their bytes, until nothing arrives for `quiet_s`."""
    tap.settimeout(quiet_s)
    found: dict[bytes, list[int]] = {}
    while True:
        try:
            octets, ancillary, _, address = tap.recvmsg(65536, 64)
        except TimeoutError:
            return found
        if address[2] != socket.PACKET_OUTGOING:
            found.setdefault(octets, []).append(arrival_ns(ancillary))
