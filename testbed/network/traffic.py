"""Detects other traffic than the probes' on a link, from the hosts' byte counters.

A probe that meets other traffic measures a queue, not the link. The bytes that each host has sent are read
every 50 ms, and the probes' own bytes are subtracted.
"""

from __future__ import annotations

import threading
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from testbed.measure.fidelity import records
from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.network.player import QUEUE_BYTES, QUEUE_S
from traces.trace import Trace

EVERY_S = 0.05
_PROBE_BYTES = 4 * RTT_FRAME_BYTES  # RTT probes and echoes of one period, with room for a late reading
_LONGEST_S = 5.0

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


class Readings(NamedTuple):
    """The counters of both hosts over time; float64[n] each, bytes so far.

    Attributes:
        monotonic_s: when they were read, CLOCK_MONOTONIC.
    """

    monotonic_s: Floats
    satellite_received: Floats
    satellite_sent: Floats
    ground_received: Floats
    ground_sent: Floats


class TrafficMonitor:
    """Context manager that reads the counters of two hosts in a thread of its own.

    Args:
        satellite_pid, ground_pid: a process in each host.
        interface: the name of the link's interface in both.
    """

    def __init__(self, satellite_pid: int, ground_pid: int, interface: str) -> None:
        self._readings = array("d")  # a day of them has to fit
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

    @property
    def readings(self) -> Readings:
        """What was read so far."""
        return Readings(*np.array(self._readings).reshape(-1, len(Readings._fields)).T)

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            with suppress(OSError, ValueError, IndexError):  # a host that is being taken away
                counted = [count for path in self._paths for count in self._counted(path)]
                self._readings.extend([time.monotonic(), *counted])
            next_s += EVERY_S

    def _counted(self, path: Path) -> tuple[int, int]:
        """Return the bytes that a host has received and sent."""
        line = next(
            one for one in path.read_text().splitlines() if one.strip().startswith(f"{self._interface}:")
        )
        fields = line.split(":", 1)[1].split()
        return int(fields[0]), int(fields[8])


def busy_intervals(
    readings: Readings, trace: Trace, start_monotonic_s: float, logs: tuple[Path, Path]
) -> list[Interval]:
    """Return when other traffic was on the link, in scenario seconds.

    Args:
        readings: of the monitor.
        trace: what was played.
        start_monotonic_s: scenario second 0.
        logs: of the satellite's probe and of the ground's, which hold the trains that each received.
    """
    begins_s, ends_s = (times_s - start_monotonic_s for times_s in pairs(readings.monotonic_s))
    found: list[Interval] = []
    for counted, log in zip((readings.satellite_sent, readings.ground_sent), logs[::-1], strict=True):
        moments_s, sent_bytes = _sent_trains(log, start_monotonic_s)
        before, after = pairs(counted)
        first = np.searchsorted(moments_s, begins_s - EVERY_S, side="right")
        last = np.searchsorted(moments_s, ends_s + EVERY_S, side="left")
        others = after - before > _PROBE_BYTES + sent_bytes[last] - sent_bytes[first]
        drained_s = ends_s[others] + _drain_s(trace, ends_s[others])
        found += zip(begins_s[others].tolist(), drained_s.tolist(), strict=True)
    return found


def pairs(values: Floats) -> tuple[Floats, Floats]:
    """Return all values but the last, and all but the first."""
    return values[:-1], values[1:]


def _sent_trains(log: Path, start_monotonic_s: float) -> tuple[Floats, Floats]:
    """Return when each train that arrived was sent, float64[n], and the bytes sent before each, [n + 1]."""
    trains = sorted(
        (one["monotonic_s"] - one["there_s"] - start_monotonic_s, one["packets"] * one["frame_bytes"])
        for one in records(log, "train")
    )
    moments_s, sizes = np.array(trains, dtype=np.float64).reshape(-1, 2).T
    return moments_s, np.append(0.0, np.cumsum(sizes))


def _drain_s(trace: Trace, times_s: Floats) -> Floats:
    """Return how long what was queued at each moment may take to come through."""
    rows = np.clip(np.searchsorted(trace.time_s, times_s, side="right") - 1, 0, len(trace) - 1)
    rate_bit_s = np.minimum(
        np.where(trace.downlink_up, trace.down_bit_s, np.inf),
        np.where(trace.uplink_up, trace.up_bit_s, np.inf),
    )[rows]
    queue_s = np.maximum(QUEUE_S, QUEUE_BYTES * 8 / rate_bit_s)  # the slower direction that is up
    delays_s = (trace.down_delay_s + trace.up_delay_s)[rows]
    return np.where(np.isfinite(rate_bit_s), np.minimum(_LONGEST_S, queue_s + delays_s), QUEUE_S)
