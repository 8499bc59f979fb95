"""A watchdog of timer latency, which tells a starved machine from a link or program that misses a bound.

A shared machine may be descheduled for some hundred milliseconds at any moment. Everything is then late, and
a measurement says nothing about a link or a program. So a thread repeatedly sleeps during a measurement and
records how late it wakes up. It also sees a single call of this process that holds the interpreter for long:
it shows that timers were late, not the cause.
"""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field

STARVED_S = 1e-3  # several times the timer latency of an idle machine, or of an idle guest
DESCHEDULED_S = 20e-3  # several times the 5 ms for which Python's threads wait for each other


class Starvation:
    """Context manager that records how late timers are.

    Args:
        every_s: Sleep of the thread, seconds. In a guest with one processor, frequent wake-ups delay
            everything else.
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
        """Discard everything recorded so far."""
        self._late_s = []

    @property
    def late_s(self) -> list[float]:
        """Latency of each wake-up, seconds."""
        return list(self._late_s)

    @property
    def lateness_s(self) -> float:
        """90th percentile of the wake-ups' latency, seconds."""
        late_s = self._late_s
        return statistics.quantiles(late_s, n=10)[-1] if len(late_s) > 1 else 0.0

    @property
    def worst_s(self) -> float:
        """Largest latency of a wake-up, seconds."""
        return max(self._late_s, default=0.0)

    @property
    def descheduled(self) -> bool:
        """Whether the machine was descheduled briefly and not starved otherwise: measuring again may help."""
        return self.worst_s >= DESCHEDULED_S and self.lateness_s < STARVED_S

    @property
    def starved(self) -> bool:
        """Whether timers were late all the time, or the machine was descheduled once."""
        return self.lateness_s >= STARVED_S or self.worst_s >= DESCHEDULED_S

    def __str__(self) -> str:
        return f"timers late by {self.lateness_s * 1e3:.2f} ms at p90, {self.worst_s * 1e3:.0f} ms at worst"

    def _sleep_and_look(self) -> None:
        while not self._end.is_set():
            due_s = time.monotonic() + self._every_s
            time.sleep(self._every_s)
            self._late_s.append(time.monotonic() - due_s)


@dataclass
class Lateness:
    """Latency of timers over several measurements."""

    _late_s: list[float] = field(default_factory=list)

    def add(self, starvation: Starvation) -> None:
        """Add the wake-ups of one measurement."""
        self._late_s += starvation.late_s

    def record(self) -> dict[str, float | None]:
        """Return timer_late_p50_s, timer_late_p99_s, timer_late_worst_s in seconds; None without wake-ups."""
        if len(self._late_s) < 2:
            return dict.fromkeys(("timer_late_p50_s", "timer_late_p99_s", "timer_late_worst_s"))
        quantiles_s = statistics.quantiles(self._late_s, n=100)
        return {
            "timer_late_p50_s": quantiles_s[49],
            "timer_late_p99_s": quantiles_s[98],
            "timer_late_worst_s": max(self._late_s),
        }
