"""The space of an inbox: how much each satellite may hold, and which bytes make room for others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from nodes.contract.events import Dropped
from nodes.contract.report import Report
from nodes.transfer.files import age_s, disk_shortfall, read_manifest
from nodes.transfer.inbox_item import STATION_BYTES, InboxItem
from nodes.transfer.messages import Manifest
from nodes.transfer.senders.limits import Allowance

SATELLITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
ITEM_NAME = re.compile(r"[0-9a-f]{32}")
UNFINISHED_MAX = 256  # items of one satellite, which sends at most 64 at a time
SHARE = 0.5  # of the inbox that one satellite may hold, unless it holds one item only
IDLE_PART_S = 60.0  # an unfinished item that received nothing for this long may be dropped for others
SCAN_AGE_S = 5.0
SEARCHES_PER_S = 1.0  # for space, by one satellite without any: each reads the whole inbox
SEARCHES_AT_ONCE = 20.0


class NoRoomError(OSError):
    """There is no room for an item now; there may be later."""


class Space:
    """The space of one inbox folder. Not thread-safe.

    A satellite holds the announced bytes of its unfinished items, and the bytes that wait for an answer.

    Args:
        folder: folder of the items.
        limit_bytes: largest size of the inbox.
        report: receives dropped.
    """

    def __init__(self, folder: Path, limit_bytes: int, report: Report) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._report = report
        self._used_bytes = 0
        self._held_bytes: Counter[str] = Counter()
        self._unfinished: Counter[str] = Counter()
        self._searches: dict[str, Allowance] = {}
        self._scanned_s = float("-inf")

    def fits(self, size_bytes: int) -> bool:
        """Return whether an item of this size fits into the empty inbox."""
        return size_bytes <= self._limit_bytes

    def admit(self, satellite: str, manifest: Manifest) -> None:
        """Make space for a whole item, and count it.

        Raises:
            NoRoomError: there is not enough space.
            OSError: the inbox cannot be read.
        """
        size_bytes = manifest.size_bytes
        plenty = self._used_bytes + size_bytes < self._limit_bytes / 2
        searches = self._searches.setdefault(satellite, Allowance(SEARCHES_PER_S, SEARCHES_AT_ONCE))
        stale = time.monotonic() - self._scanned_s >= SCAN_AGE_S * (12 if plenty else 1)
        if stale or (self._problem(satellite, size_bytes) and searches.take(time.monotonic())):
            self._scan()
        while (problem := self._problem(satellite, size_bytes)) is not None:
            reason, own = problem
            if not searches.take(time.monotonic()) or not self.relieve(
                manifest.priority, reason, of=satellite if own else None
            ):
                raise NoRoomError(reason)
            self._scan()
        self._used_bytes += size_bytes
        self._held_bytes[satellite] += size_bytes
        self._unfinished[satellite] += 1

    def finished(self, satellite: str) -> None:
        """Count an item that has become complete, or was refused."""
        self._unfinished[satellite] -= 1

    def relieve(
        self, priority: int, reason: str, keep: InboxItem | None = None, of: str | None = None
    ) -> bool:
        """Drop and report the least valuable item; return False if no item may be dropped.

        The bytes of answered items go first. Unfinished items of this priority or a lower one that received
        nothing for a minute follow; dropping them costs a repeat. Complete items without an answer stay.

        Args:
            priority: priority of the item that needs the space.
            reason: reason for the report.
            keep: an item that must not be dropped.
            of: the satellite whose unfinished items are dropped; None for any item of any satellite.

        Raises:
            OSError: the inbox cannot be read.
        """
        candidates = []
        for folder in item_folders(self._folder):
            if (keep is None or folder != keep.folder) and of in (None, folder.parent.name):
                candidate = _droppable(folder, priority, answered=of is None)
                if candidate is not None:
                    candidates.append((*candidate, folder))
        for _, _, _, folder in sorted(candidates, key=lambda candidate: candidate[:3]):
            if self._drop(folder, reason):
                return True
        return False

    def _problem(self, satellite: str, size_bytes: int) -> tuple[str, bool] | None:
        """Return what does not allow another item, and whether only this satellite's items are the cause."""
        share_bytes = int(self._limit_bytes * SHARE)
        held_bytes = self._held_bytes[satellite]
        if held_bytes and held_bytes + size_bytes > share_bytes:
            return f"the inbox is full for {satellite}, which may hold {share_bytes} bytes", True
        if self._unfinished[satellite] >= UNFINISHED_MAX:
            return f"{satellite} has {UNFINISHED_MAX} unfinished items", True
        if self._used_bytes + size_bytes > self._limit_bytes:
            return f"the inbox is full: {self._limit_bytes} bytes", False
        lacking = disk_shortfall(self._folder, size_bytes)
        return None if lacking is None else (lacking.reason, False)

    def _scan(self) -> None:
        """Measure the inbox, including items of other stations; unfinished items count in full."""
        self._used_bytes = 0
        self._held_bytes.clear()
        self._unfinished.clear()
        for folder in item_folders(self._folder):
            satellite = folder.parent.name
            size_bytes, unfinished, answered = _size_of(folder)
            self._used_bytes += size_bytes
            self._held_bytes[satellite] += 0 if answered else size_bytes
            self._unfinished[satellite] += unfinished
        self._scanned_s = time.monotonic()

    def _drop(self, folder: Path, reason: str) -> bool:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(descriptor, bytes(STATION_BYTES), 0)  # every station reads it again
                return self._drop_locked(folder, reason)
            finally:
                os.close(descriptor)
        return False

    def _drop_locked(self, folder: Path, reason: str) -> bool:
        manifest = read_manifest(folder / "manifest")
        if manifest is None:
            return False
        answered = (folder / "answered").exists()
        if answered:
            os.truncate(folder / "data", 0)
        elif not (folder / "part").exists():
            shutil.rmtree(folder)  # was announced only: nothing is lost, so nothing is reported
            return True
        else:
            (folder / "part").unlink()
            (folder / "digests").unlink(missing_ok=True)
        self._report(
            Dropped(
                frame=manifest.frame,
                what=manifest.kind,
                size_bytes=manifest.size_bytes,
                reason=f"{reason}; {'answered before' if answered else 'unfinished, will be sent again'}",
            )
        )
        return True


