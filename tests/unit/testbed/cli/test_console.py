"""Tables fit 80 columns on a terminal, are whole in a pipe, and have no colour where NO_COLOR says so."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.terminal.console import console
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


def test_the_doctor_fits_80_columns(tmp_path: Path) -> None:
    printed = on_a_terminal(["doctor"], COLUMNS="80", NO_COLOR="1")
    table = printed.split("fix with")[0]
    assert "capability" in table
    assert max(map(len, table.splitlines())) <= 80
