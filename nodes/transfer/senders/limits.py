"""Limits on what one satellite may send to a ground station, far above what a satellite's program sends."""

from __future__ import annotations

from dataclasses import dataclass, field

PAYLOAD_MAX_BYTES = 512 * 1024  # twice the largest chunk
SMALL_BYTES = 64 * 1024
SMALL_PER_S = 1000.0  # payloads below SMALL_BYTES; larger ones are bounded by the link
SMALL_AT_ONCE = 2000.0
NEW_ITEMS_PER_S = 200.0
NEW_ITEMS_AT_ONCE = 1000.0
HEARTBEATS_PER_S = 20.0
HEARTBEATS_AT_ONCE = 40.0
WAITS_PER_S = 100.0  # replies that an item must wait; without a reply it is offered again, too
WAITS_AT_ONCE = 200.0
TROUBLES_PER_S = 5.0  # events about items that cannot be stored or are refused
TROUBLES_AT_ONCE = 50.0
SENDERS_MAX = 256  # a broker without accounts takes any number of names; the rest share one allowance
OTHERS = "others"


@dataclass
class Allowance:
    """A token bucket: `at_once` at most, refilled with `per_s`."""

    per_s: float
    at_once: float
    _left: float = field(init=False)
    _at_s: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._left = self.at_once

    def take(self, now_s: float) -> bool:
        """Return whether one more is allowed now, and count it (CLOCK_MONOTONIC)."""
        if now_s > self._at_s:
            self._left = min(self.at_once, self._left + (now_s - self._at_s) * self.per_s)
            self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@dataclass
class SenderLimits:
    """What one satellite may still send."""

    new_items: Allowance = field(default_factory=lambda: Allowance(NEW_ITEMS_PER_S, NEW_ITEMS_AT_ONCE))
    heartbeats: Allowance = field(default_factory=lambda: Allowance(HEARTBEATS_PER_S, HEARTBEATS_AT_ONCE))
    waits: Allowance = field(default_factory=lambda: Allowance(WAITS_PER_S, WAITS_AT_ONCE))
    troubles: Allowance = field(default_factory=lambda: Allowance(TROUBLES_PER_S, TROUBLES_AT_ONCE))


class Limits:
    """The limits of each satellite."""

    def __init__(self) -> None:
        self._senders: dict[str, SenderLimits] = {}

    def of(self, sender: str) -> SenderLimits:
        """Return the limits of one satellite."""
        if sender not in self._senders and len(self._senders) >= SENDERS_MAX:
            sender = OTHERS
        return self._senders.setdefault(sender, SenderLimits())
