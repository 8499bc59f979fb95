"""Search for what a run leaves behind on a machine.

Other runs may be active at the same time. The processes of a run are therefore identified by a mark in their
environment, which every child inherits, and its temporary files by a separate folder. The state of the
machine's own network namespace is compared before and after the run.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from testbed.run import own_folders


class Footprint:
    """Context manager: start the run with `environment`, then check `left_behind()`."""

    def __init__(self) -> None:
        self._mark = f"SPACEVERSE_FOOTPRINT={uuid.uuid4().hex}"
        self._folder = tempfile.TemporaryDirectory(prefix="fp")
        self._before = _machine()

    @property
    def mark_name(self) -> str:
        """Name of the variable in `environment` that marks the processes."""
        return self._mark.partition("=")[0]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the process under test."""
        name, value = self._mark.split("=")
        return {**os.environ, name: value, "TMPDIR": self._folder.name}

    def left_behind(self, patience_s: float = 3.0) -> dict[str, object]:
        """Return the remains of the run, after waiting for the kernel to finish; empty if there are none."""
        deadline_s = time.monotonic() + patience_s
        while True:
            left: dict[str, object] = {
                "processes": self._processes(),
                "temporary files": sorted(p.name for p in Path(self._folder.name).glob("spaceverse*")),
                "machine": sorted(_machine() - self._before),
            }
            left = {kind: remains for kind, remains in left.items() if remains}
            if not left or time.monotonic() > deadline_s:
                return left
            time.sleep(0.1)

    def _processes(self) -> list[str]:
        commands = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    commands.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return commands

    def __enter__(self) -> Footprint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


def _machine() -> set[str]:
    """Return interfaces, named namespaces, sockets, firewall rules and bridge settings of the machine."""
    state = {f"interface {p.name}" for p in Path("/sys/class/net").iterdir()}
    state |= {f"namespace {p.name}" for p in Path("/run/netns").glob("*")}
    state |= {f"folder {path}" for path in own_folders.left_behind()}
    for command in ("iptables-legacy-save", "iptables-nft-save"):
        shown = subprocess.run([command], capture_output=True, text=True, check=False).stdout
        state |= {f"rule {line}" for line in shown.splitlines() if line.startswith("-A")}
    for setting in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
        if setting.read_text().strip() == "1":
            state.add(f"setting {setting.name}")
    return state
