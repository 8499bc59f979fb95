"""Scenario time as a function of CLOCK_MONOTONIC, the same object in a run and in its nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

Speed: TypeAlias = Callable[[], float]
"""Returns how many seconds of scenario time pass in one of CLOCK_MONOTONIC."""


def real_speed() -> float:
    """Return 1: scenario time runs as fast as CLOCK_MONOTONIC."""
    return 1.0


class Piece(NamedTuple):
    """From `monotonic_s` on, scenario time is `time_s` + `speed` times the seconds since."""

    monotonic_s: float
    time_s: float
    speed: float


class Timescale:
    """A piecewise linear function from CLOCK_MONOTONIC to scenario time, immutable.

    Before its first piece it goes on as within it. The function rises everywhere, so that it has an inverse.
    A piece that begins later than the one before it has arrived is a jump, which the inverse maps to its
    moment.

    Args:
        pieces: in order of both times.
    """

    __slots__ = ("_from_s", "_pieces", "_times_s")

    def __init__(self, *pieces: Piece) -> None:
        self._pieces = pieces
        self._from_s = [piece.monotonic_s for piece in pieces[1:]]
        self._times_s = [piece.time_s for piece in pieces[1:]]

    @classmethod
    def starting(cls, monotonic_s: float, speed: float = 1.0) -> Timescale:
        """Return the time scale of which second 0 is at a moment of CLOCK_MONOTONIC."""
        return cls(Piece(monotonic_s, 0.0, speed))

    @property
    def start_monotonic_s(self) -> float:
        """Where the first piece begins, CLOCK_MONOTONIC."""
        return self._pieces[0].monotonic_s

    @property
    def speed(self) -> float:
        """Seconds of scenario time in one of CLOCK_MONOTONIC, in the latest piece."""
        return self._pieces[-1].speed

    def at(self, monotonic_s: float) -> float:
        """Return the scenario time of a moment of CLOCK_MONOTONIC, seconds."""
        piece = self._pieces[bisect_right(self._from_s, monotonic_s)]
        return piece.time_s + (monotonic_s - piece.monotonic_s) * piece.speed

    def monotonic_of(self, time_s: float) -> float:
        """Return the moment of CLOCK_MONOTONIC at which a scenario time is reached, seconds."""
        number = bisect_right(self._times_s, time_s)
        piece = self._pieces[number]
        moment_s = piece.monotonic_s + (time_s - piece.time_s) / piece.speed
        return min(moment_s, self._from_s[number]) if number < len(self._from_s) else moment_s
