"""Opening a TCP connection over a link that has only just come up."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from dataclasses import dataclass

from nodes.config import Station

CADENCE_S = 0.25
FIRST_CADENCE_S = 0.05  # while the link is fresh: its first packets may well be lost
FRESH_S = 0.25
GIVE_UP_S = 5.0
USER_TIMEOUT_MS = 5000
NO_LINGER = struct.pack("ii", 1, 0)
TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; Python has no name for it before 3.12


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection in the making."""

    station: Station
    socket: socket.socket
    started_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that was made, and how long its handshake took: one round trip."""

    station: Station
    socket: socket.socket
    rtt_s: float


class RacingConnector:
    """Starts an attempt every 0.05 s, later 0.25 s, while older ones may still succeed; the first one wins.

    A single attempt would not do: its first packet may have gone while the link was still coming up, and
    the kernel repeats it only after 1 s, 3 s, 7 s... Giving up after CADENCE_S would not do either: on a
    long path the answer takes longer than that.

    Args:
        stations: tried in this order, all at each turn.
        unsent_bytes: how much the kernel may hold that it has not sent (TCP_NOTSENT_LOWAT); what sits there
            can no longer be overtaken by something more urgent.
    """

    def __init__(self, stations: list[Station], unsent_bytes: int) -> None:
        self._stations = stations
        self._unsent_bytes = unsent_bytes
        self._attempts: list[Attempt] = []
        self._next_s = 0.0
        self._fresh_until_s: float | None = None

    def sockets(self) -> list[socket.socket]:
        """Sockets to wait for: they become writable when an attempt has ended."""
        return [attempt.socket for attempt in self._attempts]

    def wait_s(self) -> float:
        """Seconds until the next attempt is due."""
        return max(0.0, self._next_s - time.monotonic())

    def advance(self) -> Opened | None:
        """Start what is due, see what has ended; the connection once there is one."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            if self._fresh_until_s is None:
                self._fresh_until_s = now_s + FRESH_S
            self._next_s = now_s + (FIRST_CADENCE_S if now_s < self._fresh_until_s else CADENCE_S)
            for station in self._stations:
                self._start(station, now_s)
        for attempt in list(self._attempts):
            if self._succeeded(attempt, now_s):
                self._attempts.remove(attempt)
                self.abandon()
                return Opened(attempt.station, attempt.socket, now_s - attempt.started_s)
        return None

    def abandon(self) -> None:
        """Close all attempts; the next `advance` starts afresh."""
        for attempt in self._attempts:
            close_at_once(attempt.socket)
        self._attempts.clear()
        self._next_s = 0.0
        self._fresh_until_s = None

    def _start(self, station: Station, now_s: float) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, self._unsent_bytes)
        try:
            result = connection.connect_ex((station.host, station.port))
        except OSError:  # a name that does not resolve, now
            result = errno.EHOSTUNREACH
        if result in (0, errno.EINPROGRESS):
            self._attempts.append(Attempt(station, connection, now_s))
        else:
            connection.close()

    def _succeeded(self, attempt: Attempt, now_s: float) -> bool:
        error = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error == 0:
            try:
                attempt.socket.getpeername()
                return True
            except OSError:  # not connected yet
                if now_s - attempt.started_s < GIVE_UP_S:
                    return False
        close_at_once(attempt.socket)
        self._attempts.remove(attempt)
        return False


def close_at_once(connection: socket.socket) -> None:
    """Close and forget what was not sent: it must not use up the next contact."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    connection.close()
