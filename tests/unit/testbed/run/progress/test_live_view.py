"""The live view of a run in a terminal of 80 columns."""

from __future__ import annotations

import io
from datetime import datetime, timezone

import numpy as np
import pytest
from rich.console import Console

from nodes.contract.events import Answered, Captured, Dropped, Event, EventRecord, SendStarted
from testbed.run.progress import TerminalProgress
from testbed.run.progress.live_view import LinkStates, live_view
from testbed.run.progress.tally import Tally
from traces.trace import Trace, TraceHeader


def link(aos_s: float, los_s: float, rate_bit_s: float = 4e6) -> Trace:
    """Return a trace with one contact, and a row after it."""
    time_s = np.array([0.0, aos_s, los_s])
    up, zero = np.array([False, True, False]), np.zeros(3)
    rate, delay = np.full(3, rate_bit_s), np.full(3, 0.00312)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(header, time_s, up, up, rate, rate / 16, delay, delay, zero, zero, 600.0)


def tallied(*events: tuple[str, Event]) -> Tally:
    tally = Tally()
    for node, event in events:
        tally.add(EventRecord(node=node, monotonic_s=0.0, event=event))
    return tally


def answered(frame: str, by: str = "ground") -> Answered:
    return Answered.model_validate({"frame": frame, "answer": "two", "answered_by": by, "confidence": 0.5})


def shown(tally: Tally, links: LinkStates, now_s: float, height: int = 24, **more: list[str]) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    view = live_view(tally, links, now_s, more.get("answers", []), more.get("lines", []), height)
    console.print(view)
    return console.export_text().splitlines()


def test_frames_are_counted_by_satellite_and_by_their_last_step() -> None:
    tally = tallied(
        *(("S", Captured(frame=name, size_bytes=100)) for name in "abcd"),
        ("T", Captured(frame="t", size_bytes=7)),
        ("S", SendStarted(frame="a", what="image", size_bytes=100)),
        ("G", answered("a")),
        ("S", SendStarted(frame="a", what="image", size_bytes=100)),  # comes late
        ("G", answered("b", "satellite")),
        ("S", Dropped(frame="c", what="image", reason="policy")),
        ("G", answered("a question")),
    )
    own = tally.satellites["S"]
    assert {step: count for step, count in own.steps.items() if count} == {
        "on board": 1, "by ground": 1, "by satellite": 1, "ended": 1,
    }  # fmt: skip
    assert own.on_board_bytes == 100
    assert tally.whole.steps["on board"] == 2


def test_links_in_contact_come_first_then_those_with_the_next_contact() -> None:
    links = LinkStates(
        {"over": link(1, 50), "later": link(300, 400), "next": link(200, 250), "now": link(90, 130)}
    )
    lines = shown(Tally(), links, 100.0)
    assert [line.split()[0] for line in lines[2:6]] == ["now", "next", "later", "over"]
    assert lines[2].split()[1:] == ["up,", "LOS", "in", "30", "s", "4.00", "0.25", "3.12"]
    assert "AOS in 100 s" in lines[3]
    assert "no further contact" in lines[5]


def test_the_view_of_a_fleet_fits_the_terminal() -> None:
    names = [f"FLOCK 3P-{number} - Hartebeesthoek ground station" for number in range(100)]
    links = LinkStates({name: link(10 + n, 500, 220e6) for n, name in enumerate(names)})
    tally = tallied(*((f"FLOCK 3P-{n}", Captured(frame=str(n), size_bytes=10**9)) for n in range(100)))
    long = ["x" * 200] * 8
    for height in (24, 40):
        lines = shown(tally, links, 100.0, height, answers=long, lines=long)
        assert max(map(len, lines)) <= 80
        assert len(lines) <= height
        assert any("more" in line for line in lines)
        assert any(line.startswith("all") and "100 100000.00" in " ".join(line.split()) for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_last_answers_have_a_place_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    progress = TerminalProgress(Console(file=terminal, width=80, height=24))
    progress.playing({"S - G": link(1, 50)})
    with progress.shown(1):
        progress.event(EventRecord(node="S", monotonic_s=0.0, event=Captured(frame="f", size_bytes=10)))
        progress.event(EventRecord(node="G", monotonic_s=0.0, time_s=11.5, event=answered("f")))
        progress.tick(12.0)
    text = terminal.getvalue()
    assert text.index("last answers") < text.index("11.50 s  f by ground: 'two', confidence 0.50")


def test_a_pipe_gets_plain_lines() -> None:
    pipe = io.StringIO()
    progress = TerminalProgress(Console(file=pipe, width=80))
    with progress.shown(1):
        progress.step("starting")
        progress.event(EventRecord(node="G", monotonic_s=0.0, time_s=11.5, event=answered("f")))
        progress.tick(12.0)
    assert pipe.getvalue() == "starting\n  11.50 s  ground: f answered by ground: 'two'\n"
