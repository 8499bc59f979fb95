"""Progress of a run: a live display on a terminal, one line per event in a file or pipe."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nodes.contract.events import (
    Answered,
    BoardChanged,
    Captured,
    DishAssigned,
    Event,
    EventRecord,
    FaultBegan,
    FaultEnded,
    FrameRefused,
    InferenceFailed,
    InferenceFinished,
    LinkChanged,
    LinkRepaired,
    PathChanged,
    ProgramChanged,
    Ready,
    SendStarted,
    SkippingEnded,
    SpeedChanged,
    TimeJumped,
)
from nodes.contract.strict import as_shown
from testbed.results.clock.keeping_up import LATE_S
from testbed.results.clock.passage import duration_text
from traces.trace import Trace

_LOG = logging.getLogger(__name__)
_RECENT_LINES = 8


@dataclass
class Tally:
    """Counts of frames by the last step that each has reached."""

    total: int = 0
    captured: set[str] = field(default_factory=set)
    on_air: set[str] = field(default_factory=set)
    answered: dict[str, str] = field(default_factory=dict)
    on_board: set[str] = field(default_factory=set)

    def add(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Captured():
                self.captured.add(event.frame)
                self.on_board.add(event.frame)
            case SendStarted():
                self.on_board.discard(event.frame)
                self.on_air.add(event.frame)
            case Answered():
                self.on_board.discard(event.frame)
                self.on_air.discard(event.frame)
                self.answered[event.frame] = event.answered_by

    def text(self) -> str:
        """Return the counts as one line."""
        by = list(self.answered.values())
        return (
            f"frames: {len(self.captured)} of {self.total} captured, {len(self.on_board)} waiting on board, "
            f"{len(self.on_air)} in transfer, {by.count('satellite')} answered on board, "
            f"{by.count('ground')} answered on the ground"
        )


class Progress:
    """Progress that is logged but not shown. All methods are called from the run's own thread."""

    def shown(self, total_frames: int) -> AbstractContextManager[None]:
        """Show the progress while the body runs."""
        return nullcontext()

    def step(self, text: str) -> None:
        """Report that a step of building or removing has begun."""
        _LOG.info("%s", text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Report that the links begin to follow their traces."""
        _LOG.info("links follow their traces: %s", ", ".join(traces))

    def event(self, record: EventRecord) -> None:
        """Report an event of a node or of the run."""
        if text := _sentence(record):
            _LOG.info("%s", text)
        else:
            _LOG.debug("%s", record.to_json())

    def tick(self, now_s: float) -> None:
        """Update the display for scenario time `now_s`."""


class TerminalProgress(Progress):
    """Progress on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tally = Tally()
        self._traces: dict[str, Trace] = {}
        self._lines: list[str] = []
        self._live: Live | None = None

    @contextmanager
    def shown(self, total_frames: int) -> Iterator[None]:
        """Show the progress while the body runs."""
        self.tally.total = total_frames
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield

    def step(self, text: str) -> None:
        """Show a step of building or removing."""
        super().step(text)
        self._say(text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Show the state of each link from now on."""
        super().playing(traces)
        self._traces = dict(traces)

    def event(self, record: EventRecord) -> None:
        """Show an event of a node or of the run."""
        super().event(record)
        self.tally.add(record.event)
        if text := _sentence(record):
            time_s = record.time_s
            self._say(f"{time_s:7.2f} s  {text}" if time_s is not None else text)

    def tick(self, now_s: float) -> None:
        """Redraw the display for scenario time `now_s`."""
        if self._live is not None:
            self._live.update(Group(self._links(now_s), Text(self.tally.text()), *map(Text, self._lines)))

    def _say(self, text: str) -> None:
        if self._live is None:
            self.console.print(text, highlight=False, soft_wrap=True)
            return
        self._lines = [*self._lines, text][-_RECENT_LINES:]
        self._live.update(Group(Text(self.tally.text()), *map(Text, self._lines)))

    def _links(self, now_s: float) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, trace in self._traces.items():
            row = trace.row_at(min(max(now_s, 0.0), math.nextafter(trace.end_s, 0)))
            state = (
                Text.assemble(
                    ("up", "green"),
                    f"  down {_rate(row.down_bit_s, row.downlink_up)}"
                    f"  up {_rate(row.up_bit_s, row.uplink_up)}  "
                    f"delay {(row.down_delay_s if row.downlink_up else row.up_delay_s) * 1e3:.2f} ms",
                )
                if row.up
                else Text("no contact", "yellow")
            )
            table.add_row(f"{now_s:7.1f} s", Text(name, "bold"), state, countdown(trace, now_s))
        return table


def _state(link: LinkChanged | LinkRepaired) -> str:
    """Return what happened to a link."""
    if isinstance(link, LinkRepaired):
        return f", at {link.end}: {link.change}; it was set again"
    return f" is {_carrying(link)}"


def _carrying(link: LinkChanged) -> str:
    """Return which directions of a link are up."""
    if link.up and link.downlink_up is False:
        return "up, its downlink is down"
    if link.up and link.uplink_up is False:
        return "up, its uplink is down"
    return "up" if link.up else "down"


def _rate(rate_bit_s: float, up: bool) -> str:
    return f"{rate_bit_s / 1e6:.2f} Mbit/s" if up else "off"


def countdown(trace: Trace, now_s: float) -> str:
    """Return the time to the next AOS or LOS, as text."""
    for contact in trace.contacts():
        if now_s < contact.aos_s:
            return f"AOS in {contact.aos_s - now_s:.0f} s"
        if now_s < contact.los_s:
            return f"LOS in {contact.los_s - now_s:.0f} s"
    return "no further contact"


def _sentence(record: EventRecord) -> str:
    return as_shown(_told(record))


def _told(record: EventRecord) -> str:
    node = record.node
    match record.event:
        case Ready() as ready:
            size = "" if ready.parameters is None else f", {ready.parameters / 1e6:.1f} M parameters"
            place = "" if ready.place is None else f" on {ready.place}"
            return f"{node}: model loaded in {ready.load_s:.1f} s{size}{place}"
        case LinkChanged() | PathChanged() as network:
            return _network(network, record.time_s or 0.0)
        case InferenceFinished() as finished if finished.decision is not None:
            return f"{node}: {finished.frame} {_decided(finished)}"
        case Answered() as answered:
            return f"ground: {answered.frame} answered by {answered.answered_by}: {answered.answer!r}"
        case BoardChanged() | ProgramChanged() as changed:
            who = f"board {changed.board}" if isinstance(changed, BoardChanged) else changed.program
            return f"{who} is {changed.state}" + (f": {changed.reason}" if changed.reason else "")
        case InferenceFailed() as failed:
            where = f", {failed.where}" if failed.where else ""
            return f"{node}: {failed.frame} failed: {failed.part or 'inference'}{where}: {failed.reason}"
        case FrameRefused() as refused:
            return f"{node}: {refused.frame} refused: {refused.reason}"
        case _:
            return _of_the_run(record.event)


def _of_the_run(event: Event) -> str:
    """Return what the run itself has decided, as text."""
    if isinstance(event, DishAssigned):
        wait = f"; {', '.join(event.waiting)} must wait" if event.waiting else ""
        return f"{event.station}: dish {event.dish} turns to {event.satellite}, {event.why}{wait}"
    if isinstance(event, FaultBegan):
        return f"fault: {event.what}: {event.target}: {event.effect}"
    if isinstance(event, FaultEnded):
        return f"fault is over: {event.what}: {event.target}"
    return _of_time(event)


def _of_time(event: Event) -> str:
    """Return how scenario time goes on, as text."""
    match event:
        case TimeJumped():
            return f"jump over {duration_text(event.to_s - event.from_s)} of idle time"
        case SpeedChanged():
            return f"speed {event.speed:.3g}: {event.reason}"
        case SkippingEnded():
            return f"idle time is no longer skipped: {event.reason}"
        case _:
            return ""


def _network(change: LinkChanged | PathChanged, time_s: float) -> str:
    """Return what has changed in the network, as text."""
    if isinstance(change, PathChanged):
        return f"{change.satellite}: " + (" > ".join(change.path[1:]) or "no way to mission control")
    is_late = change.lateness_s > LATE_S and time_s > 0
    late = f", {change.lateness_s * 1e3:.0f} ms late" if is_late else ""
    return f"link {change.link} is {_carrying(change)}{late}"


def _decided(finished: InferenceFinished) -> str:
    """Return a policy's decision on a frame, as text."""
    answer = f"{finished.answer!r}, " if finished.answer else ""
    if finished.confidence is not None:
        answer += f"confidence {finished.confidence:.2f}: "
    if finished.decision == "offload":
        return f"{answer}sends the image, {finished.form or 'whole'}"
    return answer + ("answers on board" if finished.decision == "answer" else "drops the frame")
