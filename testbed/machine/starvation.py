"""Tells a measurement that the machine spoilt from one that the link failed.

A machine that is shared may be taken away for a fifth of a second at any moment; then everything is late, and
nothing about a link or a program follows from it.  So while something is measured, a thread sleeps 10 ms
(`every_s`) again and again and notes how late it is woken up.  What it sees too is this process itself, when
one call keeps the interpreter for that long: it says that timers were late, not whose fault that was.
"""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field

STARVED_S = 1e-3  # a timer of an idle machine is late by some 0.1 ms, of an idle guest by some 0.3
AWAY_S = 20e-3  # and never by this, though Python's threads wait 5 ms for each other


class Starvation:
    """Context manager that watches how late timers are.

    Args:
        every_s: how long the thread sleeps at a time, seconds. In a guest with one processor 100 wake-ups a
            second make everything else later: 0.7 ms at p99.
    """

    def __init__(self, every_s: float = 0.01) -> None:
        self._every_s = every_s
        self._late_s: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sleep_and_look, daemon=True)

    def __enter__(self) -> Starvation:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def forget(self) -> None:
        """Watch from now on."""
        self._late_s = []

    @property
    def late_s(self) -> list[float]:
        """How late each wake-up was, seconds."""
        return list(self._late_s)

    @property
    def lateness_s(self) -> float:
        """How late nine of ten wake-ups were at most, seconds."""
        late_s = self._late_s
        return statistics.quantiles(late_s, n=10)[-1] if len(late_s) > 1 else 0.0

    @property
    def worst_s(self) -> float:
        """How late the latest wake-up was, seconds."""
        return max(self._late_s, default=0.0)

    @property
    def away(self) -> bool:
        """Whether the machine was away once, and else awake: what was measured then may be measured again."""
        return self.worst_s >= AWAY_S and self.lateness_s < STARVED_S

    @property
    def starved(self) -> bool:
        """Whether timers were late all the time, or the machine was away once."""
        return self.lateness_s >= STARVED_S or self.worst_s >= AWAY_S

    def __str__(self) -> str:
        return f"timers late by {self.lateness_s * 1e3:.2f} ms, once by {self.worst_s * 1e3:.0f} ms"

    def _sleep_and_look(self) -> None:
        while not self._end.is_set():
            due_s = time.monotonic() + self._every_s
            time.sleep(self._every_s)
            self._late_s.append(time.monotonic() - due_s)


@dataclass
class Lateness:
    """How late timers were in all of some measurements."""

    _late_s: list[float] = field(default_factory=list)

    def add(self, starvation: Starvation) -> None:
        """Take into account what was noted in one of them."""
        self._late_s += starvation.late_s

    def record(self) -> dict[str, float | None]:
        """Seconds: timer_late_p50_s, timer_late_p99_s, timer_late_worst_s; None if nothing was noted."""
        if len(self._late_s) < 2:
            return dict.fromkeys(("timer_late_p50_s", "timer_late_p99_s", "timer_late_worst_s"))
        quantiles_s = statistics.quantiles(self._late_s, n=100)
        return {
            "timer_late_p50_s": quantiles_s[49],
            "timer_late_p99_s": quantiles_s[98],
            "timer_late_worst_s": max(self._late_s),
        }
