"""Comparison of two captures of one link: one-way times, losses, duplicates and order, from their stamps.

scapy reads the files (pcap or pcapng, by tcpdump, Wireshark or `verify --capture`) and dissects the frames. A
frame of one file is found in the other by its bytes behind the Ethernet header, so that addresses changed by
a bridge or an adapter do not matter, nor do VLAN tags. UDP's and TCP's checksums are ignored, since a
sender's kernel leaves them to the interface. Equal frames are paired in order. The file that has a frame
first is the sender's; this needs clocks that differ by less than the delay, as those of two interfaces of one
machine do. Clocks of two machines must be synchronised.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from testbed.errors import InputError

NS = 10**9
CHECKSUM_AT = {"UDP": 6, "TCP": 16}  # bytes into the header
# Bytes of a packet by its own header, 0 if unknown (a jumbogram). Behind them an interface pads short frames
# to 60 bytes, after the sender's capture has seen them (IEEE 802.3, 3.2.8).
LENGTH: Mapping[str, Callable[[Any], int]] = {
    "IP": lambda packet: int(packet.len),
    "IPv6": lambda packet: int(packet.plen) and 40 + int(packet.plen),
    "ARP": lambda packet: 8 + 2 * (int(packet.hwlen) + int(packet.plen)),
}
Way = Literal["down", "up"]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """One frame in a capture.

    Args:
        at_ns: the capture's stamp, nanoseconds since 1970.
        size_bytes: of the frame, as captured, with its Ethernet header.
        source: its Ethernet source address, which says at which end it was sent.
        key: hash of the packet behind the Ethernet header, without what a short frame is padded with.
        kind: its protocols, as scapy names them: "IP / UDP".
        port: UDP or TCP destination port, 0 for others.
    """

    at_ns: int
    size_bytes: int
    source: str
    key: bytes
    kind: str
    port: int


@dataclass(frozen=True)
class Crossed:
    """What went one way.

    Args:
        frames: those that were sent, in order.
        arrived_ns: int64[n], the stamp at the other end; 0 where it did not arrive.
        duplicated: arrivals of a frame beyond how often it was sent.
    """

    frames: Sequence[Seen]
    arrived_ns: Integers
    duplicated: int

    @property
    def one_way_s(self) -> npt.NDArray[np.float64]:
        """float64[m], of those that arrived, in the order in which they were sent, seconds."""
        sent_ns = np.array([frame.at_ns for frame in self.frames], dtype=np.int64)
        there = self.arrived_ns > 0
        return np.asarray((self.arrived_ns[there] - sent_ns[there]) / NS)

    @property
    def lost(self) -> int:
        """Frames that were sent and did not arrive."""
        return int(np.sum(self.arrived_ns == 0))

    @property
    def reordered(self) -> int:
        """Frames that arrived after one that was sent later (RFC 4737, section 3.3)."""
        order = np.argsort(self.arrived_ns[self.arrived_ns > 0], kind="stable")
        return int(np.sum(order < np.maximum.accumulate(order))) if len(order) else 0

    @property
    def kinds(self) -> dict[str, int]:
        """How many of each kind were sent, the most frequent first."""
        return dict(Counter(frame.kind for frame in self.frames).most_common())

    def only(self, wanted: Callable[[Seen], bool]) -> Crossed:
        """Return the selected frames alone."""
        chosen = [n for n, frame in enumerate(self.frames) if wanted(frame)]
        return Crossed([self.frames[n] for n in chosen], self.arrived_ns[chosen], 0)


def read_capture(path: Path, on_frame: Callable[[], None] = lambda: None) -> list[Seen]:
    """Read a pcap or pcapng file of Ethernet frames, in the order of its stamps.

    Raises InputError for what is no such file, in one line.
    """
    import scapy.layers.inet  # so that scapy takes these apart; a second to import
    import scapy.layers.inet6  # noqa: F401
    from scapy.error import Scapy_Exception
    from scapy.layers.l2 import Ether
    from scapy.utils import PcapReader

    frames = []
    try:
        with PcapReader(str(path)) as reader:
            for packet in reader:
                if not isinstance(packet, Ether):
                    raise InputError(f"capture {path}: expected Ethernet frames, found {packet.name}")
                frames.append(_seen(packet))
                on_frame()
    except (OSError, EOFError, Scapy_Exception) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read capture {path}: {error.strerror}") from error
        reason = str(error) or "it is empty"
        raise InputError(f"capture {path}: expected pcap or pcapng: {reason}") from error
    if not frames:
        raise InputError(f"capture {path}: no frames in it")
    return sorted(frames, key=lambda frame: frame.at_ns)


def _seen(packet: Any) -> Seen:
    layers = [layer.__name__ for layer in packet.layers()[1:] if layer.__name__ not in ("Raw", "Padding")]
    inner = packet.payload
    while inner.name == "802.1Q":
        inner = inner.payload
    return Seen(
        at_ns=round(packet.time * NS),  # scapy keeps stamps as decimals
        size_bytes=len(packet),
        source=packet.src,
        key=hashlib.blake2b(_without_checksum(inner), digest_size=16).digest(),
        kind=" / ".join(layers) or "other",
        port=next((int(packet[name].dport) for name in ("UDP", "TCP") if name in packet), 0),
    )


def _without_checksum(network: Any) -> bytes:
    length = LENGTH[network.name](network) if network.name in LENGTH else 0
    octets = bytearray(network.original[: length or None])
    for name, at in CHECKSUM_AT.items():
        if name in network:
            first = len(octets) - len(network[name].original) + at
            octets[first : first + 2] = b"\0\0"
    return bytes(octets)


def compare(satellite: Sequence[Seen], ground: Sequence[Seen]) -> dict[Way, Crossed]:
    """Pair the frames of both ends of a link.

    A frame that only one end has was lost on the way if that end is where its source sends; frames that came
    to an end from elsewhere, with a source that sends nothing over this link, are left out.
    """
    at_satellite, at_ground = _by_key(satellite), _by_key(ground)
    senders = _senders(at_satellite, at_ground)
    return {
        "down": _crossed(satellite, at_satellite, at_ground, senders["down"]),
        "up": _crossed(ground, at_ground, at_satellite, senders["up"]),
    }


def _by_key(frames: Iterable[Seen]) -> dict[bytes, list[Seen]]:
    found: dict[bytes, list[Seen]] = {}
    for frame in frames:
        found.setdefault(frame.key, []).append(frame)
    return found


def _senders(
    at_satellite: dict[bytes, list[Seen]], at_ground: dict[bytes, list[Seen]]
) -> dict[Way, set[str]]:
    """Return the source addresses whose frames appear first at the satellite's end, and at the ground's."""
    firsts: Counter[tuple[str, Way]] = Counter()
    for key in at_satellite.keys() & at_ground.keys():
        here, there = at_satellite[key][0], at_ground[key][0]
        firsts[(here.source, "down") if here.at_ns <= there.at_ns else (there.source, "up")] += 1
    sources = {source for source, _ in firsts}
    return {
        "down": {source for source in sources if firsts[source, "down"] >= firsts[source, "up"]},
        "up": {source for source in sources if firsts[source, "down"] < firsts[source, "up"]},
    }


def _crossed(
    frames: Sequence[Seen],
    sent: dict[bytes, list[Seen]],
    arrived: dict[bytes, list[Seen]],
    senders: set[str],
) -> Crossed:
    mine = [frame for frame in frames if frame.source in senders]
    number: Counter[bytes] = Counter()
    arrived_ns = np.zeros(len(mine), dtype=np.int64)
    for n, frame in enumerate(mine):
        others = arrived.get(frame.key, [])
        if number[frame.key] < len(others):
            arrived_ns[n] = others[number[frame.key]].at_ns
        number[frame.key] += 1
    duplicated = sum(max(0, len(arrived.get(key, [])) - len(sent[key])) for key in number)
    return Crossed(mine, arrived_ns, duplicated)
