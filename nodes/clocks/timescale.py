"""Scenario time as a function of CLOCK_MONOTONIC, the same object in a run and in its nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

Speed: TypeAlias = Callable[[], float]
"""Returns how many seconds of scenario time pass in one of CLOCK_MONOTONIC."""


ROUNDING_S = 1e-6


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

    def then(self, *pieces: Piece) -> Timescale:
        """Return the time scale that goes on with further pieces.

        Raises:
            ValueError: a piece begins before the latest one, or leads back in scenario time.
        """
        for piece in pieces:
            last = self._pieces[-1]
            arrived_s = last.time_s + (piece.monotonic_s - last.monotonic_s) * last.speed
            if piece.monotonic_s < last.monotonic_s or piece.time_s < arrived_s - ROUNDING_S:
                raise ValueError(f"scenario time would run back from {arrived_s:g} s to {piece.time_s:g} s")
            self = Timescale(*self._pieces, piece)  # noqa: PLW0642
        return self

    @property
    def start_monotonic_s(self) -> float:
        """Where the first piece begins, CLOCK_MONOTONIC."""
        return self._pieces[0].monotonic_s

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces, in order."""
        return self._pieces

    @property
    def is_real(self) -> bool:
        """Whether scenario time runs as CLOCK_MONOTONIC throughout."""
        return len(self._pieces) == 1 and self.speed == 1

    @property
    def speed(self) -> float:
        """Seconds of scenario time in one of CLOCK_MONOTONIC, in the latest piece."""
        return self._pieces[-1].speed

    def speed_at(self, monotonic_s: float) -> float:
        """Return the speed at a moment of CLOCK_MONOTONIC."""
        return self._pieces[bisect_right(self._from_s, monotonic_s)].speed

    def changes_within(self, from_s: float, to_s: float) -> bool:
        """Return whether a piece begins between two moments of CLOCK_MONOTONIC."""
        return bisect_right(self._from_s, from_s) != bisect_right(self._from_s, to_s)

    def jumps(self) -> list[tuple[float, float, float]]:
        """Return (moment of CLOCK_MONOTONIC, scenario time left, scenario time reached) of each jump."""
        found = []
        for before, piece in pairwise(self._pieces):
            left_s = before.time_s + (piece.monotonic_s - before.monotonic_s) * before.speed
            if piece.time_s > left_s + ROUNDING_S:
                found.append((piece.monotonic_s, left_s, piece.time_s))
        return found

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
