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
import re
import stat
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
UNKNOWN = ""  # boot or namespace of an owner that is known from a file name only
MOST_BYTES = 10_000_000
_NAME = re.compile(r"(\d{1,18})-(\d{1,18})-[^/]*\.jsonl")

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
        changes: The changes that it records, in order; those that can be read.
        problem: What is wrong with the file; None if nothing is.
    """

    path: Path
    what: str
    owner: ProcessIdentity
    changes: list[Change]
    problem: str | None = None


def found_journals(folder: Path | None = None) -> list[LeftBehind]:
    """Return all journals on this machine, the newest first; also damaged ones.

    Raises:
        PermissionError: not root.
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
            owner = _named_owner(path)
            if owner is not None and not _lives(owner) and _has_no_line(path):
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
        except Exception as error:  # a line of a damaged journal; the others are undone nevertheless
            failures.append(f"cannot undo {describe(change)}: {type(error).__name__}: {error}")
    return gone, failures


def describe(change: Change) -> str:
    """Return one change in a few words."""
    where = change.get("interface") or change.get("name") or ""
    return f"{change['kind']} {where}".strip()


def _clean_one(left: LeftBehind, undo: Undo) -> tuple[str, bool]:
    who = f"{left.what} (process {left.owner.pid})"
    if left.owner.boot_id == UNKNOWN:
        if _lives(left.owner):
            return f"{who}: still running, not touched", True
        return f"{left.path}: {left.problem}: kept; see what it records, and remove it", False
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
    aside = "" if left.problem is None else f"; {left.problem}, kept as {_set_aside(left.path)}"
    left.path.unlink(missing_ok=True)
    dropped = f"; dropped because the interface is gone: {', '.join(map(describe, gone))}" if gone else ""
    return f"{who}: {len(left.changes) - len(gone)} changes undone{dropped}{aside}", not aside


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


def _named_owner(path: Path) -> ProcessIdentity | None:
    """Return the owner that a journal's file name tells, as far as a name can."""
    name = _NAME.fullmatch(path.name)
    return ProcessIdentity(int(name[1]), int(name[2]), UNKNOWN, UNKNOWN) if name is not None else None


def _lives(owner: ProcessIdentity) -> bool:
    """Return whether a process that is known by a file name alone still runs."""
    return start_ticks(owner.pid) == owner.start_ticks


def _has_no_line(path: Path) -> bool:
    try:
        return b"\n" not in _content(path)
    except (OSError, ValueError):
        return False


def _read(path: Path) -> LeftBehind | None:
    try:
        lines = _content(path).split(b"\n")[:-1]  # an incomplete last line's change was never made
    except FileNotFoundError:  # its owner has just finished
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        return _damaged(path, str(error))
    if not lines:  # nothing was changed yet
        return None
    try:
        what, owner = _header(lines[0])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return _damaged(path, f"its first line is damaged ({type(error).__name__}: {error})")
    changes, unread = [], []
    for number, line in enumerate(lines[1:], start=2):
        try:
            changes.append(_change(line))
        except (ValueError, RecursionError):
            unread.append(str(number))
    return LeftBehind(
        path,
        what,
        owner,
        changes,
        f"line {', '.join(unread[:5])} of its journal is damaged" if unread else None,
    )


def _damaged(path: Path, problem: str) -> LeftBehind:
    owner = _named_owner(path) or ProcessIdentity(0, 0, UNKNOWN, UNKNOWN)
    return LeftBehind(path, path.name, owner, [], " ".join(problem.split())[:200])


def _content(path: Path) -> bytes:
    """Return the bytes of a journal, which is a file of its own and small. Raises ValueError if it is not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"{status.st_size} bytes, more than a journal can have")
        return file.read()


def _header(line: bytes) -> tuple[str, ProcessIdentity]:
    """Return purpose and owner. Raises ValueError, TypeError or KeyError for another line."""
    header = json.loads(line)
    if header["version"] != VERSION:
        raise ValueError(f"version {header['version']!r:.20}; use the spaceverse version that wrote it")
    owner = ProcessIdentity(**header["owner"])
    numbers, texts = (owner.pid, owner.start_ticks), (owner.boot_id, owner.namespace)
    if any(type(number) is not int for number in numbers) or any(type(text) is not str for text in texts):
        raise TypeError("its owner is none")
    return str(header["what"]), owner


def _change(line: bytes) -> Change:
    change = json.loads(line)
    if not isinstance(change, dict) or not isinstance(change.get("kind"), str):
        raise ValueError("no change")
    return change


def _set_aside(path: Path) -> Path:
    """Keep a journal that was undone as far as it can be read, under a name that `clean` does not look at."""
    aside = path.with_suffix(".damaged")
    with suppress(OSError):
        os.link(path, aside)
    return aside


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allow one cleanup at a time."""
    if not (folder / "journal").is_dir():
        yield
        return
    with (folder / "journal" / "cleaning").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
