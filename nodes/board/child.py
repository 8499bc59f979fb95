"""A node as the agent's child: it cannot outlive the agent, and what it last said is known."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from nodes.contract.config import ConfigError

PATIENCE_S = 3.0
LONGEST_LINE = 500


class Child:
    """A node's process, in a session of its own; to be made in the agent's main thread.

    setpriv (util-linux) has the kernel kill it when the thread that started it ends: so a node never goes on
    without an agent that would stop it. Raises ConfigError where setpriv is missing.

    Args:
        role: "satellite" or "ground".
        config: its configuration file.
        log: what it prints goes there.
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
        """Its exit status; None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL to its session after PATIENCE_S; returns the exit status."""
        self._signal(signal.SIGTERM)
        until_s = time.monotonic() + PATIENCE_S
        while self._process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        return self._process.wait()

    def last_line(self) -> str:
        """What it printed last."""
        try:
            lines = self._log.read_bytes()[-8192:].decode(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1][:LONGEST_LINE] if lines else "it printed nothing"

    def _signal(self, number: int) -> None:
        # Its own group, and not yet reaped: the id cannot be anybody else's.
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
