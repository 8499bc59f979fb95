"""Counters of refused payloads, which limit the rate of the events about them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nodes.contract.events import Malformed
from nodes.contract.report import Report

TELL_EVERY_S = 1.0
SENDERS_MAX = 32
OTHERS = "others"


@dataclass
class _Tally:
    count: int = 0
    told: int = 0
    told_s: float = float("-inf")
    reason: str = ""


class Refusals:
    """Reports the first refusal of a sender at once, then at most one event per second with the count.

    Args:
        report: receives malformed: sender, the latest reason, count since the start.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tallies: dict[str, _Tally] = {}

    @property
    def count(self) -> int:
        """Number of refused payloads from all senders."""
        return sum(tally.count for tally in self._tallies.values())

    def add(self, sender: str, reason: str, count: int = 1) -> None:
        """Count refused payloads of one sender."""
        if sender not in self._tallies and len(self._tallies) >= SENDERS_MAX:
            sender = OTHERS  # an attacker can use any number of names
        tally = self._tallies.setdefault(sender, _Tally())
        tally.count += count
        tally.reason = reason
        self._tell(sender, tally)

    def tell(self) -> None:
        """Report new counts; call it periodically."""
        for sender, tally in self._tallies.items():
            if tally.count > tally.told:
                self._tell(sender, tally)

    def _tell(self, sender: str, tally: _Tally) -> None:
        now_s = time.monotonic()
        if now_s - tally.told_s >= TELL_EVERY_S:
            tally.told, tally.told_s = tally.count, now_s
            self._report(Malformed(sender=sender, reason=tally.reason, count=tally.count))
