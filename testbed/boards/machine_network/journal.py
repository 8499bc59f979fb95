"""The journal of changes outside of our own namespaces, written before each change.

Each journal is a file of JSON lines that belongs to one process: first its owner, then each change with
everything needed to undo it. A line is on disk before its change is made, so the process or the machine may
stop at any moment. A change records the previous state ("the MTU was 1500"), not a difference ("500 less"),
so undoing a change twice, or one that was not made, has no effect.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from testbed.errors import InputError, TestbedError
from testbed.machine.process_identity import ProcessIdentity, boot_id, namespace_id, start_ticks

STATE_VARIABLE = "SPACEVERSE_STATE"
DEFAULT_STATE = Path("/var/lib/spaceverse")  # survives a reboot; see the Filesystem Hierarchy Standard, 5.8
VERSION = 1

Change: TypeAlias = dict[str, Any]
Undo: TypeAlias = Callable[[Change], bool]  # False: the interface, and so the change, no longer exists


def state_folder() -> Path:
    """Return the folder of the journals: $SPACEVERSE_STATE, or /var/lib/spaceverse."""
    return Path(os.environ.get(STATE_VARIABLE) or DEFAULT_STATE)


class Journal:
    """A journal of this process; created with its first line, removed when everything is undone.

    Args:
        what: Its purpose in words, such as "board jetson-1".
        folder: Parent folder of the journals; `state_folder()` if None.
    """

    def __init__(self, what: str, folder: Path | None = None) -> None:
        self._folder = (folder or state_folder()) / "journal"
        self._owner = ProcessIdentity.this()
        self._what = what
        self._file: IO[bytes] | None = None
        self.changes: list[Change] = []

    @property
    def path(self) -> Path:
        """Its file, which exists only while there are changes to undo."""
        return self._folder / f"{self._owner.pid}-{self._owner.start_ticks}-{id(self):x}.jsonl"

    def write(self, change: Change) -> None:
        """Write a change to disk; to be called before the change is made.

        Raises:
            InputError: the journal cannot be written.
        """
        try:
            if self._file is None:
                self._begin()
            self._append(change)
        except OSError as error:
            raise InputError(
                f"{self.path}: {error.strerror}; nothing was changed. Run as root, or set {STATE_VARIABLE} "
                "to a writable folder"
            ) from error
        self.changes.append(change)

    def finish(self, undo: Undo) -> None:
        """Undo all changes, the last one first, and remove the file.

        Raises:
            TestbedError: a change could not be undone; the file is kept.
        """
        _, failures = undo_all(self.changes, undo)
        if failures:
            raise TestbedError(f"{'; '.join(failures)}; fix the cause, then run: spaceverse clean")
        self.changes.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
            self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        header = {"version": VERSION, "what": self._what, "owner": asdict(self._owner)}
        self._append(header)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _append(self, record: dict[str, Any]) -> None:
        assert self._file is not None  # noqa: S101  # `write` has opened it
        self._file.write(json.dumps(record).encode() + b"\n")
        os.fsync(self._file.fileno())


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A journal on disk.

    Args:
        path: Its file.
        what: Its purpose in words.
        owner: The process that wrote it.
        changes: The changes that it records, in order.
    """

    path: Path
    what: str
    owner: ProcessIdentity
    changes: list[Change]


def found_journals(folder: Path | None = None) -> list[LeftBehind]:
    """Return all journals on this machine, the newest first.

    Raises:
        TestbedError: a journal cannot be read.
    """
    newest_first = sorted(_paths(folder), key=_changed_ns, reverse=True)
    return [journal for path in newest_first if (journal := _read(path)) is not None]


