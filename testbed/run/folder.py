"""The folder of a run: everything that is needed to check its results or to repeat it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically, write_in
from testbed.errors import InputError, TestbedError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PARTS = ("traces", "logs", "nodes")


class RunFolder:
    """The folder `runs/<time>-<scenario>/` and the names of its files.

    scenario.json  traces/  events.jsonl  fidelity.json  results.json  report.html  logs/  kept/
    and of a replay: replay.csv  replay.png

    Root writes to it, in a place where others may rename and replace it. It is therefore held open from its
    creation on: what this class writes, removes or hands over is the folder that it created, wherever it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[tuple[Path, os.stat_result]] = []  # parents that did not exist before
        self._descriptor: int | None = None
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
            folder.close()

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
                new = [p for p in (parent, *parent.parents) if not p.exists()]
                parent.mkdir(parents=True, exist_ok=True)
                folder._made = [(p, p.stat()) for p in new]
                folder.path.mkdir(mode=0o700)  # what a run keeps may be private; its owner may share it
                held = folder._hold()
                for part in parts:
                    os.mkdir(part, dir_fd=held)
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
        held = self.path if self._descriptor is None else Path(f"/proc/self/fd/{self._descriptor}")
        logs = held / self.logs.name
        written = logs.glob("*") if logs.is_dir() else ()
        return (held / self.results.name).exists() or any(log.lstat().st_size for log in written)

    def check_place(self) -> None:
        """Check that the folder's path still leads to it.

        Raises:
            TestbedError: the folder was moved, removed or replaced.
        """
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
                return
        raise TestbedError(
            f"{self.path} was moved, removed or replaced during the run: leave it in its place, and run again"
        )

    def remove(self) -> None:
        """Remove the folder, and the parents that were created for it."""
        for folder, folders, files in self._walk():
            for name in files:
                os.unlink(name, dir_fd=folder)
            for name in folders:
                try:
                    os.rmdir(name, dir_fd=folder)
                except NotADirectoryError:  # a link to a folder
                    os.unlink(name, dir_fd=folder)
        for path in (self.path, *(path for path, _ in self._made)):
            with contextlib.suppress(OSError):  # another program has put something there
                path.rmdir()

    def write_json(self, path: Path, value: Any) -> None:
        """Write whole or not at all."""
        self.write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_whole(self, path: Path, content: str | bytes) -> None:
        """Write whole or not at all.

        Raises:
            TestbedError: the file cannot be written.
        """
        try:
            if self._descriptor is not None and path.parent == self.path:
                write_in(self._descriptor, path.name, content)
            else:
                write_atomically(path, content)
        except OSError as error:
            raise TestbedError(f"cannot write {path}: {error.strerror}") from error

    def hand_over(self) -> None:
        """Make the user who called sudo the owner of the folder."""
        uid, gid = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
        if os.geteuid() != 0 or uid is None or gid is None:
            return
        owner = int(uid), int(gid)
        for folder, folders, files in self._walk():  # outermost last: new owners may replace what is inside
            for name in (*files, *folders):  # links among them
                with contextlib.suppress(OSError):
                    os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
            with contextlib.suppress(OSError):
                os.fchown(folder, *owner)
        for path, made in self._made:
            with contextlib.suppress(OSError):
                _hand_over_made(path, made, owner)

    def close(self) -> None:
        """Hold the folder no longer."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _hold(self) -> int:
        """Open the folder that was just created, and return its descriptor."""
        self._descriptor = os.open(self.path, _FOLDER)
        if os.fstat(self._descriptor).st_uid != os.geteuid() or any(os.scandir(self._descriptor)):
            self.close()
            raise OSError(errno.EEXIST, "somebody replaced it", str(self.path))
        return self._descriptor

    def _walk(self) -> Iterator[tuple[int, list[str], list[str]]]:
        """Yield (descriptor, names of folders, names of others) of each folder, the outermost last."""
        if self._descriptor is not None:
            for _, folders, files, descriptor in os.fwalk(".", topdown=False, dir_fd=self._descriptor):
                yield descriptor, folders, files


def _hand_over_made(path: Path, made: os.stat_result, owner: tuple[int, int]) -> None:
    """Hand over a parent, if it is the one that was made."""
    descriptor = os.open(path, _FOLDER)
    try:
        if os.path.samestat(os.fstat(descriptor), made):
            os.fchown(descriptor, *owner)
    finally:
        os.close(descriptor)
