"""A packet socket at an interface of a host: the frames that the kernel sends and receives there.

The kernel stamps a frame that leaves when it hands the frame to the interface, and one that arrives when it
receives it (CLOCK_REALTIME both, SO_TIMESTAMPNS): no program has to wake up for either.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.timestamps import stamp_arrivals

ETH_P_ALL = 3
UDP_HEADERS_BYTES = 42  # Ethernet 14, IP 20, UDP 8
BULK_KIND = 3
_SO_ATTACH_FILTER = 26
_PACKET_OUTGOING, _PACKET_TYPE = 4, 0xFFFFF004  # the last: SKF_AD_OFF + SKF_AD_PKTTYPE
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 1 << 24


def packet_socket(space: NetworkNamespace, interface: str) -> socket.socket:
    """Return a socket that receives all frames of one interface of a host, stamped."""

    def make() -> socket.socket:
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        stamp_arrivals(frames)
        frames.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        frames.bind((interface, ETH_P_ALL))
        return frames

    return space.call(make)


def open_probe_tap(interface: str, port: int) -> socket.socket:
    """Return a socket that receives copies of the RTT probes and echoes that leave by an interface.

    Each copy has the kernel's stamp of the moment when the frame is handed to the interface.

    Args:
        interface: of the calling thread's network namespace.
        port: UDP port that the probes go to. Their first byte tells their kind; those of trains and streams
            (`BULK_KIND`) are not copied.
    """
    # Classic BPF (linux/filter.h), as (code, if true, if false, k): all of a frame, or none at the end.
    load_byte, load_half, equal, give = 0x30, 0x28, 0x15, 0x06
    program = [
        (load_byte, 0, 0, _PACKET_TYPE),
        (equal, 0, 5, _PACKET_OUTGOING),
        (load_half, 0, 0, 36),  # the UDP port that it goes to
        (equal, 0, 3, port),
        (load_byte, 0, 0, UDP_HEADERS_BYTES),  # the kind
        (equal, 1, 0, BULK_KIND),
        (give, 0, 0, 0xFFFF),
        (give, 0, 0, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *step) for step in program))
    tap = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW, 0
    )  # protocol 0: nothing before the filter is there
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(code))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
    stamp_arrivals(tap)
    tap.setblocking(False)
    tap.bind((interface, ETH_P_ALL))
    return tap
