"""Scenario time, as an object that is passed in, so that tests and replays can replace it."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from nodes.clocks.timescale import Timescale

# This close to its deadline a wait ignores `stop`: watching it takes several times the system calls of a
# plain sleep, which counts when changes are milliseconds apart.
DEAF_S = 0.05


class Clock(Protocol):
    """Seconds of scenario time, and a way to wait for a moment."""

    @property
    def speed(self) -> float:
        """Seconds of scenario time in a real one; links are that much faster than in their traces."""

    def now_s(self) -> float:
        """Return the scenario time, seconds; negative before the start."""

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Sleep to the absolute scenario time `time_s`; False if `stop` was set."""


class RealClock:
    """Scenario time that follows CLOCK_MONOTONIC, as fast as it or faster.

    Args:
        start_monotonic_s: value of `time.monotonic()` that is scenario second 0.
        speed: seconds of scenario time in a real one.

    Attributes:
        scale: the same as a function, which other programs can be told.
    """

    def __init__(self, start_monotonic_s: float | None = None, speed: float = 1.0) -> None:
        start_s = time.monotonic() if start_monotonic_s is None else start_monotonic_s
        self.scale = Timescale.starting(start_s, speed)

    @property
    def start_monotonic_s(self) -> float:
        """Value of `time.monotonic()` that is scenario second 0."""
        return self.scale.start_monotonic_s

    @property
    def speed(self) -> float:
        """Seconds of scenario time in a real one."""
        return self.scale.speed

    def now_s(self) -> float:
        """Return the scenario time, seconds."""
        return self.scale.at(time.monotonic())

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Sleep to an absolute deadline, so that lateness never adds up."""
        while (left_s := (time_s - self.now_s()) / self.speed) > 0:
            if left_s <= DEAF_S:
                time.sleep(left_s)
            elif stop.wait(left_s - DEAF_S):
                return False
        return not stop.is_set()


class ManualClock:
    """A clock that moves only by `advance_to`; for tests."""

    def __init__(self, time_s: float = 0.0, speed: float = 1.0) -> None:
        self.speed = speed
        self._time_s = time_s
        self._moved = threading.Condition()

    def now_s(self) -> float:
        """Return the time that was last set."""
        return self._time_s

    def advance_to(self, time_s: float) -> None:
        """Move forward and wake every waiting thread."""
        with self._moved:
            self._time_s = max(self._time_s, time_s)
            self._moved.notify_all()

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Wait for `advance_to` to reach `time_s`; polls `stop` every 10 ms."""
        with self._moved:
            while self._time_s < time_s:
                if stop.is_set():
                    return False
                self._moved.wait(0.01)
        return not stop.is_set()
