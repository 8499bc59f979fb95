"""Supervision of real processes: restarts, the end of patience, bad input."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nodes.contract.board import GIVEN_UP
from nodes.contract.events import ProgramChanged
from testbed.errors import TestbedError
from testbed.network.programs import Program
from testbed.run.supervision import SupervisedNode
from tests.support.waiting import wait_for


class Node:
    """A supervised node whose program is a shell command."""

    def __init__(self, folder: Path, command: str, *, says_ready: bool = True) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.programs: list[Program] = []
        self.killed = False
        self._folder, self.command = folder, command
        self.supervised = SupervisedNode("S", self._start, self._tell, says_ready=says_ready)

    def _start(self) -> Program:
        program = Program("S", ["sh", "-c", self.command], log=self._folder / "log")
        self.programs.append(program)
        return program

    def _tell(self, event: ProgramChanged) -> None:
        self.told.append((event.state, event.reason))
        self.killed |= event.killed

    def look_until_started_again(self, times: int) -> None:
        wait_for(lambda: len(self.programs) > times, "restart", meanwhile=self.look)

    def look(self) -> None:
        self.supervised.look(started=True)


def test_a_killed_program_is_started_again_and_said_to_be_back_once_it_is_ready(tmp_path: Path) -> None:
    node = Node(tmp_path, "exec sleep 60")
    node.programs[0].process.send_signal(signal.SIGKILL)
    node.look_until_started_again(1)
    assert node.told == [("lost", "its program was killed by SIGKILL")] and node.killed
    assert node.supervised.given_up is None
    node.supervised.is_ready()
    node.supervised.is_ready()
    assert node.told[1:] == [("ready", None)]
    node.supervised.stop()
    assert node.programs[1].process.returncode is not None


def test_a_program_that_says_nothing_is_back_as_soon_as_it_is_started(tmp_path: Path) -> None:
    node = Node(tmp_path, "exec sleep 60", says_ready=False)
    node.programs[0].process.send_signal(signal.SIGKILL)
    node.look_until_started_again(1)
    assert [state for state, _ in node.told] == ["lost", "ready"] and not node.killed
    node.supervised.stop()


def test_a_program_that_dies_again_and_again_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.contract.board.PAUSE_S", 0.01)
    node = Node(tmp_path, "echo out of memory; exit 1")
    wait_for(lambda: node.supervised.given_up is not None, "end of patience", meanwhile=node.look)
    assert len(node.programs) == 4 and not node.killed, "it had the time to send its events"
    assert [state for state, _ in node.told] == ["lost", "given up"]
    assert node.supervised.given_up == (
        f"its program ended with exit code 1: out of memory (log: {tmp_path}/log); {GIVEN_UP}"
    )
    node.look()
    assert len(node.programs) == 4


def test_a_program_that_cannot_be_started_counts_as_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.contract.board.PAUSE_S", 0.01)
    node = Node(tmp_path, "exit 1")
    node.programs[0].process.wait()
    (tmp_path / "log").unlink()
    (tmp_path / "log").mkdir()  # so that no log can be opened
    wait_for(lambda: node.supervised.given_up is not None, "end of patience", meanwhile=node.look)
    assert node.supervised.given_up is not None
    assert (
        "could not be started" in node.supervised.given_up
        and str(tmp_path / "log") in node.supervised.given_up
    )


def test_before_the_start_bad_input_is_an_error_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path, "echo S: no such model; exit 2")
    node.programs[0].process.wait()
    with pytest.raises(TestbedError, match="no such model") as raised:
        node.supervised.look(started=False)
    assert raised.value.exit_code == 2


def test_a_node_that_is_lost_on_purpose_is_not_started_again(tmp_path: Path) -> None:
    node = Node(tmp_path, "exec sleep 60")
    node.supervised.lose("its broker is gone")
    node.look()
    assert node.told == [("given up", "its broker is gone")]
    assert len(node.programs) == 1 and node.programs[0].process.returncode is not None


def test_a_paused_program_is_killed_and_starts_again_only_when_it_is_resumed(tmp_path: Path) -> None:
    node = Node(tmp_path, "trap '' TERM; exec sleep 60")
    node.supervised.resume()  # it is not paused
    node.supervised.pause("fault: satellite lost")
    node.supervised.pause("again")
    assert node.programs[0].process.returncode == -signal.SIGKILL
    node.supervised.is_ready()  # its last word, which came late
    for _ in range(3):
        node.look()
    assert len(node.programs) == 1 and node.told == [("lost", "fault: satellite lost")]
    node.supervised.resume()
    node.look()
    assert len(node.programs) == 2
    node.supervised.is_ready()
    assert node.told[1:] == [("ready", None)]
    node.supervised.stop()