def item_folders(root: Path) -> Iterator[Path]:
    """Yield the folders whose names are those of items.

    Raises:
        OSError: the inbox cannot be read now.
    """
    for satellite in _names(root):
        if SATELLITE_NAME.fullmatch(satellite):
            for name in _names(root / satellite):
                if ITEM_NAME.fullmatch(name):
                    yield root / satellite / name


def strays(root: Path, own: Collection[str]) -> Iterator[Path]:
    """Yield what lies in an inbox and is no folder of an item; `own` are names that each satellite's has.

    Raises:
        OSError: the inbox cannot be read now.
    """
    for satellite in _names(root):
        folder = root / satellite
        if not (SATELLITE_NAME.fullmatch(satellite) and folder.is_dir()):
            yield folder
            continue
        for name in _names(folder):
            if name not in own and not (ITEM_NAME.fullmatch(name) and (folder / name).is_dir()):
                yield folder / name


def is_counted(folder: Path) -> bool:
    """Return whether an unfinished item has bytes, or was announced so recently that they may follow."""
    if (folder / "part").exists():
        return True
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return age_s((folder / "manifest").stat().st_mtime) <= IDLE_PART_S
    return False


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _droppable(folder: Path, priority: int, *, answered: bool) -> tuple[int, int, int] | None:
    """Return the sort key (rank, lower priority first, older first) of a droppable item, else None."""
    with contextlib.suppress(OSError):
        manifest = read_manifest(folder / "manifest")
        if manifest is None:
            return None
        if (folder / "answered").exists():
            status = (folder / "data").stat()
            return (0, -manifest.priority, status.st_mtime_ns) if status.st_size and answered else None
        if (folder / "data").exists() or (folder / "refused").exists():
            return None
        begun = (folder / "part").exists()
        if not begun and (folder / "unanswered").exists():
            return None  # its bytes were lost, and nothing else remembers that they are owed
        status = (folder / ("part" if begun else "manifest")).stat()
        if age_s(status.st_mtime) > IDLE_PART_S:
            if begun and manifest.priority >= priority:
                return 1, -manifest.priority, status.st_mtime_ns
            if not begun and not answered:
                return 0, -manifest.priority, status.st_mtime_ns
    return None


def _size_of(folder: Path) -> tuple[int, bool, bool]:
    """Return (size in bytes, whether the item is unfinished, whether it is answered)."""
    with contextlib.suppress(OSError):
        size_bytes = (folder / "data").stat().st_size
        return size_bytes, False, (folder / "answered").exists()
    manifest = read_manifest(folder / "manifest")
    if manifest is None or (folder / "refused").exists():
        return 0, False, False
    return (manifest.size_bytes, True, False) if is_counted(folder) else (0, False, False)
