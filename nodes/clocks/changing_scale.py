"""A time scale that may change while others wait for a moment of it, in a run and in its nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from nodes.clocks.timescale import Piece, Timescale

DEAF_S = 0.002  # this close to its moment a wait is a plain sleep, which costs fewer system calls


class ChangingScale:
    """Holds the time scale that is in force; safe to use from several threads.

    Args:
        scale: the first one.
    """

    def __init__(self, scale: Timescale) -> None:
        self._scale = scale
        self._changed = threading.Condition()

    @property
    def scale(self) -> Timescale:
        """The time scale, with all changes so far."""
        return self._scale

    def follow(self, scale: Timescale) -> None:
        """Put another time scale in force; every waiting thread looks at it."""
        with self._changed:
            self._scale = scale
            self._changed.notify_all()

    def add(self, *pieces: Piece) -> Timescale:
        """Go on with further pieces; return the time scale then. Raises ValueError as `Timescale.then`."""
        with self._changed:
            self._scale = self._scale.then(*pieces)
            self._changed.notify_all()
            return self._scale

    def wake(self) -> None:
        """Let every waiting thread look whether it is to end."""
        with self._changed:
            self._changed.notify_all()

    def wait_until(
        self,
        time_s: float,
        ended: Callable[[], bool],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        longest_s: float = float("inf"),
    ) -> bool:
        """Wait for a scenario time, however often the scale changes until then.

        Args:
            time_s: the scenario time.
            ended: whether to give up; it is looked at after each `wake`.
            monotonic: returns CLOCK_MONOTONIC of the time scale.
            longest_s: after so long at most, `monotonic` is asked again.

        Returns:
            Whether the time has come; False if `ended`.
        """
        while not ended():
            with self._changed:
                left_s = self._scale.monotonic_of(time_s) - monotonic()
                if left_s > DEAF_S:
                    if not ended():
                        self._changed.wait(min(left_s - DEAF_S, longest_s, threading.TIMEOUT_MAX))
                    continue
            if left_s <= 0:
                return True
            time.sleep(left_s)
        return False
