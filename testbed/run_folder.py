"""The folder of one run: everything that is needed to believe its results, or to repeat it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any


class RunFolder:
    """`runs/<time>-<scenario>/` and the names of what lies in it.

    scenario.json  traces/  events.jsonl  fidelity.json  results.json  report.html  logs/  kept/
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []  # parents that did not exist before
        self.traces = path / "traces"
        self.logs = path / "logs"
        self.nodes = path / "nodes"
        self.kept = path / "kept"
        self.events = path / "events.jsonl"
        self.scenario = path / "scenario.json"
        self.fidelity = path / "fidelity.json"
        self.results = path / "results.json"
        self.report = path / "report.html"

    @classmethod
    def create(cls, parent: Path, scenario_name: str) -> RunFolder:
        """Make a new folder; a second run within the same second gets a number."""
        made = [p for p in (parent, *parent.parents) if not p.exists()]
        stamp = time.strftime("%Y%m%dT%H%M%S")
        for attempt in range(1000):
            suffix = f".{attempt}" if attempt else ""
            path = parent / f"{stamp}-{scenario_name}{suffix}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            folder = cls(path)
            folder._made = made
            for sub in (folder.traces, folder.logs, folder.nodes):
                sub.mkdir()
            return folder
        raise FileExistsError(f"{parent} has a thousand runs of this second")

    def write_json(self, path: Path, value: Any) -> None:
        """Write whole or not at all."""
        self.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write whole or not at all."""
        part = path.with_name(path.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)

    def hand_over(self) -> None:
        """Give everything to the user who called sudo, so that a run's folder is theirs to delete."""
        uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if os.geteuid() != 0 or uid is None or gid is None:
            return
        for path in (*self._made, self.path, *self.path.rglob("*")):
            with contextlib.suppress(OSError):
                os.chown(path, int(uid), int(gid), follow_symlinks=False)
