"""`spaceverse ask` behaves as the program that it runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nodes.ask import parser

COMMAND = [sys.executable, "-m", "testbed.cli", "ask"]


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment
    )


def test_help_is_that_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for option in ("--help", "-h"):
        shown = ask(option)
        assert shown.returncode == 0
        assert shown.stdout == parser("spaceverse ask").format_help()
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_errors_are_one_line_with_the_programs_exit_code(tmp_path: Path) -> None:
    for arguments, expected in (
        (["model", str(tmp_path / "none.png"), "?"], "no image"),
        (["--json", "model", str(tmp_path / "none.png"), "?"], "no image"),
        (["--", "model", str(tmp_path / "none.png"), "--json"], "no image"),
        (["--tokens", "0", "model", "image", "?"], "--tokens: Input should be greater than or equal to 1"),
        (["model"], "required: IMAGE, PROMPT"),
        (["model", "image", "?", "--none"], "unrecognized arguments: --none"),
    ):
        refused = ask(*arguments)
        assert refused.returncode == 2
        assert expected in refused.stderr.splitlines()[-1]
        assert "spaceverse ask: error" in refused.stderr or refused.stderr.startswith("spaceverse: error: ")


@pytest.mark.parametrize("by_terminal", [True, False])
def test_ctrl_c_ends_both_processes_without_a_traceback(tmp_path: Path, by_terminal: bool) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "frame.png")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        server = f"openai:http://127.0.0.1:{silent.getsockname()[1]}/v1#m"
        with subprocess.Popen(
            [*COMMAND, server, str(tmp_path / "frame.png"), "?"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as command:
            connection, _ = silent.accept()
            with connection:
                if by_terminal:
                    os.killpg(command.pid, signal.SIGINT)
                else:
                    command.send_signal(signal.SIGINT)
                _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    assert errors == "spaceverse: stopped\n"


def test_sigterm_ends_the_program_too(tmp_path: Path) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "frame.png")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        server = f"openai:http://127.0.0.1:{silent.getsockname()[1]}/v1#m"
        with subprocess.Popen([*COMMAND, server, str(tmp_path / "frame.png"), "?"]) as command:
            connection, _ = silent.accept()
            with connection:
                command.terminate()
                assert command.wait(60) == 128 + signal.SIGTERM
                connection.settimeout(60)
                while connection.recv(1 << 16):
                    pass  # until the program has closed its end
