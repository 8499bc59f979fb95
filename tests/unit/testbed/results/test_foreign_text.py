"""Foreign text (answers, prompts, commands, names) is printed unchanged, including brackets."""

from __future__ import annotations

import io
import sys
from datetime import datetime, timezone

import numpy as np
import pytest

from testbed.cli.terminal.console import console
from testbed.cli.trace.table import print_table
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.table import results_table
from testbed.run.progress import TerminalProgress
from tests.support.records import answered, record
from traces.trace import Trace, TraceHeader

FOREIGN = ["[/INST] yes", "[yes]", "[bold]no", ":smile:", "sed s/[/]/x/"]


class Terminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", FOREIGN)
def test_an_answer_is_told_while_the_run_goes_on(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    TerminalProgress(console()).event(record("G", answered(text), time_s=1.0))
    assert repr(text) in capsys.readouterr().out


@pytest.mark.parametrize("text", FOREIGN)
def test_prompt_answer_and_truth_stand_in_the_table(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    frame = FrameResult("f", "S", text, text, text, 0.0, text, "ground", None, None, 0, None, None)
    console().print(results_table(Results("a test", "recording", (frame,), (), 1.0), 180))
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ f "))
    assert row.count(text) == 3


def test_a_link_keeps_its_name_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    header, one = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test"), np.ones(1)
    trace = Trace(
        header, one * 0, one > 0, one > 0, one * 1e6, one * 1e6, *[one * 0.008] * 2, *[one * 0] * 2, 30.0
    )
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    progress = TerminalProgress(console())
    progress.playing({"SAT [b] - G": trace})
    with progress.shown(1):
        progress.tick(12.0)
    assert "SAT [b] - G" in terminal.getvalue()
    assert "down 1.00 Mbit/s" in terminal.getvalue()


def test_a_satellite_keeps_the_brackets_in_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("satellite", "n"), [("CUBE [b]", "1"), ("CUBE [/]", "2")])
    assert "CUBE [b]" in (out := capsys.readouterr().out)
    assert "CUBE [/]" in out
