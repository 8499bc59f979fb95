"""Starts and ends programs in hosts, by process id and never by name."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from nodes.contract.files import tail
from testbed.errors import TestbedError
from testbed.forks.forks import ForkedProcess

_LOG = logging.getLogger(__name__)

Process: TypeAlias = "subprocess.Popen[Any] | ForkedProcess"
Start: TypeAlias = Callable[[Sequence[str], BinaryIO], Process]

# The kernel kills the program when the thread that started it ends, so that a run that was killed
# with SIGKILL leaves none behind.  setpriv (util-linux), since preexec_fn is unsafe beside threads.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
ENDS_WITHIN_S = 2.0
EXIT_USAGE = 2
LOG_TAIL_BYTES = 8192


def in_network_of(pid: int) -> list[str]:
    """Return the words before a command that run it in the namespaces of a process, a host's shell."""
    return ["mnexec", "-a", str(pid)]


def spawn(command: Sequence[str], *, netns_pid: int | None = None, **options: Any) -> subprocess.Popen[Any]:
    """Start a process that cannot outlive the calling thread, in a session of its own.

    The session keeps a Ctrl-C that is meant for the run from reaching the process.

    Args:
        command: program and arguments.
        netns_pid: process id whose network namespace it joins (a Mininet host's shell), or None.
        options: for subprocess.Popen.
    """
    prefix = in_network_of(netns_pid) if netns_pid is not None else []
    process = subprocess.Popen([*DIE_WITH_PARENT, *prefix, *command], start_new_session=True, **options)
    _LOG.debug("process %d started: %s", process.pid, shlex.join([*prefix, *command]))
    return process


def exit_code(process: Process) -> int | None:
    """Return a process's exit code if it has ended, without reaping it.

    Unlike `poll`, this keeps its process id and its group's from being reused.
    """
    if process.returncode is not None:
        return process.returncode
    if isinstance(process, ForkedProcess):
        return process.exit_code()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def ask_session_to_end(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal to a process made by `spawn` and to its session, and do not wait."""
    if exit_code(process) is not None:
        return
    with suppress(ProcessLookupError):  # the process that had forked it was killed, and it with that
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def end_session(process: Process, first: signal.Signals = signal.SIGTERM) -> None:
    """End a process and its whole session, and reap it. May be called twice.

    Args:
        process: made by `spawn`.
        first: the signal that it gets first; SIGTERM and SIGKILL follow.
    """
    if process.returncode is not None:  # reaped: its process id and its group's may have been reused
        return
    for number, patience_s in ((first, ENDS_WITHIN_S), (signal.SIGTERM, 1.0)):
        if exit_code(process) is not None:
            break
        ask_session_to_end(process, number)
        give_up_s = time.monotonic() + patience_s
        while exit_code(process) is None and time.monotonic() < give_up_s:
            time.sleep(0.01)
    # Also what the shell left in the background: it shares its session, and would keep the namespace.
    with suppress(ProcessLookupError):  # no leader: the interactive shell, in our own group
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


class Program:
    """One process of the run, with its log.

    Args:
        name: for messages and the log's name.
        command: program and arguments.
        log: file for what it prints.
        netns_pid: process id whose network namespace it joins (a Mininet host's shell), or None.
        start: starts it, given the command and its log; by default `spawn` does.
    """

    process: Process

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        netns_pid: int | None = None,
        start: Start | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as log_file:
            if start is not None:
                self.process = start(command, log_file)
            else:
                self.process = spawn(
                    command, netns_pid=netns_pid, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file
                )

    def check(self, *, started: bool) -> None:
        """Raise TestbedError with its last line if it has ended.

        Args:
            started: whether the run has started. A program that ends with exit code 2 before that has got
                invalid input: then the error's exit code is 2 as well.
        """
        if (ending := self.ending()) is not None:
            error = TestbedError(f"{self.name} {ending}")
            error.exit_code = 2 if exit_code(self.process) == EXIT_USAGE and not started else 1
            raise error

    def ending(self) -> str | None:
        """Return how it has ended, with the last line of its log; None while it runs."""
        code = exit_code(self.process)
        if code is None:
            return None
        if code < 0:
            names = {number.value: number.name for number in signal.Signals}
            return f"was killed by {names.get(-code, f'signal {-code}')}"
        return f"ended with exit code {code}: {self.last_line()} (log: {self.log})"

    def last_line(self) -> str:
        """Return the last non-empty line of its log."""
        try:
            lines = tail(self.log, LOG_TAIL_BYTES).decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f"its log cannot be read: {error.strerror}"
        return lines[-1] if lines else "it printed nothing"

    def stop(self, patience_s: float = 3.0) -> None:
        """Send SIGTERM, and SIGKILL to its whole session after `patience_s`. May be called twice."""
        self.ask_to_stop()
        deadline = time.monotonic() + patience_s
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def kill(self) -> None:
        """End it at once, with SIGKILL to its whole session, as a loss of power does."""
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait, so that several programs can end side by side."""
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        # The child is its session's and group's leader, and not yet reaped: the id cannot be anybody else's,
        # unless the process that had forked it was killed this very moment, and it with that.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
