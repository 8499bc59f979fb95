"""Threads of a run that runs ahead of real time, which its nodes must not keep waiting."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PRIORITY = 1  # real-time, below those of the player, the probes and the shaper
SWITCH_S = 0.5e-3  # Python's default is ten times as long


class PromptThreads:
    """Runs the threads of this process before programs of normal priority, until the block ends.

    A link is changed by more than one thread, and any thread may hold the interpreter's lock, for which the
    others wait. Where nodes keep all processors busy, each of them otherwise waits up to 20 ms for its turn:
    0.6 s at speed 30. Threads and programs that are started within the block have normal priority.
    Where real-time priority is not permitted, only the lock changes hands sooner.
    """

    def __init__(self) -> None:
        self._changed: list[int] = []
        self._switch_s = 0.0

    def __enter__(self) -> PromptThreads:
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        for entry in Path("/proc/self/task").iterdir():
            thread = int(entry.name)
            with suppress(OSError):  # it has ended, or it may not
                if os.sched_getscheduler(thread) == os.SCHED_OTHER:
                    os.sched_setscheduler(
                        thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY)
                    )
                    self._changed.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setswitchinterval(self._switch_s)
        for thread in self._changed:
            with suppress(OSError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
