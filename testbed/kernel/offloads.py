"""Offloads of an interface that make frames larger than the MTU, by ioctl: linux/ethtool.h, ethtool(7).

Names and places of the features are the same for all interfaces of a kernel.
"""

from __future__ import annotations

import array
import fcntl
import functools
import socket
import struct
from collections.abc import Sequence

SIOCGIFMTU, SIOCETHTOOL = 0x8921, 0x8946
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSSET_INFO = 0x37
ETHTOOL_GFEATURES = 0x3A
ETHTOOL_SFEATURES = 0x3B
ETH_SS_FEATURES = 4
ETH_GSTRING_LEN = 32
WORD_BITS = 32

_TCP = {"tx-tcp-segmentation", "tx-tcp6-segmentation"}
_SUPER_PACKETS = {
    "tx-gso-list",
    "rx-gro",
    "rx-gro-list",
    "rx-gro-hw",
    "rx-lro",
    "rx-udp-gro-forwarding",
}


def disable_super_packets(interface: str) -> None:
    """Ask to switch off every offload that makes frames larger than the MTU.

    Runs in the namespace of the calling thread; `super_packet_features` tells what stayed on.

    Args:
        interface: its name.

    Raises:
        OSError: there is no such interface, or it does not know features.
    """
    with _Ethtool(interface) as ethtool:
        _set(ethtool, _of_super_packets(), on=False)


def set_tcp_segmentation(interface: str, *, on: bool) -> None:
    """Let TCP hand several packets as one to an interface, or no longer; see `disable_super_packets`.

    Raises:
        OSError: there is no such interface, or it does not know features.
    """
    with _Ethtool(interface) as ethtool:
        _set(ethtool, [n for n, name in enumerate(_feature_names()) if name in _TCP], on=on)


def mtu_bytes(interface: str) -> int:
    """Return the largest IP packet of an interface. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        found = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16si20x", interface.encode(), 0))
    return int(struct.unpack("16si20x", found)[1])


def super_packet_features(interface: str) -> list[str]:
    """Return the offloads that are on and make frames larger than the MTU; see `disable_super_packets`."""
    with _Ethtool(interface) as ethtool:
        names = _feature_names()
        words = _words(len(names))
        # Of each word: available, requested, active, never changed.
        question = struct.pack(f"=II{4 * words}I", ETHTOOL_GFEATURES, words, *[0] * (4 * words))
        found = struct.unpack(f"=II{4 * words}I", ethtool.ask(question))[2:]
        return [names[n] for n in _of_super_packets() if found[n // WORD_BITS * 4 + 2] >> n % WORD_BITS & 1]


class _Ethtool:
    """One interface's ioctl; a context manager."""

    def __init__(self, interface: str) -> None:
        self._interface = interface.encode()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> _Ethtool:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, question: bytes) -> bytes:
        """Return the kernel's answer, which it writes over the question."""
        command = array.array("B", question)
        address, _ = command.buffer_info()
        fcntl.ioctl(self._socket, SIOCETHTOOL, struct.pack("16sP16x", self._interface, address))
        return command.tobytes()


@functools.cache
def _feature_names() -> tuple[str, ...]:
    """Return the names of the kernel's features, in the order of their bits."""
    with _Ethtool("lo") as ethtool:
        question = struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0)
        count = struct.unpack("=IIQI", ethtool.ask(question))[3]
        head = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count)
        strings = ethtool.ask(head + bytes(count * ETH_GSTRING_LEN))[len(head) :]
    fields = (strings[n * ETH_GSTRING_LEN : (n + 1) * ETH_GSTRING_LEN] for n in range(count))
    return tuple(field.split(b"\0", 1)[0].decode(errors="replace") for field in fields)


@functools.cache
def _of_super_packets() -> tuple[int, ...]:
    """Return the bits of the features that make frames larger than the MTU."""
    names = _feature_names()
    return tuple(n for n, name in enumerate(names) if "segmentation" in name or name in _SUPER_PACKETS)


def _set(ethtool: _Ethtool, bits: Sequence[int], *, on: bool) -> None:
    words = _words(len(_feature_names()))
    wanted = [0] * (2 * words)  # of each word: which bits to set, and to what
    for bit in bits:
        for half in (0, 1) if on else (0,):
            wanted[bit // WORD_BITS * 2 + half] |= 1 << bit % WORD_BITS
    ethtool.ask(struct.pack(f"=II{2 * words}I", ETHTOOL_SFEATURES, words, *wanted))


def _words(bits: int) -> int:
    return -(-bits // WORD_BITS)
