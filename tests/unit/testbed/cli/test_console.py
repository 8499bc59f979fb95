"""Tables fit 80 columns on a terminal, are whole in a pipe, and have no colour where NO_COLOR says so."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from testbed.cli.terminal.console import console
from testbed.evaluation.table import results_table as evaluation_table
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.table import results_table
from testbed.results.verdict import Ending
from tests.support import ROOT

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PASSES = ["trace", "passes", "--satellite", "FLOCK 2P-1", "--station", "Svalbard", "--duration", "6h"]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """Run the command in a pseudo-terminal; return what it printed there."""
    leader, follower = pty.openpty()
    plain = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    program = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**plain, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    printed = b""
    try:
        while block := os.read(leader, 65536):
            printed += block
    except OSError:  # the other end is closed
        pass
    program.wait(60)
    os.close(leader)
    return _ESCAPE.sub("", printed.decode()).replace("\r\n", "\n")


def test_a_pipe_gets_a_line_per_row_and_no_colours() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli", *PASSES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stdout
    heading, *rows = done.stdout.splitlines()
    assert "satellite" in heading
    assert rows
    assert all(row.startswith("FLOCK 2P-1") for row in rows)


def test_a_table_fits_80_columns() -> None:
    printed = on_a_terminal(PASSES, COLUMNS="80", NO_COLOR="1")
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    assert re.search(r"2018-01-20 \d\d:\d\d:\d\d", printed)


def test_no_color_turns_colours_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        console().print("text", style="red")
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in printed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed() == "text\n"


def printed_at_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], table) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = console()
    assert terminal.width == 80
    terminal.print(table(terminal.width))
    return capsys.readouterr().out


def test_the_results_of_a_run_fit_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = FrameResult(
        "e0001", "S", "How many ships are on the water?", "two", "two", 0.0, "two", "ground", 0.75, None,
        1234567, None, None,
    )  # fmt: skip
    results = Results("a test", "recording", (frame,), (), 1.0)
    printed = printed_at_80_columns(monkeypatch, capsys, lambda width: results_table(results, width))
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    assert "1234567" in printed
    for heading in ("prompt", "answer", "conf", "bytes", "total", "ground"):
        assert heading in printed


def test_verdict_causes_and_warnings_of_a_run_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    trouble = "outbox: " + "a long path " * 30 + "end"
    frame = FrameResult("f", "S", "?", "two", "two", 0.0, "two", "ground", 0.75, None, 0, None, None)
    ending, troubles = Ending(trouble, 1), (f"S: {trouble}",)
    results = Results("a test", "recording", (frame,), (), 1.0, troubles=troubles, ending=ending)
    terminal = console()
    terminal.print(results_table(results, terminal.width))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [results.verdict.headline, f"  {trouble}", f"WARNING: S: {trouble}"]


def test_the_results_of_an_evaluation_fit_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6}
    policy = {
        "accuracy": share, "timely_accuracy": share, "latency_mean_s": 100.0, "latency_median_s": 100.0,
        "latency_p95_s": 1000.0, "unanswered": 100, "bytes_per_frame": 1e5, "onboard_inference_s": 1.0,
        "share_on_board": 1.0, "bytes_per_prompt": 1e4, "latency_beyond_wait_mean_s": 50.0,
        "contact_rule": True,
    }  # fmt: skip
    difference = {"value": -0.25, "low": -0.5, "high": 0.1}
    against = {
        "n": 548, "timely_accuracy": difference, "accuracy": difference, "latency_s": difference,
        "bytes_ratio": None,
    }  # fmt: skip
    calibration = dict.fromkeys(("auroc", "auroc_less_tokens", "auroc_within_kinds", "ece"), share)
    case = {
        "name": "at most 2 Mbit/s", "load": 1.4, "policies": {"spaceverse-without-later-stages": policy},
        "same_rows": [["cascade", "two-threshold"]],
        "paired": {"spaceverse": {"spaceverse-without-later-stages": against}}, "headline": None,
    }  # fmt: skip
    results = {
        "cases": [case], "pairs": 1, "frames": 1, "places": 1, "answer_within_s": 600.0,
        "chosen": {"goal": {"of": "floor"}}, "pairs_chosen_on": 1, "target": "correctness",
        "test": {"calibration": {"token probability": {"n": 1, **calibration}}},
    }  # fmt: skip
    printed = printed_at_80_columns(monkeypatch, capsys, lambda width: evaluation_table(results, width))
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    assert printed.count("spaceverse-without-later-stages") == 4
    assert "cascade, two-threshold: same outcome for every prompt" in printed
    assert "-25.0" in printed
    assert "50.0 (40.0 to 60.0)" in printed


def test_the_doctor_fits_80_columns(tmp_path: Path) -> None:
    printed = on_a_terminal(["doctor"], COLUMNS="80", NO_COLOR="1")
    table = printed.split("fix with")[0]
    assert "capability" in table
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize("width", [80, 60, 40])
def test_no_character_of_a_table_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    headings = ["", "requested", "measured", "error", "bound", "n", "delay ms down", "delay ms up"]
    cells = [
        "FLOCK 2P-1 over Svalbard",
        "123456789.123 ms",
        *["1234.567 Mbit/s"] * 3,
        "1000000",
        *["4.52 to 12.34"] * 2,
    ]
    for options in ({"no_wrap": True}, {"no_wrap": True, "min_width": 20}, {}):
        table = Table(title="a title that is not short", box=SIMPLE, padding=(0, 1, 0, 0))
        for heading in headings:
            table.add_column(heading, **options)  # type: ignore[arg-type]
        table.add_row(*cells)
        monkeypatch.setenv("COLUMNS", str(width))
        console().print(Group(Text("before"), table))
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= width
        assert "…" not in printed
        wanted = Counter("".join([*headings, *cells]).replace(" ", ""))
        assert not wanted - Counter(printed)


CONTACTS = [
    {"aos_s": 12345.678, "los_s": 123456.789, "duration_s": 111111.1, "down_mean_bit_s": 123.4e6,
     "down_peak_bit_s": 1234e6, "up_mean_bit_s": 123.4e3, "down_bytes": 1e12,
     "downlink_up_s": 1e5, "uplink_up_s": 1e4,
     "down_delay_least_s": 0.01, "down_delay_most_s": 0.1, "up_delay_least_s": 0.01, "up_delay_most_s": 0.1}
]  # fmt: skip


def test_the_contacts_of_a_trace_with_two_delays_fit_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    from testbed.cli.trace import info

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    info._print_contacts(CONTACTS, symmetric=False)
    printed = _ESCAPE.sub("", terminal.getvalue())
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed
    assert not Counter(
        "12345.678123456.789111111.1123.4(1234)0.123410.00to100.0010.00to100.001e+06"
    ) - Counter(printed)


@pytest.mark.parametrize("arguments", [["doctor"], PASSES], ids=["doctor", "passes"])
def test_a_piped_table_is_that_of_a_wide_terminal(arguments: list[str]) -> None:
    line = [sys.executable, "-m", "testbed.cli", *arguments]
    plain = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    piped = subprocess.run(line, cwd=ROOT, env=plain, capture_output=True, text=True, check=False).stdout
    shown = on_a_terminal(arguments, COLUMNS="180", NO_COLOR="1")

    def words(text: str) -> list[str]:
        return [word for word in text.split() if not word[0].isdigit()]  # such as free memory

    assert words(piped) == words(shown)
