"""Arrival times from the kernel: SO_TIMESTAMPNS, see socket(7).

The kernel stamps a packet with CLOCK_REALTIME as it arrives, before any program has to wake up for it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

SO_TIMESTAMPNS = 35  # linux/asm-generic/socket.h; Python has no name for it
ANCILLARY_BYTES = 64  # room for the stamp in `recvmsg`
_TIMESPEC = struct.Struct("@ll")  # SO_TIMESTAMPNS has longs, also where time_t is wider


def stamp_arrivals(receiver: socket.socket) -> None:
    """Let the kernel stamp what arrives at a socket; `recvmsg` then returns the stamp as ancillary data."""
    receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def arrival_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the first stamp in the ancillary data of `recvmsg`, CLOCK_REALTIME in nanoseconds."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
    return int(seconds) * 10**9 + int(nanoseconds)
