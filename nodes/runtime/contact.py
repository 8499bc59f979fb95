"""Contact with ground stations: from a carrier, from a route, or as announced by the run."""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import time

from paho.mqtt.client import Client, MQTTMessage

from nodes.clocks.timescale import Speed, real_speed
from nodes.contract import topics
from nodes.contract.messages import read_contacts

# linux/sockios.h, linux/ethtool.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCETHTOOL = 0x8946
ETHTOOL_GLINK = 0x0000000A
IFF_UP = 0x1

POLL_S = 0.05
POLL_AT_LEAST_S = 0.005


def poll_s(speed: float) -> float:
    """Return the seconds between two looks at a contact: POLL_S of scenario time, but no busy loop."""
    return min(POLL_S, max(POLL_AT_LEAST_S, POLL_S / speed))


class RouteWatch:
    """Whether the kernel has a route to an address, in the network namespace of the calling process.

    Args:
        host: IPv4 address.
        speed: returns how fast scenario time runs.
    """

    def __init__(self, host: str, speed: Speed = real_speed) -> None:
        self._host = host
        self._speed = speed
        self._asked_s = -1.0
        self._up = False

    def up(self) -> bool:
        """Return whether there is a route now, or was at most `poll_s` ago."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= poll_s(self._speed()):
            self._asked_s = now_s
            self._up = self._ask()
        return self._up

    def look(self) -> bool:
        """Return whether there is a route at this moment; from any thread."""
        return self._ask()

    def _ask(self) -> bool:
        # To connect a datagram socket sends nothing; the kernel looks the route up.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((self._host, 9))
            except OSError:
                return False
        return True


class CarrierWatch:
    """Carrier of one interface, in the network namespace of the calling process.

    It reads ETHTOOL_GLINK, not IFF_RUNNING: the latter follows the carrier only when the kernel's link watch
    runs, on a real NIC up to a second late, and reading GLINK makes it catch up. A missing interface counts
    as no contact: it may be plugged in later.

    Args:
        interface: its name; None means that there is always contact.
        speed: returns how fast scenario time runs.
    """

    def __init__(self, interface: str | None, speed: Speed = real_speed) -> None:
        self._interface = interface
        self._speed = speed
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._asked_s = -1.0
        self._up = False

    def up(self) -> bool:
        """Return whether there is carrier now, or was at most `poll_s` ago."""
        if self._interface is None:
            return True
        now_s = time.monotonic()
        if now_s - self._asked_s >= poll_s(self._speed()):
            self._asked_s = now_s
            self._up = self._ask(self._interface.encode())
        return self._up

    def look(self) -> bool:
        """Return whether there is carrier at this moment; from any thread."""
        return self._interface is None or self._ask(self._interface.encode())

    def close(self) -> None:
        """Close the socket."""
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


class ToldContacts:
    """Contacts as announced by the run, for a board whose own interface keeps its carrier when they end.

    Retained, from the run alone (nodes/contract/topics.py, contact).
    The last announcement holds while the management broker is unreachable.

    Args:
        client: of the management plane.
        slug: this node's name in topics.
    """

    def __init__(self, client: Client, slug: str) -> None:
        self._client = client
        self._topic = topics.contact(slug)
        self._up: dict[str, bool] = {}
        self._asked = False

    def watch(self, station: str) -> ToldContact:
        """Return the contact with one station; to be called before the management plane is opened."""
        if not self._asked:
            self._client.message_callback_add(self._topic, self._on_message)
            self._asked = True
        return ToldContact(self, station)

    def connected(self) -> None:
        """Subscribe; to be called after each connection."""
        if self._asked:
            self._client.subscribe(self._topic, qos=1)

    def up(self, station: str) -> bool:
        """Return whether there is contact with a station; False before the first announcement."""
        return self._up.get(station, False)

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        with contextlib.suppress(ValueError):  # only the run may write there; its next message will be whole
            self._up = read_contacts(message.payload)


class ToldContact:
    """Announced contact with one station; see `ToldContacts`."""

    def __init__(self, contacts: ToldContacts, station: str) -> None:
        self._contacts = contacts
        self._station = station

    def up(self) -> bool:
        """Return whether there is contact now."""
        return self._contacts.up(self._station)

    def look(self) -> bool:
        """Return the same."""
        return self.up()
