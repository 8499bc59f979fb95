"""Whether the link to the ground is there, as the network card sees it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import time

# linux/sockios.h, linux/ethtool.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCETHTOOL = 0x8946
ETHTOOL_GLINK = 0x0000000A
IFF_UP = 0x1

POLL_S = 0.05


class CarrierWatch:
    """Carrier of one interface, in the network namespace of the calling process.

    Asks ETHTOOL_GLINK and not IFF_RUNNING: the latter follows the carrier only when the kernel's
    link watch gets to it, on a real NIC up to a second late, and asking GLINK makes it catch up.
    An interface that is missing counts as no contact: it may be plugged in later.

    Args:
        interface: its name; None means that there is always contact.
    """

    def __init__(self, interface: str | None) -> None:
        self._interface = interface
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._asked_s = -1.0
        self._up = False

    def up(self) -> bool:
        """Carrier now, or as of at most POLL_S ago."""
        if self._interface is None:
            return True
        now_s = time.monotonic()
        if now_s - self._asked_s >= POLL_S:
            self._asked_s = now_s
            self._up = self._ask(self._interface.encode())
        return self._up

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _ask(self, interface: bytes) -> bool:
        try:
            flags = fcntl.ioctl(self._socket, SIOCGIFFLAGS, struct.pack("16sh22x", interface, 0))
            if not struct.unpack("16sh22x", flags)[1] & IFF_UP:
                return False
            value = array.array("I", [ETHTOOL_GLINK, 0])
            address, _ = value.buffer_info()
            fcntl.ioctl(self._socket, SIOCETHTOOL, struct.pack("16sP16x", interface, address))
        except OSError:
            return False
        return value[1] == 1
