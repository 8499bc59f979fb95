"""A packet socket at an interface of a host: the frames that the kernel sends and receives there.

The kernel stamps a frame that leaves when it hands the frame to the interface, and one that arrives when it
receives it (CLOCK_REALTIME both, SO_TIMESTAMPNS): no program has to wake up for either.
"""

from __future__ import annotations

import socket

from testbed.kernel.namespace import NetworkNamespace
from testbed.kernel.timestamps import stamp_arrivals

ETH_P_ALL = 3
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
