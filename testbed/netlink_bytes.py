"""How netlink messages are laid out; see netlink(7)."""

from __future__ import annotations

import struct

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")  # length with these 4 bytes, number; then the payload, to a multiple of 4
NLM_F_REQUEST = 0x1


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
