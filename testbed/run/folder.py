"""The folder of a run: everything that is needed to check its results or to repeat it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically
from testbed.errors import InputError, TestbedError

PARTS = ("traces", "logs", "nodes")


class RunFolder:
    """The folder `runs/<time>-<scenario>/` and the names of its files.

    scenario.json  traces/  events.jsonl  fidelity.json  results.json  report.html  logs/  kept/
    and of a replay: replay.csv  replay.png
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
        self.timeline = path / "replay.csv"
        self.plot = path / "replay.png"
        self.report = path / "report.html"

    @classmethod
    @contextmanager
    def new(cls, parent: Path, name: str, parts: Sequence[str] = PARTS) -> Iterator[RunFolder]:
        """Create a folder for the body, and hand it over to the user who called sudo.

        An error with exit code 2 removes the folder again, unless a program has logged something or there are
        results.

        Args:
            parent: folder in which the new folder is created.
            name: name of the scenario.
            parts: subfolders to create.

        Raises:
            InputError: the folder cannot be created.
        """
        folder = cls.create(parent, name, parts)
        try:
            yield folder
        except Exception as error:
            if getattr(error, "exit_code", None) == 2 and not folder.begun():
                folder.remove()
            raise
        finally:
            folder.hand_over()

    @classmethod
    def create(cls, parent: Path, name: str, parts: Sequence[str] = PARTS) -> RunFolder:
        """Create a folder with subfolders `parts`; a second run within the same second gets a number.

        Raises:
            InputError: the folder cannot be created.
        """
        stamp = time.strftime("%Y%m%dT%H%M%S")
        for attempt in range(1000):
            suffix = f".{attempt}" if attempt else ""
            folder = cls(parent / f"{stamp}-{name}{suffix}")
            try:
                folder._made = [p for p in (parent, *parent.parents) if not p.exists()]
                parent.mkdir(parents=True, exist_ok=True)
                folder.path.mkdir(mode=0o700)  # what a run keeps may be private; its owner may share it
                for part in parts:
                    (folder.path / part).mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(
                    f"cannot create {folder.path}: {error.strerror}; choose another --output"
                ) from error
            return folder
        raise InputError(f"{parent} already has a thousand runs of this second; choose another --output")

    def begun(self) -> bool:
        """Return whether a program has logged something, or there are results."""
        logs = self.logs.glob("*") if self.logs.is_dir() else ()
        return self.results.exists() or any(log.stat().st_size for log in logs)

    def remove(self) -> None:
        """Remove the folder, and the parents that were created for it."""
        shutil.rmtree(self.path)
        for parent in self._made:
            with contextlib.suppress(OSError):  # another program has put something there
                parent.rmdir()

    def write_json(self, path: Path, value: Any) -> None:
        """Write whole or not at all."""
        self.write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_whole(self, path: Path, content: str | bytes) -> None:
        """Write whole or not at all.

        Raises:
            TestbedError: the file cannot be written.
        """
        try:
            write_atomically(path, content)
        except OSError as error:
            raise TestbedError(f"cannot write {path}: {error.strerror}") from error

    def hand_over(self) -> None:
        """Make the user who called sudo the owner of the folder."""
        uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if os.geteuid() != 0 or uid is None or gid is None:
            return
        for path in (*self._made, self.path, *(self.path.rglob("*") if self.path.is_dir() else ())):
            with contextlib.suppress(OSError):
                os.chown(path, int(uid), int(gid), follow_symlinks=False)
