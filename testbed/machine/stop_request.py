"""Ctrl-C and `kill` as requests, instead of exceptions at arbitrary points.

A KeyboardInterrupt between the creation of a namespace and its registration would leak the namespace. So the
signals only set an event; a run checks it between steps and in every wait, and then ends in order.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - not an error: the end was requested
    """Raised by `StopRequest.check` once a signal has come."""


class StopRequest:
    """Context manager of the main thread that turns SIGINT, SIGTERM and SIGHUP into an event.

    Attributes:
        event: Set once a signal has arrived.
        signal_number: The first signal, or None.
        asked_by: Who asked for the stop without a signal, or None.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal_number: int | None = None
        self.asked_by: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = self.signal_number or number
        self.event.set()

    def ask(self, by: str) -> None:
        """Request the stop, from any thread, as Ctrl-C does.

        Args:
            by: who asks, for messages.
        """
        self.asked_by = self.asked_by or by
        self.event.set()

    @property
    def asker(self) -> str:
        """Name of the first signal, or who asked."""
        if self.signal_number is None and self.asked_by is not None:
            return self.asked_by
        return signal.Signals(self.signal_number or signal.SIGINT).name

    def check(self) -> None:
        """Raise Stopped if a signal has arrived, or somebody has asked."""
        if self.event.is_set():
            raise Stopped

    @property
    def exit_code(self) -> int:
        """128 + signal number, the convention of shells."""
        return 128 + (self.signal_number or signal.SIGINT)


@contextmanager
def signals_held() -> Iterator[None]:
    """Delay Ctrl-C and `kill` until the block has ended, so that nothing is left half made or half removed.

    Outside of the main thread, which alone gets signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = StopRequest()
    try:
        with stop:
            yield
    finally:
        if stop.signal_number is not None:
            signal.raise_signal(stop.signal_number)
