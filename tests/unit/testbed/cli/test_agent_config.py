"""The configuration of a board's agent holds a password: only its owner can read the file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.main import main
from tests.support import ROOT

# A machine without a network has no route to a board.
WITH_A_ROUTE = """
import sys
from testbed.boards import agent_access
from testbed.cli.main import main
agent_access.own_address = lambda board: "192.0.2.1"
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("SPACEVERSE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("testbed.boards.agent_access.own_address", lambda board: "192.0.2.1")
    (tmp_path / "boards.toml").write_text(
        '[boards.a]\nmanagement = "127.0.0.1"\nattach = { kind = "nic", interface = "eth1" }\n'
    )
    return ["board", "agent-config", "a", "--boards", str(tmp_path / "boards.toml")]


def test_a_file_is_private_from_the_start(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "agent.json"
    target.write_text("old")
    target.chmod(0o644)
    assert main([*line, "-o", str(target)]) == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    password = json.loads(target.read_text())["management"]["access"]["password"]
    assert password not in capsys.readouterr().out


def test_a_file_of_the_shell_becomes_private_with_a_warning(line: list[str], tmp_path: Path) -> None:
    target = tmp_path / "agent.json"
    command = [sys.executable, "-c", WITH_A_ROUTE, *line]
    with target.open("w") as out:
        target.chmod(0o644)
        done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True, check=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (
        done.stderr
        == "spaceverse: warning: the output has a password: only its owner can read the file now\n"
    )
    assert json.loads(target.read_text())["board"] == "a"


def test_a_pipe_gets_the_configuration_without_a_warning(line: list[str]) -> None:
    command = [sys.executable, "-c", WITH_A_ROUTE, *line]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    assert (json.loads(done.stdout)["board"], done.stderr) == ("a", "")
