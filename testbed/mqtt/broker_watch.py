"""Restarts a broker that died during a run, and counts the clients and messages that it refused."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from nodes.contract.events import BrokerRefused, BrokerRestarted
from nodes.contract.report import Report
from testbed.mqtt.broker import Broker, BrokerError

BACKOFF_S = 0.1  # doubles with each restart in a row
STABLE_S = 10.0  # a restart after such a long life starts a new row
RESTARTS_IN_A_ROW = 6
TELL_EVERY_S = 1.0
BLOCK_BYTES = 1 << 20
LOG_MAX_BYTES = 64 << 20

# Log lines of mosquitto 2.0 and 2.1; the sender is a client id, if it is known.
REFUSALS = (
    ("publication", re.compile(r"Denied PUBLISH from (?P<sender>.*?) \(d\d, .*?, '(?P<what>[^']*)'")),
    ("login", re.compile(r"Client (?P<sender>.*?)(?: \[.*\])? disconnected, not authorised")),
    ("packet", re.compile(r"Client (?P<sender>.*?)(?: \[.*\])? disconnected due to (?P<what>[^.]*)")),
)
# These reasons mean that the link of a connected client was lost: no refusal.
NO_REFUSALS = ("timeout", "exceeded timeout", "administrative action")


@dataclass(frozen=True)
class BrokerRecord:
    """Restarts of one broker during a run, and its refusals by kind."""

    broker: str
    restarts: int
    refusals: Mapping[str, int]

    def warning(self) -> str | None:
        """Return a warning in one line; None if nothing happened."""
        parts = [f"restarted {self.restarts} times"] if self.restarts else []
        if self.refusals:
            parts.append("refused " + ", ".join(f"{kind} {n} times" for kind, n in self.refusals.items()))
        return f"broker {self.broker}: {'; '.join(parts)}" if parts else None


class BrokerWatch:
    """Restarts one broker when it has died, and reads its log as it grows.

    Args:
        broker: The broker, already started.
        report: Receives `BrokerRestarted` and `BrokerRefused`.

    Attributes:
        restarts: Number of restarts.
        refusals: Number of refusals by kind.
    """

    def __init__(self, broker: Broker, report: Report) -> None:
        self._broker = broker
        self._report = report
        self._in_a_row = 0
        self._ending = ""
        self._started_s = time.monotonic()
        self._next_s: float | None = None
        self._read_bytes = 0
        self._line = b""
        self._told: Counter[str] = Counter()
        self._latest: dict[str, tuple[str, str | None]] = {}
        self._told_s = float("-inf")
        self.restarts = 0
        self.refusals: Counter[str] = Counter()

    def look(self, *, last: bool = False) -> None:
        """Restart the broker if it died, and report new refusals; to be called often.

        Args:
            last: Whether this is the last call: report everything and restart nothing.

        Raises:
            BrokerError: it died too often in a row, or does not start any more.
        """
        self._read_log()
        if last or time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._tell()
        if last:
            return
        if self._broker.running and not self._broker.reachable:  # somebody removed its socket
            self._broker.stop()
        if not self._broker.running:
            self._revive()

    def to_record(self) -> BrokerRecord:
        """Return restarts and refusals for the results."""
        return BrokerRecord(self._broker.name, self.restarts, dict(self.refusals))

    def _revive(self) -> None:
        now_s = time.monotonic()
        self._ending = self._broker.ending() or self._ending
        if self._next_s is None:
            if now_s - self._started_s > STABLE_S:
                self._in_a_row = 0
            if self._in_a_row >= RESTARTS_IN_A_ROW:
                raise self._lost()
            self._next_s = now_s + BACKOFF_S * (2**self._in_a_row - 1)
        if now_s < self._next_s:
            return
        self._in_a_row += 1
        try:
            self._broker.start()
        except BrokerError as error:
            if self._in_a_row >= RESTARTS_IN_A_ROW:
                raise self._lost() from error
            self._next_s = now_s + BACKOFF_S * 2**self._in_a_row
            return
        self._next_s = None
        self._started_s = time.monotonic()
        self.restarts += 1
        self._report(BrokerRestarted(broker=self._broker.name, restarts=self.restarts))

    def _lost(self) -> BrokerError:
        return BrokerError(
            f"broker {self._broker.name} died and could not be kept alive by {self._in_a_row} restarts: "
            f"{self._ending}{self._broker.log_tail()} (log: {self._broker.log_path})"
        )

    def _read_log(self) -> None:
        with suppress(OSError), self._broker.log_path.open("rb") as log:  # refusals are then not counted
            log.seek(self._read_bytes)
            while block := log.read(BLOCK_BYTES):
                self._read_bytes += len(block)
                *lines, self._line = (self._line + block).split(b"\n")
                for line in lines:
                    self._count(line.decode(errors="replace"))
            if self._read_bytes > LOG_MAX_BYTES:
                self._broker.cut_log()
                self._read_bytes, self._line = 0, b""

    def _count(self, line: str) -> None:
        for kind, pattern in REFUSALS:
            if found := pattern.search(line):
                if not found.groupdict().get("what", "").startswith(NO_REFUSALS):
                    self._refused(kind, found)
                return

    def _refused(self, kind: str, found: re.Match[str]) -> None:
        self.refusals[kind] += 1
        sender, what = found["sender"], found.groupdict().get("what")
        self._latest[kind] = sender[:100], None if what is None else what[:100]

    def _tell(self) -> None:
        for kind, count in self.refusals.items():
            if count > self._told[kind]:
                self._told[kind] = count
                self._told_s = time.monotonic()
                sender, what = self._latest[kind]
                self._report(
                    BrokerRefused(broker=self._broker.name, kind=kind, count=count, sender=sender, what=what)
                )