def clean(undo: Undo, folder: Path | None = None) -> tuple[list[str], bool]:
    """Undo the changes of dead processes in this network namespace.

    Args:
        undo: Undoes one change, and returns False if its interface no longer exists; raises OSError or
            TestbedError if it fails.
        folder: Parent folder of the journals; `state_folder()` if None.

    Returns:
        One line for each journal, and whether everything is restored.
    """
    lines, well = [], True
    with _alone(folder or state_folder()):
        for left in found_journals(folder):
            line, done = _clean_one(left, undo)
            lines.append(line)
            well = well and done
        for path in _paths(folder):
            # The owner died before the first line was complete, so it had changed nothing.
            if not _alive(path) and not _first_line_is_whole(path):
                path.unlink(missing_ok=True)
    return lines, well


def undo_all(changes: list[Change], undo: Undo) -> tuple[list[Change], list[str]]:
    """Undo changes, the last one first; continue after a failure.

    Args:
        changes: The changes, in the order in which they were made.
        undo: As in `clean`.

    Returns:
        The changes whose interface no longer exists, and the failures in words.
    """
    gone, failures = [], []
    for change in reversed(changes):
        try:
            if not undo(change):
                gone.append(change)
        except (OSError, TestbedError) as error:
            failures.append(f"cannot undo {describe(change)}: {error}")
    return gone, failures


def describe(change: Change) -> str:
    """Return one change in a few words."""
    where = change.get("interface") or change.get("name") or ""
    return f"{change['kind']} {where}".strip()


def _clean_one(left: LeftBehind, undo: Undo) -> tuple[str, bool]:
    who = f"{left.what} (process {left.owner.pid})"
    if left.owner.boot_id != boot_id():
        left.path.unlink(missing_ok=True)
        return f"{who}: the machine was restarted, which undid {len(left.changes)} changes", True
    if left.owner.alive():
        return f"{who}: still running, not touched", True
    if left.owner.namespace != namespace_id():
        if not _namespace_exists(left.owner.namespace):
            left.path.unlink(missing_ok=True)
            return f"{who}: its network namespace, and so its changes, no longer exist", True
        return f"{who}: belongs to another network namespace; run spaceverse clean there", False
    gone, failures = undo_all(left.changes, undo)
    if failures:
        return f"{who}: {'; '.join(failures)}", False
    left.path.unlink(missing_ok=True)
    dropped = f"; dropped because the interface is gone: {', '.join(map(describe, gone))}" if gone else ""
    return f"{who}: {len(left.changes) - len(gone)} changes undone{dropped}", True


def _namespace_exists(namespace: str) -> bool:
    """Return whether a network namespace exists: a thread is in it, or it is mounted under /run/netns."""
    for path in (*Path("/proc").glob("[0-9]*/task/[0-9]*/ns/net"), *Path("/run/netns").glob("*")):
        with suppress(OSError):
            if namespace_id(str(path)) == namespace:
                return True
    return False


def _paths(folder: Path | None) -> list[Path]:
    return list(((folder or state_folder()) / "journal").glob("*.jsonl"))


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # its owner has just finished
        return 0


def _alive(path: Path) -> bool:
    """Return whether the owner in a journal's file name still runs, as far as a name can tell."""
    pid, ticks, _ = path.name.split("-", 2)
    return start_ticks(int(pid)) == int(ticks)


def _first_line_is_whole(path: Path) -> bool:
    try:
        return b"\n" in path.read_bytes()
    except FileNotFoundError:
        return False


def _read(path: Path) -> LeftBehind | None:
    try:
        records = list(_records(path.read_bytes()))
    except FileNotFoundError:  # its owner has just finished
        return None
    if not records:  # nothing was changed yet
        return None
    header = records[0]
    if header.get("version") != VERSION:
        raise TestbedError(f"{path}: journal of another version; use the spaceverse version that wrote it")
    return LeftBehind(path, str(header["what"]), ProcessIdentity(**header["owner"]), records[1:])


def _records(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield complete lines; an incomplete last line was cut off, and its change was never made."""
    for line in data.split(b"\n")[:-1]:
        yield json.loads(line)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allow one cleanup at a time."""
    if not (folder / "journal").is_dir():
        yield
        return
    with (folder / "journal" / "cleaning").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
