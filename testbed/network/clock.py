"""Scenario time, as an object that is passed in, so that tests and replays can replace it."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from nodes.clocks.changing_scale import ChangingScale
from nodes.clocks.timescale import Piece, Timescale


class Clock(Protocol):
    """Seconds of scenario time, and a way to wait for a moment."""

    @property
    def speed(self) -> float:
        """Seconds of scenario time in a real one; links are that much faster than in their traces."""

    def now_s(self) -> float:
        """Return the scenario time, seconds; negative before the start."""

    def late_s(self, time_s: float) -> float:
        """Return by how much a scenario time has passed, seconds of it; a jump takes none."""

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Sleep to the absolute scenario time `time_s`; False if `stop` was set."""

    def wake(self) -> None:
        """Let every waiting thread look at its `stop`; call it after setting one."""


class RealClock:
    """Scenario time that follows CLOCK_MONOTONIC, as fast as it or faster, and may jump.

    Args:
        start_monotonic_s: value of `time.monotonic()` that is scenario second 0.
        speed: seconds of scenario time in a real one, at first.
    """

    def __init__(self, start_monotonic_s: float | None = None, speed: float = 1.0) -> None:
        start_s = time.monotonic() if start_monotonic_s is None else start_monotonic_s
        self._scale = ChangingScale(Timescale.starting(start_s, speed))

    @property
    def scale(self) -> Timescale:
        """Scenario time as a function, which other programs can be told; with all changes so far."""
        return self._scale.scale

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

    def late_s(self, time_s: float) -> float:
        """Return by how much a scenario time has passed."""
        scale = self.scale
        return (time.monotonic() - scale.monotonic_of(time_s)) * scale.speed

    def change(self, piece: Piece) -> Timescale:
        """Go on with a jump, or another speed; return the scale then. Raises ValueError if it leads back."""
        return self._scale.add(piece)

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Sleep to an absolute deadline, so that lateness never adds up."""
        return self._scale.wait_until(time_s, stop.is_set)

    def wake(self) -> None:
        """Let every waiting thread look at its `stop`."""
        self._scale.wake()


class ManualClock:
    """A clock that moves only by `advance_to`; for tests."""

    def __init__(self, time_s: float = 0.0, speed: float = 1.0) -> None:
        self.speed = speed
        self._time_s = time_s
        self._moved = threading.Condition()

    def now_s(self) -> float:
        """Return the time that was last set."""
        return self._time_s

    def late_s(self, time_s: float) -> float:
        """Return by how much a time has passed."""
        return self._time_s - time_s

    def advance_to(self, time_s: float) -> None:
        """Move forward and wake every waiting thread."""
        with self._moved:
            self._time_s = max(self._time_s, time_s)
            self._moved.notify_all()

    def wait_until(self, time_s: float, stop: threading.Event) -> bool:
        """Wait for `advance_to` to reach `time_s`."""
        with self._moved:
            self._moved.wait_for(lambda: self._time_s >= time_s or stop.is_set())
        return not stop.is_set()

    def wake(self) -> None:
        """Let every waiting thread look at its `stop`."""
        with self._moved:
            self._moved.notify_all()
