"""A progress that is shown in several ways at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from nodes.contract.events import EventRecord
from testbed.run.progress.progress import Progress
from traces.trace import Trace


class SeveralProgress(Progress):
    """Passes everything on to several displays, in their order."""

    def __init__(self, *displays: Progress) -> None:
        self._displays = displays

    @contextmanager
    def shown(self, total_frames: int) -> Iterator[None]:
        """Show all displays while the body runs."""
        with ExitStack() as stack:
            for display in self._displays:
                stack.enter_context(display.shown(total_frames))
            yield

    def step(self, text: str) -> None:
        """Report that a step of building or removing has begun."""
        for display in self._displays:
            display.step(text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Report that the links begin to follow their traces."""
        for display in self._displays:
            display.playing(traces)

    def event(self, record: EventRecord) -> None:
        """Report an event of a node or of the run."""
        for display in self._displays:
            display.event(record)

    def tick(self, now_s: float) -> None:
        """Update the displays for scenario time `now_s`."""
        for display in self._displays:
            display.tick(now_s)
