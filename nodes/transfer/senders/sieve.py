"""An MQTT client that discards the publications of a flooding sender before it parses them.

All satellites share a station's connection to its broker, and a broker that cannot pass on messages of QoS 0
as fast as they come discards those of everybody. paho handles some ten thousand messages a second; the scan
below discards ten times as many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

READ_BYTES = 256 * 1024
PUBLISH = 3
Admits = Callable[[bytes, int], bool]


class _Socket(Protocol):
    def recv(self, size: int, /) -> bytes: ...
    def fileno(self) -> int: ...


class SievedSocket:
    """A connected socket whose `recv` leaves out publications that are not admitted.

    Args:
        opened: the connected socket; all but `recv` and `pending` is its own.
        admits: called with topic and packet size of each publication; returns whether to keep it.
    """

    def __init__(self, opened: _Socket, admits: Admits) -> None:
        self._socket = opened
        self._admits = admits
        self._unread = bytearray()
        self._passed = bytearray()
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def fileno(self) -> int:
        """Return the descriptor, for select()."""
        return self._socket.fileno()

    def pending(self) -> int:
        """Return the number of bytes that `recv` returns without a system call."""
        below = getattr(self._socket, "pending", None)
        return len(self._passed) + (below() if below is not None else 0)

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes.

        Raises:
            BlockingIOError: none are there now.
            OSError: as the socket's `recv`.
        """
        if not self._passed and not self._ended:
            self._fill()
        data = bytes(self._passed[:size])
        del self._passed[:size]
        if not data and not self._ended:
            raise BlockingIOError
        return data

    def _fill(self) -> None:
        """Read once, and pass on the whole packets that are kept."""
        data = self._socket.recv(READ_BYTES)
        self._ended = not data
        unread = self._unread
        unread += data
        position = kept_from = 0
        while (found := _packet(unread, position)) is not None:
            body, end = found
            if unread[position] >> 4 == PUBLISH and not self._admits(_topic(unread, body), end - position):
                self._passed += unread[kept_from:position]
                kept_from = end
            position = end
        self._passed += unread[kept_from:position]
        del unread[:position]


def _packet(data: bytearray, position: int) -> tuple[int, int] | None:
    """Return (begin of the body, end) of the packet at a position; None if it is not whole."""
    length, shift = 0, 0
    for body in range(position + 1, min(position + 5, len(data))):
        byte = data[body]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            end = body + 1 + length
            return (body + 1, end) if end <= len(data) else None
    return None


def _topic(data: bytearray, body: int) -> bytes:
    return bytes(data[body + 2 : body + 2 + (data[body] << 8 | data[body + 1])])


class SievingClient(Client):
    """A paho client that reads through a `SievedSocket` once `admits` is set."""

    admits: Admits | None = None

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle the packets that have been read, without a system call for each."""
        outcome = super().loop_read(max_packets)
        while outcome == MQTTErrorCode.MQTT_ERR_SUCCESS and self._has_packets():
            outcome = super().loop_read(max_packets)
        return outcome

    def _has_packets(self) -> bool:
        return isinstance(self._sock, SievedSocket) and bool(self._sock._passed)

    def _create_socket(self) -> Any:
        opened = super()._create_socket()
        return opened if self.admits is None else SievedSocket(opened, self.admits)
