"""How netlink messages are laid out; see netlink(7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # length with these 4 bytes, number; then the payload, to a multiple of 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x10, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3


def messages(data: bytes | bytearray, end: int | None = None) -> Iterator[tuple[int, int, int, int, int]]:
    """Each message in data[:end]: where its body begins and ends; its type, flags and sequence number."""
    at, end = 0, len(data) if end is None else end
    while at + HEADER.size <= end:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        yield at + HEADER.size, at + length, kind, flags, sequence
        at += max(length, HEADER.size) + 3 & ~3


def attribute_places(data: bytes, at: int, end: int) -> dict[int, tuple[int, int]]:
    """Where the payload of each netlink attribute in data[at:end] begins and ends, by its number."""
    found = {}
    while at + ATTRIBUTE.size <= end:
        length, number = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size:
            break
        found[number & 0x3FFF] = (at + ATTRIBUTE.size, at + length)
        at += length + 3 & ~3
    return found
