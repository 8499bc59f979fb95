"""Items that ground stations have received, on disk.

    inbox/<satellite>/<id>/lock         locked while a station works on the item; holds the id of the last one
    inbox/<satellite>/<id>/manifest     encoded manifest, as it first arrived
    inbox/<satellite>/<id>/part         bytes received so far
    inbox/<satellite>/<id>/digests      eight bytes for each chunk in `part`; zeros: the chunk is missing
    inbox/<satellite>/<id>/data         all bytes, verified: `part` renamed; exists if the item is complete.
                                        Truncated to nothing if space was needed after the answer
    inbox/<satellite>/<id>/unanswered   empty; locked by the station that is answering the item
    inbox/<satellite>/<id>/answered     `unanswered` renamed: a model, or the satellite, has answered
    inbox/<satellite>/<id>/refused      the reason; exists if the item must not be sent again

Stations that share the folder share the state: an item that was begun at one station ends at another. A
shared file system is enough for that and avoids a service that could fail on its own. One flock per item
serialises the stations; the kernel releases it when a program is killed. A station that finds the id of
another in the lock file reads the item's state again.

The digests are written after the bytes and never fsynced. After a power failure some may be missing, so that
a chunk is sent twice, or some may be wrong, which the sha256 of the item reveals.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nodes.contract.events import Dropped, Expired
from nodes.contract.files import sync_folder, write_atomically
from nodes.contract.report import Report, report_nothing
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.files import (
    BLOCK_BYTES,
    DIGEST_BYTES,
    chunk_digest,
    read_at,
    write_at,
)
from nodes.transfer.messages import Chunk, MalformedError, Manifest, decode_downward, encode

SATELLITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
UNLIMITED_BYTES = 1 << 62
ITEMS_OPEN = 256  # items in memory, each with a file descriptor; others are read again when needed
IDLE_PART_S = 60.0  # an unfinished item that received nothing for this long may be dropped for others
SCAN_AGE_S = 5.0


class NoRoomError(OSError):
    """There is no room for an item now; there may be later."""


@dataclass
class InboxItem:
    """One item of one satellite, complete or in part; change it within `locked` only."""

    satellite: str
    manifest: Manifest
    folder: Path
    chunks: ChunkMap
    complete: bool = False
    refused: str | None = None
    failed_tries: int = 0
    query: int = 0
    _station: bytes = b""
    _lock_file: int = field(default=-1, repr=False)

    @property
    def data_path(self) -> Path:
        """File of the verified bytes; it exists once the item is complete."""
        return self.folder / "data"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the item against other stations, and read its state again if one of them changed it."""
        if self._lock_file < 0:
            self._lock_file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            if os.pread(self._lock_file, len(self._station), 0) != self._station:
                self._read_state()
                os.pwrite(self._lock_file, self._station, 0)
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def write(self, chunk: Chunk) -> bool:
        """Store a chunk; return False if it was stored before.

        Raises:
            MalformedError: the chunk does not fit the manifest.
            OSError: the chunk cannot be written.
        """
        index, remainder = divmod(chunk.offset, self.manifest.chunk_bytes)
        if remainder or index >= self.manifest.chunks:
            raise MalformedError(f"offset {chunk.offset} is not the start of a chunk")
        if len(chunk.data) != self.manifest.chunk_length(index):
            raise MalformedError(
                f"chunk at {chunk.offset} has {len(chunk.data)} bytes; "
                f"{self.manifest.chunk_length(index)} are expected"
            )
        if index in self.chunks:
            return False
        write_at(self.folder / "part", chunk.offset, chunk.data)
        write_at(self.folder / "digests", index * DIGEST_BYTES, chunk_digest(chunk.data))
        self.chunks.add(index)
        return True

    def finish(self, data: bytes | None = None) -> bool:
        """Verify the stored bytes and mark the item as complete.

        Returns False on a sha256 mismatch, after discarding the damaged chunks.

        Args:
            data: the bytes of a small item, which has no chunks.

        Raises:
            OSError: the item cannot be written; the stored bytes stay, and the next attempt may succeed.
        """
        part = self.folder / "part"
        if data is not None:
            write_at(part, 0, data)
        # Created before it is needed: a full disk could refuse a new file later, but not a rename.
        (self.folder / "unanswered").touch()
        with part.open("r+b", buffering=0) as file:
            file.truncate(self.manifest.size_bytes)
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            if digest.digest() != self.manifest.sha256:
                self._discard_damage()
                return False
            os.fsync(file.fileno())
        part.rename(self.data_path)
        (self.folder / "digests").unlink(missing_ok=True)
        sync_folder(self.folder)
        self.complete = True
        return True

    def refuse(self, reason: str) -> None:
        """Refuse the item for good: delete its bytes and store the reason.

        Raises:
            OSError: the reason cannot be written.
        """
        self.discard()
        self.refused = reason
        write_atomically(self.folder / "refused", reason.encode(), durable=True)

    def discard(self) -> None:
        """Delete the bytes of an unfinished item."""
        (self.folder / "part").unlink(missing_ok=True)
        (self.folder / "digests").unlink(missing_ok=True)
        self.chunks = ChunkMap(self.manifest.chunks)

    @property
    def answered(self) -> bool:
        """Whether its answer has been reported."""
        return (self.folder / "answered").exists()

    def claim(self) -> Claim | None:
        """Return the right to answer the item, or None.

        There is none if the item is not complete, or another station holds or has used the right.
        """
        try:
            descriptor = os.open(self.folder / "unanswered", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.data_path.exists() and not self.answered:
                return Claim(self, descriptor)
        except BlockingIOError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def close(self) -> None:
        """Close the file descriptor; the item stays usable."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def _discard_damage(self) -> None:
        """Drop the chunks that changed since they arrived, or all if none did, after a sha256 mismatch."""
        self.failed_tries += 1
        damaged = []
        for index in range(self.manifest.chunks):
            data = read_at(self.folder / "part", index * self.manifest.chunk_bytes, self.manifest.chunk_bytes)
            written = read_at(self.folder / "digests", index * DIGEST_BYTES, DIGEST_BYTES)
            if chunk_digest(data) != written:
                damaged.append(index)
        if not damaged:
            self.discard()
        for index in damaged:
            write_at(self.folder / "digests", index * DIGEST_BYTES, bytes(DIGEST_BYTES))
            self.chunks.remove(index)

    def _read_state(self) -> None:
        self.chunks = ChunkMap(self.manifest.chunks)
        if (self.folder / "part").exists():
            digests = _read_if_there(self.folder / "digests")
            for index in range(min(self.manifest.chunks, len(digests) // DIGEST_BYTES)):
                if any(digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]):
                    self.chunks.add(index)
        self.refused = _read_if_there(self.folder / "refused").decode(errors="replace") or None
        self.complete = self.data_path.exists()


@dataclass
class Claim:
    """The right to answer an item, until it is answered or released, or this process ends."""

    item: InboxItem
    _descriptor: int

    def answered(self) -> None:
        """Record, across restarts, that the item's answer has been reported; release the lock."""
        folder = self.item.folder
        (folder / "unanswered").replace(folder / "answered")
        sync_folder(folder)
        os.close(self._descriptor)

    def release(self) -> None:
        """Release the item without an answer; this station or another may claim it again."""
        os.close(self._descriptor)


class Inbox:
    """The items that stations have received.

    One thread calls `open` and `find`; another may call `unanswered`.

    Args:
        folder: folder of the items, created if missing; several stations may share it.
        limit_bytes: largest size of the inbox; an announced item counts with its full size.
        report: receives dropped and expired.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int = UNLIMITED_BYTES, report: Report = report_nothing
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._report = report
        self._station = os.urandom(16)
        self._items: OrderedDict[tuple[str, bytes], InboxItem] = OrderedDict()
        self._settled: set[str] = set()
        self._used_bytes = 0
        self._scanned_s = -SCAN_AGE_S
        self._scanning = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, satellite: str, manifest: Manifest) -> tuple[InboxItem, bool]:
        """Return (item of a manifest, whether it is new here).

        Raises:
            MalformedError: the manifest contradicts an earlier one.
            NoRoomError: the inbox is full.
            OSError: the item cannot be written.
        """
        item, new = self.find(satellite, manifest.item_id), False
        if item is None:
            self._admit(manifest)
            item, new = self._create(satellite, manifest)
            self._remember(item)
        elif self.was_dropped(item):
            self._admit(manifest)
            (item.folder / "manifest").touch()
        known = item.manifest
        if (known.sha256, known.size_bytes, known.chunk_bytes) != (
            manifest.sha256,
            manifest.size_bytes,
            manifest.chunk_bytes,
        ):
            raise MalformedError("manifest contradicts an earlier one with the same id")
        return item, new

    def find(self, satellite: str, item_id: bytes) -> InboxItem | None:
        """Return the item with this id from memory or disk, or None.

        Raises:
            MalformedError: the satellite's name has characters that are not allowed.
        """
        if not SATELLITE_NAME.fullmatch(satellite):
            raise MalformedError("satellite name contains characters that are not allowed")
        item = self._items.get((satellite, item_id))
        if item is None:
            item = self._load(satellite, self._path(satellite, item_id))
            if item is not None:
                self._remember(item)
        return item

    def close(self) -> None:
        """Close the file descriptors."""
        for item in self._items.values():
            item.close()
        self._items.clear()

    def was_dropped(self, item: InboxItem) -> bool:
        """Return whether the item's bytes were dropped for others, so that it must be announced again."""
        return not item.complete and item.chunks.present == 0 and not _is_counted(item.folder)

    def unanswered(self) -> list[InboxItem]:
        """Return the complete items whose answer has not been reported, in order of completion."""
        by_completion: list[tuple[int, InboxItem]] = []
        for folder in self._folder.glob("*/*"):
            if str(folder) in self._settled:
                continue
            if (folder / "answered").exists() or (folder / "refused").exists():
                self._settled.add(str(folder))
            elif not (folder / "data").exists():
                continue
            elif (item := self._load(folder.parent.name, folder)) is not None and item.complete:
                with contextlib.suppress(OSError):
                    by_completion.append((item.data_path.stat().st_mtime_ns, item))
        return [item for _, item in sorted(by_completion, key=lambda pair: pair[0])]

    def expire(self, time_s: float) -> None:
        """Refuse and report each unfinished item whose deadline has passed at a scenario time."""
        for folder in self._folder.glob("*/*"):
            if str(folder) in self._settled or (folder / "data").exists() or (folder / "refused").exists():
                continue
            item = self._load(folder.parent.name, folder)
            if item is None or not item.manifest.has_expired(time_s):
                continue
            # A separate id in the lock file, so that this thread and the link's notice each other's changes.
            item._station = os.urandom(len(self._station))
            with contextlib.suppress(OSError), contextlib.closing(item), item.locked():
                if not item.complete and item.refused is None:
                    item.refuse("expired")
                    manifest = item.manifest
                    self._report(
                        Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s)
                    )

    def forget(self, item: InboxItem) -> None:
        """Forget the state in memory, which may differ from the disk; the next access reads it again."""
        if self._items.pop((item.satellite, item.manifest.item_id), None) is not None:
            item.close()

    def relieve(self, priority: int, reason: str, keep: InboxItem | None = None) -> bool:
        """Drop and report the least valuable item; return False if no item may be dropped.

        The bytes of answered items go first. Unfinished items of this priority or a lower one that received
        nothing for a minute follow; dropping them costs a repeat. Complete items without an answer stay.

        Args:
            priority: priority of the item that needs the space.
            reason: reason for the report.
            keep: an item that must not be dropped.
        """
        candidates = []
        for folder in self._folder.glob("*/*"):
            if keep is None or folder != keep.folder:
                candidate = self._droppable(folder, priority)
                if candidate is not None:
                    candidates.append((*candidate, folder))
        for _, _, _, folder in sorted(candidates, key=lambda candidate: candidate[:3]):
            if self._drop(folder, reason):
                return True
        return False

    def _admit(self, manifest: Manifest) -> None:
        """Make space for the whole item.

        Raises:
            NoRoomError: there is not enough space.
        """
        size_bytes = manifest.size_bytes
        foreseen_bytes = self._used_bytes + size_bytes
        plenty = foreseen_bytes < self._limit_bytes / 2
        if foreseen_bytes <= self._limit_bytes and self._scan_age_s() < SCAN_AGE_S * (12 if plenty else 1):
            return
        self._scan()
        while self._used_bytes + size_bytes > self._limit_bytes:
            reason = f"the inbox is full: {self._used_bytes} of {self._limit_bytes} bytes"
            if not self.relieve(manifest.priority, reason):
                raise NoRoomError(reason)
            self._scan()

    def fits(self, size_bytes: int) -> bool:
        """Return whether an item of this size fits into the empty inbox."""
        return size_bytes <= self._limit_bytes

    def _scan_age_s(self) -> float:
        return time.monotonic() - self._scanned_s

    def _scan(self) -> None:
        """Measure the inbox, including items of other stations; unfinished items count in full."""
        self._used_bytes = sum(_size_bytes(folder) for folder in self._folder.glob("*/*"))
        self._scanned_s = time.monotonic()

    def _droppable(self, folder: Path, priority: int) -> tuple[int, int, int] | None:
        """Return the sort key (rank, lower priority first, older first) of a droppable item, else None."""
        manifest = _read_manifest(folder)
        if manifest is None:
            return None
        with contextlib.suppress(OSError):
            if (folder / "answered").exists():
                status = (folder / "data").stat()
                return (0, -manifest.priority, status.st_mtime_ns) if status.st_size else None
            status = (folder / "part").stat()
            idle_s = time.time() - status.st_mtime
            if manifest.priority >= priority and idle_s > IDLE_PART_S:
                return 1, -manifest.priority, status.st_mtime_ns
        return None

    def _drop(self, folder: Path, reason: str) -> bool:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(descriptor, bytes(len(self._station)), 0)  # every station reads it again
                return self._drop_locked(folder, reason)
            finally:
                os.close(descriptor)
        return False

    def _drop_locked(self, folder: Path, reason: str) -> bool:
        manifest = _read_manifest(folder)
        if manifest is None:
            return False
        answered = (folder / "answered").exists()
        if answered:
            os.truncate(folder / "data", 0)
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

    def _create(self, satellite: str, manifest: Manifest) -> tuple[InboxItem, bool]:
        folder = self._path(satellite, manifest.item_id)
        folder.mkdir(parents=True, exist_ok=True)
        item = InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks), _station=self._station)
        with item.locked():
            existing = _read_manifest(folder)
            if existing is not None:  # another station was quicker
                item.manifest = existing
                return item, False
            write_atomically(folder / "manifest", encode(manifest), durable=True)
            sync_folder(folder.parent)
        self._used_bytes += manifest.size_bytes
        return item, True

    def _remember(self, item: InboxItem) -> None:
        self._items[item.satellite, item.manifest.item_id] = item
        if len(self._items) > ITEMS_OPEN:
            self._items.popitem(last=False)[1].close()

    def _load(self, satellite: str, folder: Path) -> InboxItem | None:
        manifest = _read_manifest(folder)
        if manifest is None:
            return None
        item = InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks), _station=self._station)
        item._read_state()
        return item

    def _path(self, satellite: str, item_id: bytes) -> Path:
        return self._folder / satellite / item_id.hex()


def complete_items(folder: Path) -> list[tuple[Manifest, Path]]:
    """Return (manifest, file of its bytes) of each complete item, answered or not; only read them."""
    complete = []
    for place in sorted(folder.glob("*/*")):
        data, manifest = place / "data", _read_manifest(place)
        if manifest is not None and data.is_file() and data.stat().st_size == manifest.size_bytes:
            complete.append((manifest, data))
    return complete


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        manifest = decode_downward((folder / "manifest").read_bytes())
    except (OSError, MalformedError):
        return None
    return manifest if isinstance(manifest, Manifest) else None


def _size_bytes(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return (folder / "data").stat().st_size
    manifest = _read_manifest(folder)
    if manifest is None or (folder / "refused").exists() or not _is_counted(folder):
        return 0
    return manifest.size_bytes


def _is_counted(folder: Path) -> bool:
    """Return whether an unfinished item has bytes, or was announced so recently that they may follow."""
    if (folder / "part").exists():
        return True
    with contextlib.suppress(OSError):
        return time.time() - (folder / "manifest").stat().st_mtime <= IDLE_PART_S
    return False


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
