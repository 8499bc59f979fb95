"""TCP connections over a link that has just come up."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from nodes.contract.config import Station
from nodes.contract.events import ConnectionRefused
from nodes.contract.report import Report
from nodes.runtime.mqtt import tls_context

CADENCE_S = 0.25
FIRST_CADENCE_S = 0.05  # while the link is new, since its first packets are often lost
FRESH_S = 0.25
CADENCE_AT_LEAST_S = 0.01  # where scenario time runs faster, of which the three above are seconds
GIVE_UP_S = 5.0
TELL_AFTER_S = 10.0  # of contact without a connection
USER_TIMEOUT_MS = 5000
NO_LINGER = struct.pack("ii", 1, 0)


class Attempt:
    """One attempt to open a set of connections to a station: TCP, then TLS if the station uses it.

    Args:
        station: station to connect to.
        count: number of connections.
        context: TLS context; None for plain TCP.
        now_s: CLOCK_MONOTONIC.

    Raises:
        OSError: no packet can be sent, or the name does not resolve, at the moment.
    """

    def __init__(self, station: Station, count: int, context: ssl.SSLContext | None, now_s: float) -> None:
        self.station = station
        self.started_s = now_s
        self.rtt_s: float | None = None
        self._context = context
        self._connecting: list[socket.socket] = []
        self._shaking: list[ssl.SSLSocket] = []
        self._ready: list[socket.socket] = []
        family, address = _resolve(station)
        try:
            for _ in range(count):
                self._start(family, address)
        except OSError:
            self.close()
            raise

    def waits(self) -> tuple[list[socket.socket], list[socket.socket]]:
        """Sockets to wait for: (until readable, until writable)."""
        return list(self._shaking), list(self._connecting)

    def advance(self, now_s: float) -> list[socket.socket] | None:
        """Return the sockets once all are connected, and None before.

        Raises:
            OSError: a connection failed.
        """
        for connection in list(self._connecting):
            if _is_connected(connection):
                if self.rtt_s is None:
                    self.rtt_s = now_s - self.started_s
                self._connecting.remove(connection)
                self._secure(connection)
        for shaking in list(self._shaking):
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                shaking.do_handshake()
                self._shaking.remove(shaking)
                self._ready.append(shaking)
        if self._connecting or self._shaking:
            if now_s - self.started_s > GIVE_UP_S:
                raise TimeoutError(errno.ETIMEDOUT, "no connection")
            return None
        return self._ready

    def close(self) -> None:
        """Close all connections of this attempt."""
        for connection in [*self._connecting, *self._shaking, *self._ready]:
            close_at_once(connection)

    def _start(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        connection = socket.socket(family, socket.SOCK_STREAM)
        self._connecting.append(connection)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        result = connection.connect_ex(address)
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, "cannot connect")

    def _secure(self, connection: socket.socket) -> None:
        if self._context is None:
            self._ready.append(connection)
            return
        self._shaking.append(
            self._context.wrap_socket(
                connection, server_hostname=self.station.host, do_handshake_on_connect=False
            )
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """Open connections, and the duration of the TCP handshake: one round trip."""

    station: Station
    sockets: list[socket.socket]
    rtt_s: float


@dataclass
class _Schedule:
    """Time of the next attempt to reach a station, and how the attempts went since the contact began."""

    begun_s: float
    next_s: float = 0.0
    problem: str = "no reply"
    told: bool = False


@dataclass
class RacingConnector:
    """Starts an attempt every 0.05 s, later every 0.25 s; the first attempt that succeeds wins.

    Older attempts continue meanwhile. A single attempt is not enough: its first packet may be lost while the
    link is still coming up, and the kernel repeats it only after 1 s, 3 s, 7 s... Abandoning an attempt after
    CADENCE_S would not work either: on a long path the reply takes longer.

    Args:
        stations: all configured stations, in order of preference.
        count: number of connections in a set.
        report: receives connection_refused when a station cannot prove its identity, or is not reached for
            TELL_AFTER_S.
        speed: how fast scenario time runs.

    Raises:
        OSError: a station's `ca_file` cannot be used.
    """

    stations: Sequence[Station]
    count: int
    report: Report
    speed: float = 1.0
    _attempts: list[Attempt] = field(default_factory=list, init=False)
    _schedules: dict[str, _Schedule] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._contexts = {s.name: tls_context(s.ca_file) if s.ca_file else None for s in self.stations}
        self._refusals: dict[str, str] = {}

    def waits(self) -> tuple[list[socket.socket], list[socket.socket]]:
        """Sockets to wait for: (until readable, until writable)."""
        waits = [attempt.waits() for attempt in self._attempts]
        return [s for reading, _ in waits for s in reading], [s for _, writing in waits for s in writing]

    def wait_s(self) -> float:
        """Seconds until the next attempt is due."""
        due_s = min((schedule.next_s for schedule in self._schedules.values()), default=0.0)
        return max(0.0, due_s - time.monotonic())

    def advance(self, reachable: Sequence[Station]) -> Opened | None:
        """Start the attempts that are due, and return the connections of the first that has succeeded."""
        now_s = time.monotonic()
        self._forget_all_but(reachable)
        for station in reachable:
            schedule = self._schedules.setdefault(station.name, _Schedule(now_s))
            if now_s >= schedule.next_s:
                fresh = now_s < schedule.begun_s + FRESH_S / self.speed
                cadence_s = FIRST_CADENCE_S if fresh else CADENCE_S
                schedule.next_s = now_s + max(cadence_s / self.speed, min(cadence_s, CADENCE_AT_LEAST_S))
                try:
                    context = self._contexts[station.name]
                    self._attempts.append(Attempt(station, self.count, context, now_s))
                except OSError as error:
                    self._note(station, error)
            if now_s >= schedule.begun_s + TELL_AFTER_S and not schedule.told:
                schedule.told = True
                reason = f"no connection within {TELL_AFTER_S:g} s of contact: {schedule.problem}"
                self.report(ConnectionRefused(station=station.name, reason=reason))
        for attempt in list(self._attempts):
            sockets = self._outcome(attempt, now_s)
            if sockets is not None:
                self._attempts.remove(attempt)
                self.abandon()
                self._refusals.pop(attempt.station.name, None)
                return Opened(attempt.station, sockets, attempt.rtt_s or 0.0)
        return None

    def abandon(self) -> None:
        """Close all attempts; the next `advance` starts anew."""
        self._forget_all_but([])

    def _forget_all_but(self, reachable: Sequence[Station]) -> None:
        names = {station.name for station in reachable}
        for attempt in [a for a in self._attempts if a.station.name not in names]:
            attempt.close()
            self._attempts.remove(attempt)
        for name in self._schedules.keys() - names:
            del self._schedules[name]

    def _outcome(self, attempt: Attempt, now_s: float) -> list[socket.socket] | None:
        try:
            return attempt.advance(now_s)
        except OSError as error:
            attempt.close()
            self._attempts.remove(attempt)
            if isinstance(error, ssl.SSLError):
                self._refuse(attempt.station, f"TLS: {error.reason or error}")
            else:
                self._note(attempt.station, error)
        return None

    def _note(self, station: Station, error: OSError) -> None:
        schedule = self._schedules.get(station.name)
        if schedule is not None and error.errno is not None:
            schedule.problem = os.strerror(error.errno) if error.errno > 0 else str(error.strerror or error)

    def _refuse(self, station: Station, reason: str) -> None:
        """Report a refusal, once per reason and not at every attempt."""
        if self._refusals.get(station.name) != reason:
            self._refusals[station.name] = reason
            self.report(ConnectionRefused(station=station.name, reason=reason))


def close_at_once(connection: socket.socket) -> None:
    """Close a connection and discard its unsent data, which must not take time of the next contact."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    connection.close()


def _is_connected(connection: socket.socket) -> bool:
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, "cannot connect")
    try:
        connection.getpeername()
    except OSError:  # not yet
        return False
    return True


def _resolve(station: Station) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return (address family, address) of a station; a literal address needs no name resolution."""
    with contextlib.suppress(ValueError):
        version = ipaddress.ip_address(station.host).version
        return (socket.AF_INET6 if version == 6 else socket.AF_INET), (station.host, station.port)
    candidates = socket.getaddrinfo(station.host, station.port, type=socket.SOCK_STREAM)
    family, _, _, _, address = candidates[0]
    return family, (str(address[0]), int(address[1]))
