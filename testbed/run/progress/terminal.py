"""Progress on a console: a live view on a terminal, one line per event in a file or pipe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from nodes.contract.events import Answered, EventRecord
from nodes.contract.strict import as_shown
from testbed.run.progress.live_view import LinkStates, live_view
from testbed.run.progress.progress import Progress
from testbed.run.progress.sentences import sentence
from testbed.run.progress.tally import Tally
from traces.trace import Trace

RECENT_MAX = 8
REFRESHES_PER_S = 4


class TerminalProgress(Progress):
    """Progress on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tally = Tally()
        self._links = LinkStates({})
        self._lines: deque[str] = deque(maxlen=RECENT_MAX)
        self._answers: deque[str] = deque(maxlen=RECENT_MAX)
        self._live: Live | None = None
        self._now_s: float | None = None
        self._next_s = 0.0  # when the view is drawn again, CLOCK_MONOTONIC

    @contextmanager
    def shown(self, total_frames: int) -> Iterator[None]:
        """Show the progress while the body runs."""
        self.tally.total = total_frames
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=REFRESHES_PER_S, transient=True) as self._live:
            yield

    def step(self, text: str) -> None:
        """Show a step of building or removing."""
        super().step(text)
        self._next_s = 0.0  # drawn at once: what follows may take long
        self._say(text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Show the state of each link from now on."""
        super().playing(traces)
        self._links = LinkStates(traces)

    def event(self, record: EventRecord) -> None:
        """Show an event of a node or of the run."""
        super().event(record)
        self.tally.add(record)
        if not (text := sentence(record)):
            return
        time_s = record.time_s
        if isinstance(record.event, Answered) and self._live is not None:
            self._answers.append(_answer(record.event, time_s))
        else:
            self._say(f"{time_s:7.2f} s  {text}" if time_s is not None else text)

    def tick(self, now_s: float) -> None:
        """Redraw the view for scenario time `now_s`, unless that was done just before."""
        self._now_s = now_s
        if time.monotonic() >= self._next_s:
            self._draw()

    def _say(self, text: str) -> None:
        if self._live is None:
            self.console.print(text, highlight=False, soft_wrap=True)
            return
        self._lines.append(text)
        if time.monotonic() >= self._next_s:
            self._draw()

    def _draw(self) -> None:
        if self._live is None:
            return
        self._next_s = time.monotonic() + 1 / REFRESHES_PER_S
        if self._now_s is None:  # the links are not played yet
            self._live.update(Group(*map(Text, self._lines)))
            return
        height = self.console.size.height
        view = live_view(self.tally, self._links, self._now_s, list(self._answers), list(self._lines), height)
        self._live.update(view)


def _answer(answered: Answered, time_s: float | None) -> str:
    when = "" if time_s is None else f"{time_s:7.2f} s  "
    sure = "" if answered.confidence is None else f", confidence {answered.confidence:.2f}"
    return as_shown(f"{when}{answered.frame} by {answered.answered_by}: {answered.answer!r}{sure}")
