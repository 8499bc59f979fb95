"""Comparison of two captures of one link: one-way times, losses, duplicates and order, from their stamps.

scapy reads the files (pcap or pcapng, by tcpdump, Wireshark or `verify --capture`) and dissects the frames. A
frame of one file is found in the other by its bytes behind the Ethernet header, so that addresses changed by
a bridge or an adapter do not matter, nor do VLAN tags. UDP's and TCP's checksums are ignored, since a
sender's kernel leaves them to the interface. Equal frames are paired in order. The file that has a frame
first is the sender's; this needs clocks that differ by less than the delay, as those of two interfaces of one
machine do. Clocks of two machines must be synchronised.

If a capture holds only the beginning of each frame (a snap length: `tcpdump -s`), the frames of both captures
are compared by as many bytes as both hold.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
LEAST_KEY_BYTES = 28  # the headers of IPv4 and UDP
MOSTLY = 0.5
LONGEST_DELAY_S = 10.0
Way = Literal["down", "up"]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """One frame in a capture.

    Args:
        at_ns: the capture's stamp, nanoseconds since 1970.
        size_bytes: of the whole frame with its Ethernet header, even if only its beginning was captured.
        source: its Ethernet source address, which says at which end it was sent.
        key: hash of the packet behind the Ethernet header, or of its beginning, without padding.
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


def read_captures(
    satellite: Path, ground: Path, on_frame: Callable[[Path], None] = lambda _: None
) -> tuple[list[Seen], list[Seen]]:
    """Read the captures of a link's two ends, with keys over the bytes that both hold.

    Args:
        satellite: capture of the satellite's end.
        ground: capture of the ground station's end.
        on_frame: called after each frame with the capture's path.

    Raises:
        InputError: A file is not a capture of Ethernet frames, or holds too little of them.
    """
    held_bytes = [length for length in map(captured_bytes, (satellite, ground)) if length is not None]
    key_bytes = min(held_bytes, default=None)
    if key_bytes is not None and key_bytes < LEAST_KEY_BYTES:
        raise InputError(
            f"a capture holds only {key_bytes} bytes of some packets, which are not enough to tell them"
            " apart; capture with a snap length of 64 bytes or more (tcpdump -s)"
        )
    first, second = (
        read_capture(path, lambda path=path: on_frame(path), key_bytes=key_bytes)  # type: ignore[misc]
        for path in (satellite, ground)
    )
    return first, second


def captured_bytes(path: Path) -> int | None:
    """Return the least number of bytes of a packet in a capture of beginnings; None if it is of whole frames.

    Raises:
        InputError: The file is not a capture.
    """
    from scapy.utils import RawPcapReader

    least = None
    with _reading(path), RawPcapReader(str(path)) as reader:
        for octets, metadata in reader:
            if len(octets) < metadata.wirelen:
                held = len(octets) - _link_header_bytes(octets)
                least = held if least is None else min(least, held)
    return least


def _link_header_bytes(octets: bytes) -> int:
    end = 14
    while octets[end - 2 : end] in VLAN_TYPES:
        end += 4
    return end


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of reading a capture into InputError."""
    from scapy.error import Scapy_Exception

    try:
        yield
    except (OSError, EOFError, Scapy_Exception) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read capture {path}: {error.strerror}") from error
        reason = str(error) or "it is empty"
        raise InputError(f"capture {path}: expected pcap or pcapng: {reason}") from error


def read_capture(
    path: Path, on_frame: Callable[[], None] = lambda: None, *, key_bytes: int | None = None
) -> list[Seen]:
    """Read a pcap or pcapng file of Ethernet frames, in the order of its stamps.

    Args:
        path: the file.
        on_frame: called after each frame.
        key_bytes: bytes of a packet that its key covers; None for all.

    Raises:
        InputError: The file is no such capture, or has no frames.
    """
    import scapy.layers.inet  # so that scapy takes these apart; a second to import
    import scapy.layers.inet6  # noqa: F401
    from scapy.layers.l2 import Ether
    from scapy.utils import PcapReader

    frames = []
    with _reading(path), PcapReader(str(path)) as reader:
        for packet in reader:
            if not isinstance(packet, Ether):
                raise InputError(f"capture {path}: expected Ethernet frames, found {packet.name}")
            frames.append(_seen(packet, key_bytes))
            on_frame()
    if not frames:
        raise InputError(f"capture {path}: no frames in it")
    return sorted(frames, key=lambda frame: frame.at_ns)


def _seen(packet: Any, key_bytes: int | None) -> Seen:
    layers = [layer.__name__ for layer in packet.layers()[1:] if layer.__name__ not in ("Raw", "Padding")]
    inner = packet.payload
    while inner.name == "802.1Q":
        inner = inner.payload
    return Seen(
        at_ns=round(packet.time * NS),  # scapy keeps stamps as decimals
        size_bytes=max(len(packet), packet.wirelen or 0),
        source=packet.src,
        key=hashlib.blake2b(_without_checksum(inner)[:key_bytes], digest_size=16).digest(),
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


def reason_for_no_pairs(
    satellite: Sequence[Seen], ground: Sequence[Seen], ways: Mapping[Way, Crossed]
) -> str | None:
    """Return why two captures do not show one link, as one sentence; None if most frames are in both.

    Args:
        satellite: frames of the satellite's end.
        ground: frames of the ground station's end.
        ways: the comparison of both.
    """
    paired = sum(len(crossed.frames) - crossed.lost for crossed in ways.values())
    if paired > MOSTLY * min(len(satellite), len(ground)):
        return None
    counted = f"{paired or 'none'} of {len(satellite)} and {len(ground)} frames are in both captures"
    apart_s = max(satellite[0].at_ns - ground[-1].at_ns, ground[0].at_ns - satellite[-1].at_ns) / NS
    if apart_s > LONGEST_DELAY_S:
        return f"{counted}: their times are {apart_s:.6g} s apart; captures of other runs, or a wrong clock?"
    return (
        f"{counted}: is there a router or an address translator (NAT) between them, or are the links others?"
    )


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
