"""Detects other traffic than the probes' on a link, from the hosts' byte counters.

A probe that meets other traffic measures a queue, not the link. The bytes that each host has sent are read
every 50 ms, and the probes' own bytes are subtracted.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from testbed.measure.fidelity import records
from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.network.player import QUEUE_BYTES, QUEUE_S
from traces.trace import Trace

EVERY_S = 0.05
_PROBE_BYTES = 4 * RTT_FRAME_BYTES  # RTT probes and echoes of one period, with room for a late reading
_LONGEST_S = 5.0

Interval = tuple[float, float]


class Counted(NamedTuple):
    """What one host's interface has counted so far."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int


class Reading(NamedTuple):
    """The counters of both hosts at a moment of CLOCK_MONOTONIC."""

    monotonic_s: float
    satellite: Counted
    ground: Counted


class TrafficMonitor:
    """Context manager that reads the counters of two hosts in a thread of its own.

    Args:
        satellite_pid, ground_pid: a process in each host.
        interface: the name of the link's interface in both.
    """

    def __init__(self, satellite_pid: int, ground_pid: int, interface: str) -> None:
        self.readings: list[Reading] = []
        self._paths = [Path(f"/proc/{pid}/net/dev") for pid in (satellite_pid, ground_pid)]
        self._interface = interface
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> TrafficMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            with suppress(OSError, ValueError, IndexError):  # a host that is being taken away
                satellite, ground = (self._counted(path) for path in self._paths)
                self.readings.append(Reading(time.monotonic(), satellite, ground))
            next_s += EVERY_S

    def _counted(self, path: Path) -> Counted:
        line = next(
            one for one in path.read_text().splitlines() if one.strip().startswith(f"{self._interface}:")
        )
        fields = line.split(":", 1)[1].split()
        return Counted(*(int(fields[n]) for n in (0, 1, 8, 9)))


def busy_intervals(
    readings: Sequence[Reading], trace: Trace, start_monotonic_s: float, logs: tuple[Path, Path]
) -> list[Interval]:
    """Return when other traffic was on the link, in scenario seconds.

    Args:
        readings: of the monitor.
        trace: what was played.
        start_monotonic_s: scenario second 0.
        logs: of the satellite's probe and of the ground's, which hold the trains that each received.
    """
    trains = [_sent_trains(log, start_monotonic_s) for log in logs]
    found: list[Interval] = []
    for before, after in pairwise(readings):
        begin_s, end_s = before.monotonic_s - start_monotonic_s, after.monotonic_s - start_monotonic_s
        for sent, own in (
            (after.satellite.sent_bytes - before.satellite.sent_bytes, trains[1]),
            (after.ground.sent_bytes - before.ground.sent_bytes, trains[0]),
        ):
            expected = sum(size for moment, size in own if begin_s - EVERY_S < moment < end_s + EVERY_S)
            if sent > _PROBE_BYTES + expected:
                end_s = max(end_s, after.monotonic_s - start_monotonic_s + _drain_s(trace, end_s))
                found.append((begin_s, end_s))
    return found


def _sent_trains(log: Path, start_monotonic_s: float) -> list[tuple[float, int]]:
    """Return when each train that arrived was sent, and its bytes."""
    sent = []
    for record in records(log, "train"):
        sent_s = record["monotonic_s"] - record["there_s"] - start_monotonic_s
        sent.append((sent_s, record["packets"] * record["frame_bytes"]))
    return sent


def _drain_s(trace: Trace, time_s: float) -> float:
    """Return how long what was queued at `time_s` may take to come through."""
    row = trace.row_at(min(max(time_s, 0.0), math.nextafter(trace.end_s, 0)))
    ways = ((row.down_bit_s, row.downlink_up), (row.up_bit_s, row.uplink_up))
    rate_bit_s = min((rate_bit_s for rate_bit_s, up in ways if up), default=0.0)
    if not rate_bit_s:
        return QUEUE_S
    queue_s = max(QUEUE_S, QUEUE_BYTES * 8 / rate_bit_s)
    return min(_LONGEST_S, queue_s + row.down_delay_s + row.up_delay_s)
