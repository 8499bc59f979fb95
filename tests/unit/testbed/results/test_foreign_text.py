"""Foreign text (answers, prompts, commands, names) is printed unchanged, including brackets."""

from __future__ import annotations

import io
import json
import sys
import warnings
from datetime import datetime, timezone

import numpy as np
import pytest

from nodes.contract.events import FrameRefused
from nodes.contract.strict import as_shown
from testbed.cli.terminal.console import console
from testbed.cli.terminal.messages import guarded, say
from testbed.cli.trace.table import print_table
from testbed.errors import InputError
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.table import results_table
from testbed.results.verdict import Ending
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
    assert "LOS in 18 s" in terminal.getvalue()


def test_a_satellite_keeps_the_brackets_in_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("satellite", "n"), [("CUBE [b]", "1"), ("CUBE [/]", "2")])
    assert "CUBE [b]" in (out := capsys.readouterr().out)
    assert "CUBE [/]" in out


HOSTILE = ["\x1b[2J", "\x9b31m", "a\rb", "\x07", "\u202eabc", "\u2028", "\ud800", "\x1b]0;title\x07", "\x00"]


def controls(text: str) -> set[str]:
    """Return the signs of a text that are neither printable nor ends of lines."""
    return {sign for sign in text if not sign.isprintable() and sign != "\n"}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_controls_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    escaped = as_shown(text)
    assert escaped.isprintable() and escaped != text
    progress = TerminalProgress(console())
    progress.event(record("S", FrameRefused(frame="f", reason=text), time_s=1.0))
    assert f"refused: {escaped}" in capsys.readouterr().out.replace("\ufffd", escaped)
    progress.step(text)
    frame = FrameResult("f", "S", text, text, text, 0.0, text, "ground", None, None, 0, None, None, text)
    results = Results("s", "nfqueue", (frame,), (), 1.0, troubles=(text,), ending=Ending(text, 1))
    console().print(results_table(results, 180))
    print_table(("satellite", "n"), [(text, "1")])
    say(f"two\nlines {text}")
    assert guarded(lambda: _fail(text)) == 2
    printed = capsys.readouterr()
    assert not controls(printed.out) and not controls(printed.err)
    assert f"lines {escaped}" in printed.out
    assert f"spaceverse: error: {escaped}" in printed.err
    verdict = results.verdict
    assert escaped in verdict.headline and escaped in verdict.causes[0].reason
    assert escaped in results.warnings()[-1]
    assert json.loads(json.dumps(results.to_json()))["frames"][0]["answer"] == text, (
        "the file has it as it was"
    )


def _fail(text: str) -> int:
    warnings.warn(text, stacklevel=1)
    raise InputError(text)


def test_a_second_line_is_no_line_of_the_result() -> None:
    results = Results(
        "s", "nfqueue", (), (), 1.0, troubles=("a\nPASSED: 1 of 1",), ending=Ending("b\nPASSED", 1)
    )
    assert results.verdict.headline == r"FAILED: b\nPASSED"
    assert results.warnings() == [r"a\nPASSED: 1 of 1"]


@pytest.mark.parametrize("text", ["Tromsø 天宫 🛰\ufe0f", "क्\u200dष", "a\xa0b", "100 % °C …"])
def test_text_of_any_language_is_left_alone(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_shown(text) == text
    console().print(text)
    assert capsys.readouterr().out == f"{text}\n"
