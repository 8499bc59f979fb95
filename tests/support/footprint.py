"""What a run could leave behind on a machine: looked for after it, among what that run alone can have made.

Other runs may go on beside a test, so processes are known by a mark in their environment, which every
child inherits, and temporary files by a folder of their own.  What stands in the machine's own network
namespace is compared before and after.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from testbed.run import sockets as socket_folder


class Footprint:
    """Context manager; start the run with `environment`, then ask `left_behind()`."""

    def __init__(self) -> None:
        self._mark = f"SPACEVERSE_FOOTPRINT={uuid.uuid4().hex}"
        self._folder = tempfile.TemporaryDirectory(prefix="fp")
        self._before = _machine()

    @property
    def mark_name(self) -> str:
        """Of the variable in `environment` that marks its processes."""
        return self._mark.partition("=")[0]

    @property
    def environment(self) -> dict[str, str]:
        """For the process under test."""
        name, value = self._mark.split("=")
        return {**os.environ, name: value, "TMPDIR": self._folder.name}

    def left_behind(self, patience_s: float = 3.0) -> dict[str, object]:
        """What is there and should not be, given a moment for the kernel to finish; empty if all is well."""
        deadline_s = time.monotonic() + patience_s
        while True:
            left: dict[str, object] = {
                "processes": self._processes(),
                "temporary files": sorted(p.name for p in Path(self._folder.name).glob("spaceverse*")),
                "machine": sorted(_machine() - self._before),
            }
            left = {what: found for what, found in left.items() if found}
            if not left or time.monotonic() > deadline_s:
                return left
            time.sleep(0.1)

    def _processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def __enter__(self) -> Footprint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


def _machine() -> set[str]:
    """Interfaces, named namespaces, sockets, firewall rules and bridge settings of the machine itself."""
    found = {f"interface {p.name}" for p in Path("/sys/class/net").iterdir()}
    found |= {f"namespace {p.name}" for p in Path("/run/netns").glob("*")}
    found |= {f"sockets {path}" for path in socket_folder.left_behind()}
    for command in ("iptables-legacy-save", "iptables-nft-save"):
        shown = subprocess.run([command], capture_output=True, text=True, check=False).stdout
        found |= {f"rule {line}" for line in shown.splitlines() if line.startswith("-A")}
    for setting in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
        if setting.read_text().strip() == "1":
            found.add(f"setting {setting.name}")
    return found
