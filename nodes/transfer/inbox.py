"""Items that ground stations have received, on disk.

    inbox/<satellite>/<id>/lock         held while one station works on the item; names who did so last
    inbox/<satellite>/<id>/manifest     encoded manifest, as it first came
    inbox/<satellite>/<id>/part         the bytes so far
    inbox/<satellite>/<id>/digests      of each chunk in `part`, eight bytes; zeros: the chunk is missing
    inbox/<satellite>/<id>/data         all bytes, verified: `part` renamed; its presence says "complete".
                                        Cut to nothing when room was needed after it had been answered
    inbox/<satellite>/<id>/unanswered   empty; locked by the station that is answering the item
    inbox/<satellite>/<id>/answered     the same, renamed: a model, or the satellite, has answered
    inbox/<satellite>/<id>/refused      the reason; its presence says that the item is not wanted again

Stations that share the folder share the state: an item that was begun at one ends at another. One file
system between the stations of one operator is enough for that, and needs no service that could fail by
itself. Per item one flock serialises the stations (the kernel lets go of it when a program is killed), and
a station that finds another's name in it reads the item's state again.

The digests are written after the bytes and never fsynced: they may say too little after a power cut, and a
chunk comes twice; or too much, and the sha256 of the item finds it.
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
ITEMS_OPEN = 256  # in memory, each with a file descriptor; the others are read again when they are touched
IDLE_PART_S = 60.0  # an unfinished item that got nothing for so long may make room for others
SCAN_AGE_S = 5.0


class NoRoomError(OSError):
    """There is no room for an item now; there may be later."""


@dataclass
class InboxItem:
    """One item of one satellite, whole or in part; to be changed within `held` only."""

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
        """Where the verified bytes are once the item is complete."""
        return self.folder / "data"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other stations off the item; what they did to it meanwhile is known from here on."""
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
        """Store a chunk; False if it was there already. Raises MalformedError, OSError."""
        index, remainder = divmod(chunk.offset, self.manifest.chunk_bytes)
        if remainder or index >= self.manifest.chunks:
            raise MalformedError(f"offset {chunk.offset} is not the start of a chunk")
        if len(chunk.data) != self.manifest.chunk_length(index):
            raise MalformedError(f"chunk at {chunk.offset} has {len(chunk.data)} bytes")
        if index in self.chunks:
            return False
        write_at(self.folder / "part", chunk.offset, chunk.data)
        write_at(self.folder / "digests", index * DIGEST_BYTES, chunk_digest(chunk.data))
        self.chunks.add(index)
        return True

    def finish(self, data: bytes | None = None) -> bool:
        """Verify what is stored and make it complete; False on a sha256 mismatch, damage thrown away.

        Args:
            data: the bytes of a small item, which has no chunks.

        Raises:
            OSError: the disk did not take it; what is there stays, and the next try may succeed.
        """
        part = self.folder / "part"
        if data is not None:
            write_at(part, 0, data)
        # Made before it is needed: later a full disk could not refuse a rename.
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
        """Give the item up, free its bytes, remember why. Raises OSError if that cannot be remembered."""
        self.discard()
        self.refused = reason
        write_atomically(self.folder / "refused", reason.encode(), durable=True)

    def discard(self) -> None:
        """Throw away what is there of an unfinished item."""
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
        """Give the file descriptor back; the item can be used again."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def _discard_damage(self) -> None:
        """After a sha256 mismatch: drop the chunks that are not what had come, or all if each of them is."""
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
    """The right to answer an item, held until it is answered or released, or this process ends."""

    item: InboxItem
    _descriptor: int

    def answered(self) -> None:
        """Remember that the item's answer has been reported, also across a restart; let go."""
        folder = self.item.folder
        (folder / "unanswered").replace(folder / "answered")
        sync_folder(folder)
        os.close(self._descriptor)

    def release(self) -> None:
        """Let go without an answer: this station, or another, may claim the item again."""
        os.close(self._descriptor)


