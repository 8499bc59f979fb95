"""The folder of a run: everything that is needed to check its results or to repeat it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically, write_in
from testbed.errors import InputError, TestbedError
from testbed.machine.disk import disk_problem

OTHER_PLACES = ("/var/tmp", "/dev/shm")  # noqa: S108 - a new folder in one of them, where TMPDIR is full, too
OUTCOMES = ("events", "fidelity", "results", "timeline", "plot", "report")  # written at the end of a run
NEEDED_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PARTS = ("traces", "logs", "nodes")


class RunFolder:
    """The folder `runs/<time>-<scenario>/` and the names of its files.

    scenario.json  traces/  events.jsonl  fidelity.json  results.json  report.html  logs/  kept/  captures/
    and of a replay: replay.csv  replay.png

    Root writes to it, in a place where others may rename and replace it. It is therefore held open from its
    creation on: what this class writes, removes or hands over is the folder that it created, wherever it is.

    Attributes:
        elsewhere: where outcomes are if this folder could not take them; None as long as it can.
        trouble: the same with the reason, in one line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[tuple[Path, os.stat_result]] = []  # parents that did not exist before
        self._descriptor: int | None = None
        self.elsewhere: Path | None = None
        self.trouble: str | None = None
        self.traces = path / "traces"
        self.logs = path / "logs"
        self.nodes = path / "nodes"
        self.kept = path / "kept"
        self.captures = path / "captures"
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
        held = self._held()
        logs = held / self.logs.name
        written = logs.glob("*") if logs.is_dir() else ()
        return (held / self.results.name).exists() or any(log.lstat().st_size for log in written)

    def _held(self) -> Path:
        return self.path if self._descriptor is None else Path(f"/proc/self/fd/{self._descriptor}")

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
            self._write(path, content)
        except OSError as error:
            raise TestbedError(f"cannot write {disk_problem(path, error)}") from error

    def _write(self, path: Path, content: str | bytes) -> None:
        if self._descriptor is not None and path.parent == self.path:
            write_in(self._descriptor, path.name, content)
        else:
            write_atomically(path, content)

    def keep_json(self, path: Path, value: Any) -> None:
        """Write an outcome, as `keep`."""
        self.keep(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def keep(self, path: Path, content: str | bytes) -> None:
        """Write an outcome whole: elsewhere if this folder cannot take it, for what was measured is precious.

        A file above the limit of the process (ulimit -f) fits nowhere: `trouble` tells that it is missing.

        Args:
            path: one of the attributes of this folder, which leads to the file afterwards.
            content: the file's content.

        Raises:
            TestbedError: the file cannot be written anywhere.
        """
        try:
            self._write(path, content)
        except OSError as error:
            if error.errno == errno.EFBIG:
                self.trouble = self.trouble or f"{disk_problem(path, error)}; it was not written"
                return
            self._leave(path, error)
            self.write_whole(self._moved(path), content)

    def check_room(self) -> None:
        """See that the outcomes can be written here; else they go elsewhere, and `trouble` tells.

        Raises:
            TestbedError: they cannot be written anywhere.
        """
        if self.elsewhere is not None:
            return
        try:
            _try_to_write(self._held())
        except OSError as error:
            if error.errno != errno.EFBIG:
                self._leave(self.results, error)

    def _moved(self, path: Path) -> Path:
        return path if self.elsewhere is None else self.elsewhere / path.name

    def _leave(self, path: Path, error: OSError) -> None:
        """From now on, write outcomes to a new folder."""
        problem = disk_problem(path, error)
        if self.elsewhere is not None:
            raise TestbedError(f"cannot write {problem}") from error
        for parent in dict.fromkeys((tempfile.gettempdir(), *OTHER_PLACES)):
            made = None
            try:
                made = Path(tempfile.mkdtemp(prefix=f"spaceverse-{self.path.name}-", dir=parent))
                _try_to_write(made)
                break
            except OSError:
                if made is not None:
                    shutil.rmtree(made, ignore_errors=True)
        else:
            raise TestbedError(f"cannot write {problem}; nor to any temporary folder") from error
        self.elsewhere = made
        self.trouble = f"{problem}; the results of this run are in {made}"
        for name in OUTCOMES:
            setattr(self, name, self._moved(getattr(self, name)))

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
        made_here = [] if self.elsewhere is None else [*self.elsewhere.iterdir(), self.elsewhere]
        for path in made_here:  # nobody else can write there by now
            with contextlib.suppress(OSError):
                os.chown(path, *owner, follow_symlinks=False)
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


def _try_to_write(folder: Path) -> None:
    """See that a folder takes some bytes. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(NEEDED_BYTES))
        file.flush()
