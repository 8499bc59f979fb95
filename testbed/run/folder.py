"""The folder of one run: everything that is needed to believe its results, or to repeat it."""

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
from testbed.errors import InputError

PARTS = ("traces", "logs", "nodes")


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
    @contextmanager
    def new(cls, parent: Path, name: str, parts: Sequence[str] = PARTS) -> Iterator[RunFolder]:
        """A new folder, handed over after the block; gone again if the block raises what has exit code 2.

        But once a program has logged something, or there are results, all is kept. Raises as `create`.
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
        """Make a new folder, and `parts` in it; a second run within the same second gets a number.

        Raises InputError: it cannot be made there.
        """
        stamp = time.strftime("%Y%m%dT%H%M%S")
        for attempt in range(1000):
            suffix = f".{attempt}" if attempt else ""
            folder = cls(parent / f"{stamp}-{name}{suffix}")
            try:
                folder._made = [p for p in (parent, *parent.parents) if not p.exists()]
                folder.path.mkdir(parents=True)
                for part in parts:
                    (folder.path / part).mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(
                    f"cannot make {folder.path}: {error.strerror}; choose another --output"
                ) from error
            return folder
        raise InputError(f"{parent} has a thousand runs of this second; choose another --output")

    def begun(self) -> bool:
        """Whether a program has logged something, or there are results."""
        logs = self.logs.glob("*") if self.logs.is_dir() else ()
        return self.results.exists() or any(log.stat().st_size for log in logs)

    def remove(self) -> None:
        """Take it away, and the parents that were made for it."""
        shutil.rmtree(self.path)
        for parent in self._made:
            with contextlib.suppress(OSError):  # somebody else has put something there
                parent.rmdir()

    def write_json(self, path: Path, value: Any) -> None:
        """Write whole or not at all."""
        self.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write whole or not at all."""
        write_atomically(path, text)

    def hand_over(self) -> None:
        """Give everything to the user who called sudo, so that a run's folder is theirs to delete."""
        uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if os.geteuid() != 0 or uid is None or gid is None:
            return
        for path in (*self._made, self.path, *(self.path.rglob("*") if self.path.is_dir() else ())):
            with contextlib.suppress(OSError):
                os.chown(path, int(uid), int(gid), follow_symlinks=False)