class Inbox:
    """The items that stations have. One thread opens and finds; `unanswered` may be called by another.

    Args:
        folder: made if missing; may be shared with other stations.
        limit_bytes: how much may lie in it, announced items counted whole.
        report: gets dropped.
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
            raise MalformedError("manifest contradicts the one that came before with this id")
        return item, new

    def find(self, satellite: str, item_id: bytes) -> InboxItem | None:
        """Return the item with this id from memory or disk, or None.

        Raises:
            MalformedError: the satellite's name has characters that are not allowed.
        """
        if not SATELLITE_NAME.fullmatch(satellite):
            raise MalformedError("satellite name with characters that are not allowed")
        item = self._items.get((satellite, item_id))
        if item is None:
            item = self._load(satellite, self._path(satellite, item_id))
            if item is not None:
                self._remember(item)
        return item

    def close(self) -> None:
        """Give the file descriptors back."""
        for item in self._items.values():
            item.close()
        self._items.clear()

    def was_dropped(self, item: InboxItem) -> bool:
        """Whether its bytes made room for others, so that it has to be announced again."""
        return not item.complete and item.chunks.present == 0 and not _is_counted(item.folder)

    def unanswered(self) -> list[InboxItem]:
        """Complete items whose answer has not been reported, in the order of their completion."""
        found: list[tuple[int, InboxItem]] = []
        for folder in self._folder.glob("*/*"):
            if str(folder) in self._settled:
                continue
            if (folder / "answered").exists() or (folder / "refused").exists():
                self._settled.add(str(folder))
            elif not (folder / "data").exists():
                continue
            elif (item := self._load(folder.parent.name, folder)) is not None and item.complete:
                with contextlib.suppress(OSError):
                    found.append((item.data_path.stat().st_mtime_ns, item))
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]

    def expire(self, time_s: float) -> None:
        """Give up, and report, every unfinished item whose deadline has passed at this scenario time."""
        for folder in self._folder.glob("*/*"):
            if str(folder) in self._settled or (folder / "data").exists() or (folder / "refused").exists():
                continue
            item = self._load(folder.parent.name, folder)
            if item is None or not item.manifest.has_expired(time_s):
                continue
            # Under a name of its own, so that this and the link's thread each read what the other did.
            item._station = os.urandom(len(self._station))
            with contextlib.suppress(OSError), contextlib.closing(item), item.held():
                if not item.complete and item.refused is None:
                    item.refuse("expired")
                    manifest = item.manifest
                    self._report(
                        Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s)
                    )

    def forget(self, item: InboxItem) -> None:
        """Read the item from disk when it is next touched: something there is not as it was left."""
        if self._items.pop((item.satellite, item.manifest.item_id), None) is not None:
            item.close()

    def relieve(self, priority: int, reason: str, keep: InboxItem | None = None) -> bool:
        """Drop, and report, what is worth least; False if there is nothing to drop.

        Bytes that were answered go first, then unfinished items of this priority or a lower one that got
        nothing for a minute: dropping those costs a repeat. What is complete and waits for its answer stays.

        Args:
            priority: of what needs the room.
            reason: why, for the report.
            keep: not this one.
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
        """See that the whole item will fit. Raises NoRoomError."""
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
        """Whether the empty inbox would hold an item of this size."""
        return size_bytes <= self._limit_bytes

    def _scan_age_s(self) -> float:
        return time.monotonic() - self._scanned_s

    def _scan(self) -> None:
        """Measure the inbox, other stations included; unfinished items count with their full size."""
        self._used_bytes = sum(_size_bytes(folder) for folder in self._folder.glob("*/*"))
        self._scanned_s = time.monotonic()

    def _droppable(self, folder: Path, priority: int) -> tuple[int, int, int] | None:
        """(rank, lower priority first, older first) of what may be dropped here; None if nothing may."""
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
                os.pwrite(descriptor, bytes(len(self._station)), 0)  # so that everybody reads it again
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
        with item.held():
            there = _read_manifest(folder)
            if there is not None:  # another station was quicker
                item.manifest = there
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
    """(manifest, file of its bytes) of what lies whole in an inbox, answered or not; for looking at only."""
    found = []
    for place in sorted(folder.glob("*/*")):
        data, manifest = place / "data", _read_manifest(place)
        if manifest is not None and data.is_file() and data.stat().st_size == manifest.size_bytes:
            found.append((manifest, data))
    return found


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
    """Whether an unfinished item has bytes, or was announced so lately that they may be on their way."""
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
