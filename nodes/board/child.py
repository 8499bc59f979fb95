"""A node as a child process of the agent, which ends with the agent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from nodes.contract.config import ConfigError
from nodes.contract.files import tail

PATIENCE_S = 3.0
LONGEST_LINE = 500
LOG_TAIL_BYTES = 8192


class Child:
    """A node's process in a separate session; create it in the agent's main thread.

    With setpriv (util-linux) the kernel kills the process when the thread that started it ends, so that no
    node runs without an agent that can stop it.

    Args:
        role: "satellite" or "ground".
        config: configuration file of the node.
        log: file to which the node's output is appended.

    Raises:
        ConfigError: setpriv is missing.
    """

    def __init__(self, role: str, config: Path, log: Path) -> None:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ConfigError("setpriv is missing; run: apt-get install util-linux")
        self._log = log
        command = [
            setpriv,
            "--pdeathsig",
            "KILL",
            sys.executable,
            "-m",
            f"nodes.{role}",
            "--config",
            str(config),
        ]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        self.pid = self._process.pid

    def status(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._process.poll()

    def stop(self) -> int:
        """Send SIGTERM, after PATIENCE_S SIGKILL to the whole session; return the exit status."""
        self._signal(signal.SIGTERM)
        until_s = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        return self._process.wait()

    def last_line(self) -> str:
        """Return the last line of the node's output, or the signal that killed it."""
        if (status := self.status()) is not None and status < 0:
            return f"killed by signal {-status}"
        try:
            lines = tail(self._log, LOG_TAIL_BYTES).decode(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1][:LONGEST_LINE] if lines else "no output"

    def _signal(self, number: int) -> None:
        # The process is not reaped yet, so no other group can have its id.
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
