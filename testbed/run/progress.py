"""What is shown while a run goes on: live on a terminal, a line per event where the output is a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from traces.trace import Trace

_LINES_KEPT = 8


@dataclass
class Tally:
    """Counts of frames by the furthest step that each has reached."""

    total: int = 0
    captured: set[str] = field(default_factory=set)
    on_air: set[str] = field(default_factory=set)
    answered: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one event into account."""
        frame, kind = event.get("frame"), event["event"]
        if frame is None:
            return
        if kind == "captured":
            self.captured.add(frame)
            self.held.add(frame)
        elif kind == "send_started":
            self.held.discard(frame)
            self.on_air.add(frame)
        elif kind == "answered":
            self.held.discard(frame)
            self.on_air.discard(frame)
            self.answered[frame] = event["answered_by"]

    def text(self) -> str:
        """One line."""
        by = list(self.answered.values())
        return (
            f"frames: {len(self.captured)} of {self.total} taken, {len(self.held)} waiting on board, "
            f"{len(self.on_air)} sent, {by.count('satellite')} answered on board, "
            f"{by.count('ground')} answered on the ground"
        )


class Progress:
    """Shows one run. Everything it is told comes from the run's own thread."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tally = Tally()
        self._traces: dict[str, Trace] = {}
        self._lines: list[str] = []
        self._live: Live | None = None
        self._step = ""

    @contextmanager
    def shown(self, total_frames: int) -> Iterator[None]:
        """Show while the body runs."""
        self.tally.total = total_frames
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield

    def step(self, text: str) -> None:
        """A step of setting up or taking down has begun."""
        self._step = text
        self._say(text)

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """The links begin to follow their traces."""
        self._traces = dict(traces)
        self._step = ""

    def event(self, event: Mapping[str, Any]) -> None:
        """A node or the run reported something."""
        self.tally.add(event)
        if text := _sentence(event):
            time_s = event.get("time_s")
            self._say(f"{time_s:7.2f} s  {text}" if time_s is not None else text)

    def tick(self, now_s: float) -> None:
        """Redraw for scenario time `now_s`."""
        if self._live is not None:
            self._live.update(Group(self._links(now_s), Text(self.tally.text()), *map(Text, self._lines)))

    def _say(self, text: str) -> None:
        if self._live is None:
            self.console.print(text, highlight=False, soft_wrap=True)
            return
        self._lines = [*self._lines, text][-_LINES_KEPT:]
        self._live.update(Group(Text(self.tally.text()), *map(Text, self._lines)))

    def _links(self, now_s: float) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, trace in self._traces.items():
            row = trace.row_at(min(max(now_s, 0.0), math.nextafter(trace.end_s, 0)))
            state = (
                Text.assemble(
                    ("up", "green"),
                    f"  down {row.down_bit_s / 1e6:.2f} Mbit/s  up {row.up_bit_s / 1e6:.2f} Mbit/s  "
                    f"delay {row.down_delay_s * 1e3:.2f} ms",
                )
                if row.up
                else Text("no contact", "yellow")
            )
            table.add_row(f"{now_s:7.1f} s", Text(name, "bold"), state, countdown(trace, now_s))
        return table


def countdown(trace: Trace, now_s: float) -> str:
    """Time to the next change between contact and gap."""
    for contact in trace.contacts():
        if now_s < contact.aos_s:
            return f"AOS in {contact.aos_s - now_s:.0f} s"
        if now_s < contact.los_s:
            return f"LOS in {contact.los_s - now_s:.0f} s"
    return "no contact left"


def _sentence(event: Mapping[str, Any]) -> str:
    node, frame = event.get("node", ""), event.get("frame", "")
    match event["event"]:
        case "ready":
            known = event["parameters"] is not None
            size = f", {event['parameters'] / 1e6:.1f} M parameters" if known else ""
            return f"{node}: model loaded in {event['load_s']:.1f} s{size}"
        case "link":
            return f"link {event['link']} is {'up' if event['up'] else 'down'}"
        case "inference_finished" if "decision" in event:
            return f"{node}: {frame} {_decided(event)}"
        case "answered":
            return f"ground: {frame} answered by {event['answered_by']}: {event['answer']!r}"
        case "board":
            return f"board {event['board']} is {event['state']}{_because(event)}"
        case "refused":
            return f"{node}: {frame} refused: {event['reason']}"
        case _:
            return ""


def _decided(event: Mapping[str, Any]) -> str:
    """What a satellite's policy made of a frame."""
    said = f"{event['answer']!r}, " if event["answer"] else ""
    if event["confidence"] is not None:
        said += f"confidence {event['confidence']:.2f}: "
    if event["decision"] == "offload":
        return f"{said}sends the image, {event.get('form') or 'whole'}"
    return said + ("answers on board" if event["decision"] == "answer" else "drops the frame")


def _because(event: Mapping[str, Any]) -> str:
    return f": {event['reason']}" if event.get("reason") else ""
