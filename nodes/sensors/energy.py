"""Energy of work between two moments: power integrated over time, minus idle power."""

from __future__ import annotations

import bisect
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from nodes.sensors.reading import PowerSensor, SensorError

PERIOD_S = 0.1
KEPT_S = 3600.0
GAP_PERIODS = 10  # after a longer gap between readings the energy is unknown


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy used between two moments.

    Attributes:
        energy_j: energy above idle.
        whole_j: energy including idle power.
        idle_w: idle power.
        duration_s: duration of the work.
        held_s: duration of the pauses in between, which all other values leave out.
        samples: number of readings during the work; with fewer than two the values rely on interpolation.
        source: device or program that measured.
        scope: loads that the power includes.
    """

    energy_j: float
    whole_j: float
    idle_w: float
    duration_s: float
    held_s: float
    samples: int
    source: str
    scope: str

    def to_json(self) -> dict[str, Any]:
        """Return the values as an event's fields."""
        return asdict(self)


class EnergyMeter:
    """Reads a sensor every PERIOD_S in a separate thread for the duration of the `with` block.

    Args:
        sensor: sensor to read, closed at the end.
        period_s: time between two readings.
    """

    def __init__(self, sensor: PowerSensor, period_s: float = PERIOD_S) -> None:
        self._sensor = sensor
        self._period_s = period_s
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, float]] = deque(maxlen=round(KEPT_S / period_s))
        self._idle_w: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)
        self.problem: str | None = None

    def __enter__(self) -> EnergyMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2.0)
        self._sensor.close()

    @property
    def source(self) -> str:
        """Name of the sensor."""
        return self._sensor.source

    def idle(self, duration_s: float) -> float:
        """Sleep, then store and return the mean power as idle power, in watts.

        Args:
            duration_s: duration of the sleep.

        Raises:
            SensorError: the sensor gave no reading.
        """
        begin_s = time.monotonic()
        self._stopping.wait(duration_s)
        samples = self._between(begin_s, time.monotonic())
        if not samples:
            raise SensorError(self.problem or f"{self._sensor.source}: no reading in {duration_s:g} s")
        self._idle_w = fmean(power_w for _, power_w in samples)
        return self._idle_w

    def energy(
        self, begin_s: float, end_s: float, held_s: Sequence[tuple[float, float]] = ()
    ) -> Energy | None:
        """Return the energy used between two values of CLOCK_MONOTONIC, or None if readings are missing.

        Readings are missing if there is none before `begin_s` or after `end_s`, or if a gap of more than
        GAP_PERIODS overlaps work. Power is interpolated linearly. The call waits for a reading after `end_s`.

        Args:
            begin_s: start of the work.
            end_s: end of the work.
            held_s: pauses in between, in order; their energy is not counted.
        """
        until_s = time.monotonic() + 5 * self._period_s
        while time.monotonic() < until_s and not (self._samples and self._samples[-1][0] >= end_s):
            time.sleep(self._period_s / 10)
        with self._lock:
            samples = list(self._samples)
        if self._idle_w is None or not samples or samples[0][0] > begin_s or samples[-1][0] < end_s:
            return None
        edges_s = [begin_s, *(edge_s for span in held_s for edge_s in span), end_s]
        worked = list(zip(edges_s[::2], edges_s[1::2], strict=True))
        gaps = [(a, b) for (a, _), (b, _) in pairwise(samples) if b - a > GAP_PERIODS * self._period_s]
        if any(a < to_s and from_s < b for a, b in gaps for from_s, to_s in worked):
            return None
        whole_j = sum(integral(samples, *span) for span in worked)
        duration_s = sum(to_s - from_s for from_s, to_s in worked)
        return Energy(
            energy_j=whole_j - self._idle_w * duration_s,
            whole_j=whole_j,
            idle_w=self._idle_w,
            duration_s=duration_s,
            held_s=end_s - begin_s - duration_s,
            samples=sum(from_s <= time_s <= to_s for time_s, _ in samples for from_s, to_s in worked),
            source=self._sensor.source,
            scope=self._sensor.scope,
        )

    def _between(self, begin_s: float, end_s: float) -> list[tuple[float, float]]:
        with self._lock:
            return [sample for sample in self._samples if begin_s <= sample[0] <= end_s]

    def _sample(self) -> None:
        due_s = time.monotonic()
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + self._period_s, time.monotonic())
            try:
                begin_s = time.monotonic()
                power_w = self._sensor.read().power_w
            except SensorError as error:
                self.problem = str(error)
                continue
            with self._lock:
                self._samples.append(((begin_s + time.monotonic()) / 2, power_w))


def integral(samples: list[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """Return the integral of linearly interpolated (time, value) samples over a span that they cover."""
    times_s = [time_s for time_s, _ in samples]
    first, last = bisect.bisect_right(times_s, begin_s), bisect.bisect_left(times_s, end_s)
    points = [(begin_s, _at(samples, begin_s)), *samples[first:last], (end_s, _at(samples, end_s))]
    return sum(
        (after_s - before_s) * (before + after) / 2
        for (before_s, before), (after_s, after) in pairwise(points)
    )


def _at(samples: list[tuple[float, float]], time_s: float) -> float:
    right = bisect.bisect_left(samples, (time_s,))
    (after_s, after) = samples[min(right, len(samples) - 1)]
    (before_s, before) = samples[max(right - 1, 0)]
    if after_s <= before_s:
        return after
    return before + (after - before) * (time_s - before_s) / (after_s - before_s)
