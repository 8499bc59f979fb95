"""A timer of the kernel that epoll can wait for; see timerfd_create(2)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

CLOCK_MONOTONIC, TFD_TIMER_ABSTIME = 1, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """A timerfd that expires at an absolute CLOCK_MONOTONIC time (Python has one since 3.13)."""

    class _Spec(ctypes.Structure):
        _fields_ = (
            ("interval_s", ctypes.c_long),
            ("interval_ns", ctypes.c_long),
            ("value_s", ctypes.c_long),
            ("value_ns", ctypes.c_long),
        )

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._armed_s = float("inf")

    def fileno(self) -> int:
        """Return the descriptor, so that epoll can wait for it."""
        return self._fd

    def arm(self, time_s: float) -> None:
        """Expire at `time_s`, or at once if that has passed."""
        if time_s == self._armed_s:
            return
        self._armed_s = time_s
        seconds = int(time_s)
        spec = Timer._Spec(0, 0, seconds, max(1, int((time_s - seconds) * 1e9)))
        _libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def acknowledge(self) -> float:
        """Reset it after it has expired; return the time that it was set to."""
        armed_s, self._armed_s = self._armed_s, float("inf")
        with suppress(BlockingIOError):
            os.read(self._fd, 8)
        return armed_s
