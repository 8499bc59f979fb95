"""What the parts of a node are given: how to report an event, and how to ask for the scenario time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from nodes.contract.events import Event


class Report(Protocol):
    """Takes one event; called from any thread, must not block."""

    def __call__(self, event: Event, *, monotonic_s: float | None = None) -> None:
        """Report that `event` happened at `monotonic_s` of CLOCK_MONOTONIC (now, if None)."""


def report_nothing(event: Event, *, monotonic_s: float | None = None) -> None:
    """Drop the event; for parts that run without a management plane."""


ScenarioTime: TypeAlias = Callable[[], "float | None"]
"""Returns the current scenario time in seconds, or None before the run has announced it."""


def no_time() -> float | None:
    """Return None: scenario time is unknown."""
    return None


class ScenarioClock(Protocol):
    """Scenario time, and how fast it runs; a node's management plane is one."""

    def now_s(self) -> float | None:
        """Return the scenario time, seconds, or None before the run has announced it."""

    def speed(self) -> float:
        """Return the seconds of scenario time in a real one; 1 before the run has announced it."""


class WaitingClock(Protocol):
    """Scenario time that can be waited for, and compared with CLOCK_MONOTONIC."""

    def scenario_s(self, monotonic_s: float) -> float | None:
        """Return the scenario time of a moment of CLOCK_MONOTONIC; None before it is known."""

    def speed(self) -> float:
        """Return the seconds of scenario time in a real one."""

    def wait_until(self, time_s: float) -> bool:
        """Wait for a scenario time; False if the node was stopped first."""


class RealTime:
    """CLOCK_MONOTONIC as scenario time, for work without a run."""

    def scenario_s(self, monotonic_s: float) -> float:
        """Return the same moment."""
        return monotonic_s

    def speed(self) -> float:
        """Return 1."""
        return 1.0

    def wait_until(self, time_s: float) -> bool:
        """Sleep until a moment of CLOCK_MONOTONIC."""
        time.sleep(max(0.0, time_s - time.monotonic()))
        return True


class NoClock:
    """The clock of a node before it hears of its run, and of parts without one."""

    def now_s(self) -> None:
        """Return None: scenario time is unknown."""

    def speed(self) -> float:
        """Return 1."""
        return 1.0
