"""Payloads that wait for the disk: a queue for each sender, served in turns by the time that each costs."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from nodes.transfer.senders.limits import (
    OTHERS,
    PAYLOAD_MAX_BYTES,
    SENDERS_MAX,
    SMALL_AT_ONCE,
    SMALL_BYTES,
    SMALL_PER_S,
    Allowance,
)

EXPRESS, BULK = 0, 1
PACKET_MAX_BYTES = PAYLOAD_MAX_BYTES + 1024  # with MQTT's header and the topic
WAITING_MAX = 512  # payloads of one sender and urgency
WAITING_MAX_BYTES = 64 << 20  # of the same: more than a satellite has under way at 1 Gbit/s
CROWDED_BYTES = 128 << 20  # of all senders; beyond, each may have CROWDED_SHARE_BYTES
CROWDED_SHARE_BYTES = 4 << 20


class Arrival(NamedTuple):
    """A received payload."""

    urgency: int
    at_s: float
    sender: str
    payload: bytes


@dataclass
class _Line:
    """The payloads of one sender."""

    waiting: tuple[deque[Arrival], deque[Arrival]] = field(default_factory=lambda: (deque(), deque()))
    size_bytes: list[int] = field(default_factory=lambda: [0, 0])
    served_s: float = 0.0
    small: tuple[Allowance, Allowance] = field(
        default_factory=lambda: (Allowance(SMALL_PER_S, SMALL_AT_ONCE), Allowance(SMALL_PER_S, SMALL_AT_ONCE))
    )


class Turns:
    """Queues of all senders; network threads put payloads in, one thread takes them out.

    A payload for which its sender's queue has no room is refused, and the satellite sends it again. Waiting
    for room would slow down all satellites, since they share the connection to the broker. A satellite's
    program limits the bytes under way, and does not fill its queue.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._changed = threading.Condition()
        self._waiting_bytes = 0
        self._refused: Counter[tuple[str, str]] = Counter()

    def admits(self, sender: str, urgency: int, size_bytes: int) -> bool:
        """Return whether a payload would be queued, and count it as refused if not."""
        reason = self._objection(sender, urgency, size_bytes)
        if reason is not None:
            with self._changed:
                self._refused[self._name(sender), reason] += 1
        return reason is None

    def put(self, arrival: Arrival) -> None:
        """Queue a payload that was admitted."""
        with self._changed:
            line = self._line(arrival.sender)
            if not any(line.waiting):
                active = [other.served_s for other in self._lines.values() if any(other.waiting)]
                line.served_s = max(line.served_s, min(active, default=line.served_s))
            line.waiting[arrival.urgency].append(arrival)
            line.size_bytes[arrival.urgency] += len(arrival.payload)
            self._waiting_bytes += len(arrival.payload)
            self._changed.notify()

    def get(self, timeout_s: float) -> Arrival | None:
        """Return the next payload: of the sender that cost the least time so far, urgent ones first."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._ready()), timeout_s):
                return None
            line = min(self._ready(), key=lambda line: line.served_s)
            urgency = EXPRESS if line.waiting[EXPRESS] else BULK
            arrival = line.waiting[urgency].popleft()
            line.size_bytes[urgency] -= len(arrival.payload)
            self._waiting_bytes -= len(arrival.payload)
            return arrival

    def spent(self, sender: str, time_s: float) -> None:
        """Note the time that a payload of a sender has cost."""
        with self._changed:
            self._line(sender).served_s += time_s

    def take_refused(self) -> dict[tuple[str, str], int]:
        """Return the number of refused payloads by (sender, reason) since the last call."""
        with self._changed:
            refused, self._refused = self._refused, Counter()
        return refused

    def _ready(self) -> list[_Line]:
        return [line for line in self._lines.values() if any(line.waiting)]

    def _objection(self, sender: str, urgency: int, size_bytes: int) -> str | None:
        if size_bytes > PACKET_MAX_BYTES:
            return f"payload of more than {PAYLOAD_MAX_BYTES} bytes"
        line = self._line(sender)
        if size_bytes < SMALL_BYTES and not line.small[urgency].take(time.monotonic()):
            return f"more than {SMALL_PER_S:g} payloads a second"
        most_bytes = CROWDED_SHARE_BYTES if self._waiting_bytes > CROWDED_BYTES else WAITING_MAX_BYTES
        waiting, waiting_bytes = len(line.waiting[urgency]), line.size_bytes[urgency]
        if waiting and (waiting >= WAITING_MAX or waiting_bytes + size_bytes > most_bytes):
            return "sends faster than the ground stores"
        return None

    def _name(self, sender: str) -> str:
        return sender if sender in self._lines or len(self._lines) < SENDERS_MAX else OTHERS

    def _line(self, sender: str) -> _Line:
        return self._lines.setdefault(self._name(sender), _Line())
