"""Items of a satellite, stored on disk until the ground has them.

    outbox/pending/<sequence>-<id>/manifest     encoded manifest; holds the data of a small item
    outbox/pending/<sequence>-<id>/data         bytes of a large item, a copy of the captured file
    outbox/pending/<sequence>-<id>/digests      digest of each chunk, to find damage before it is sent
    outbox/pending/<sequence>-<id>/begun        empty; exists if the ground may have a part of the item
    outbox/released/<id>                        manifest of an item that the ground has confirmed
    outbox/refused/<id>                         manifest of an item that could not be delivered

Renaming a manifest out of pending/ releases the item. Bytes without a manifest are left over from a crash and
are removed when the outbox is opened. If the outbox or the disk is full, the oldest item of the lowest
priority is dropped. No item is dropped for one of a lower priority.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from msgspec import UNSET
from msgspec.structs import replace

from nodes.contract.events import Dropped, Expired, OutboxTrouble
from nodes.contract.files import sync_folder, write_atomically
from nodes.contract.report import Report, report_nothing
from nodes.transfer.files import (
    DIGEST_BYTES,
    NO_ROOM,
    chunk_digest,
    read_at,
)
from nodes.transfer.messages import (
    INLINE_LIMIT_BYTES,
    Kind,
    MalformedError,
    Manifest,
    Metadata,
    decode_downward,
    encode,
    item_id,
)

PRIORITIES: dict[Kind, int] = {"answer": 0, "image": 1}
EXPRESS_PRIORITY = 0  # items of this priority use the express connection
UNLIMITED_BYTES = 1 << 62


class OutboxError(OSError):
    """An item cannot be stored or read; the text has the file and the reason."""


class _NoRoomError(OutboxError):
    """The disk is full; dropping an item may help."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One item that waits for the ground; a newer item has a larger `sequence`."""

    manifest: Manifest
    sequence: int
    folder: Path

    @property
    def order(self) -> tuple[int, int]:
        """Sort key of sending: the next item first."""
        return self.manifest.priority, self.sequence

    @property
    def worth(self) -> tuple[int, int]:
        """Sort key of dropping: the oldest item of the lowest priority first."""
        return -self.manifest.priority, self.sequence

    @property
    def begun(self) -> bool:
        """Whether a part of the item was sent, also by an earlier process."""
        return (self.folder / "begun").exists()

    def mark_begun(self) -> None:
        """Mark the item as begun; if the mark cannot be written, a restart costs a repeat."""
        with contextlib.suppress(OSError):
            (self.folder / "begun").touch()

    def read_chunk(self, index: int) -> bytes:
        """Return the bytes of one chunk.

        Raises:
            OutboxError: the bytes are missing or damaged.
        """
        length = self.manifest.chunk_length(index)
        path = self.folder / "data"
        try:
            data = read_at(path, index * self.manifest.chunk_bytes, length)
            digest = read_at(self.folder / "digests", index * DIGEST_BYTES, DIGEST_BYTES)
        except OSError as error:
            raise OutboxError(f"{path}: {error.strerror}") from error
        if len(data) != length:
            raise OutboxError(f"{path}: file ends before byte {index * self.manifest.chunk_bytes + length}")
        if chunk_digest(data) != digest:
            raise OutboxError(f"{path}: damaged at byte {index * self.manifest.chunk_bytes}: sha256 differs")
        return data


class Outbox:
    """The items of one satellite; safe to use from several threads.

    Args:
        folder: folder of the items, created if missing; used by this satellite only.
        satellite: the satellite's name in topics, a part of every item's id.
        chunk_bytes: chunk size of new items.
        limit_bytes: largest total size of the pending items.
        report: receives dropped, expired and outbox_trouble.
    """

    def __init__(
        self,
        folder: Path,
        satellite: str,
        chunk_bytes: int,
        *,
        limit_bytes: int = UNLIMITED_BYTES,
        report: Report = report_nothing,
    ) -> None:
        self._folder = folder
        self._satellite = satellite
        self._chunk_bytes = chunk_bytes
        self._limit_bytes = limit_bytes
        self._report = report
        self._lock = threading.RLock()
        self._adding = threading.Lock()  # held while an image is copied, which is too long for _lock
        self._pending: list[OutboxItem] = []
        self._frames: set[tuple[Kind, str]] = set()
        for name in ("pending", "released", "refused"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._load()
        self._next_sequence = max((item.sequence for item in self._pending), default=0) + 1

    def add_image(
        self, frame: str, image: Path | bytes, metadata: Metadata, *, expires_s: float | None = None
    ) -> bool:
        """Add a copy of an image file, or the bytes of an image.

        Returns False if an image of this frame was added before.

        Raises:
            OutboxError: the image cannot be read or stored.
        """
        origin = image if isinstance(image, Path) else Path(frame)
        try:
            size_bytes = image.stat().st_size if isinstance(image, Path) else len(image)
        except OSError as error:
            raise OutboxError(f"{origin}: {error.strerror}") from error
        if size_bytes == 0:
            raise OutboxError(f"{origin}: is empty")

        def make(making: Path) -> Manifest:
            try:
                with image.open("rb") if isinstance(image, Path) else io.BytesIO(image) as source:
                    return self._image(making, source, frame, metadata, expires_s)
            except OSError as error:
                raise _as_outbox_error(origin, error) from error

        return self._add("image", frame, size_bytes, make)

    def add_answer(
        self, frame: str, answer: bytes, metadata: Metadata, *, expires_s: float | None = None
    ) -> bool:
        """Add an answer; return False if this frame was answered before.

        Raises:
            OutboxError: the answer is too long or cannot be stored.
        """
        if not 0 < len(answer) <= INLINE_LIMIT_BYTES:
            raise OutboxError(
                f"answer to {frame!r} has {len(answer)} bytes; 1 to {INLINE_LIMIT_BYTES} are allowed"
            )
        digest = hashlib.sha256(answer).digest()

        def make(_: Path) -> Manifest:
            return self._manifest("answer", frame, len(answer), digest, metadata, expires_s, answer)

        return self._add("answer", frame, len(answer), make)

    def holds(self, frame: str) -> bool:
        """Return whether an answer or image of this frame was ever added, also before a restart."""
        with self._lock:
            return any((kind, frame) in self._frames for kind in PRIORITIES)

    def pending(self, limit: int, *, express: bool | None = None) -> list[OutboxItem]:
        """Return up to `limit` items that the ground does not have, in the order of sending.

        Args:
            limit: largest number of items.
            express: True for items of the express connection only, False for all others, None for both.
        """
        with self._lock:
            if express is None:
                return self._pending[:limit]
            split = bisect.bisect_right(self._pending, EXPRESS_PRIORITY, key=lambda i: i.manifest.priority)
            return self._pending[: min(split, limit)] if express else self._pending[split : split + limit]

    def depth(self) -> tuple[int, int]:
        """Return (number of pending items, their size in bytes)."""
        with self._lock:
            return len(self._pending), sum(item.manifest.size_bytes for item in self._pending)

    def release(self, item: OutboxItem) -> bool:
        """Delete the bytes of an item that the ground has and keep its id; False if it was not pending."""
        return self._settle(item, "released")

    def refuse(self, item: OutboxItem) -> bool:
        """Delete the bytes of an undeliverable item and keep its id; False if it was not pending."""
        return self._settle(item, "refused")

    def expire(self, time_s: float) -> list[OutboxItem]:
        """Drop, report and return each item whose deadline has passed at a scenario time."""
        with self._lock:
            expired = [item for item in self._pending if item.manifest.has_expired(time_s)]
            for item in expired:
                self._settle(item, "refused")
                manifest = item.manifest
                self._report(Expired(frame=manifest.frame, what=manifest.kind, expires_s=manifest.deadline_s))
        return expired

    def _add(self, kind: Kind, frame: str, size_bytes: int, make: Callable[[Path], Manifest]) -> bool:
        """Make space, create the item and put it in place; repeat if the disk was full."""
        with self._adding:
            if (kind, frame) in self._frames:
                return False
            self._make_room(size_bytes, PRIORITIES[kind])
            while True:
                try:
                    self._commit(make)
                    return True
                except _NoRoomError as error:
                    self._drop_for(PRIORITIES[kind], str(error))
                finally:
                    shutil.rmtree(self._making, ignore_errors=True)

    def _make_room(self, size_bytes: int, priority: int) -> None:
        if size_bytes > self._limit_bytes:
            raise OutboxError(
                f"item of {size_bytes} bytes exceeds the size of the outbox, {self._limit_bytes} bytes"
            )
        while self.depth()[1] + size_bytes > self._limit_bytes:
            self._drop_for(priority, f"the outbox is full: {self._limit_bytes} bytes")

    def _drop_for(self, priority: int, reason: str) -> None:
        """Drop the least valuable item.

        Raises:
            OutboxError: the outbox is empty, or its least valuable item is more urgent than `priority`.
        """
        with self._lock:
            item = min(self._pending, key=lambda item: item.worth, default=None)
        if item is None or item.manifest.priority < priority:
            raise OutboxError(f"{reason}; no pending item has the same or a lower priority")
        self._settle(item, "refused")
        self._report(
            Dropped(
                frame=item.manifest.frame,
                what=item.manifest.kind,
                size_bytes=item.manifest.size_bytes,
                reason=reason,
            )
        )

    def _settle(self, item: OutboxItem, outcome: str) -> bool:
        with self._lock:
            if item not in self._pending:
                return False
            self._pending.remove(item)
            try:
                (item.folder / "manifest").replace(self._folder / outcome / item.manifest.item_id.hex())
                sync_folder(self._folder / outcome)
            except OSError as error:
                # Settled in memory only: a restart offers the item again, and the ground replies `done`.
                self._report(OutboxTrouble(reason=f"{item.folder}: {error.strerror}"))
            shutil.rmtree(item.folder, ignore_errors=True)
            return True

    @property
    def _making(self) -> Path:
        return self._folder / "pending" / ".making"

    def _image(
        self, making: Path, source: BinaryIO, frame: str, metadata: Metadata, expires_s: float | None
    ) -> Manifest:
        size_bytes, sha256 = _copy_hashed(source, making, self._chunk_bytes)
        inline = (making / "data").read_bytes() if size_bytes <= INLINE_LIMIT_BYTES else None
        if inline is not None:
            (making / "data").unlink()
            (making / "digests").unlink()
        return self._manifest("image", frame, size_bytes, sha256, metadata, expires_s, inline)

    def _manifest(
        self,
        kind: Kind,
        frame: str,
        size_bytes: int,
        sha256: bytes,
        metadata: Metadata,
        expires_s: float | None,
        inline: bytes | None,
    ) -> Manifest:
        return Manifest(
            item_id=item_id(self._satellite, kind, frame, sha256),
            kind=kind,
            frame=frame,
            size_bytes=size_bytes,
            sha256=sha256,
            chunk_bytes=self._chunk_bytes,
            priority=PRIORITIES[kind],
            metadata=dict(metadata),
            query=0,
            expires_s=UNSET if expires_s is None else expires_s,
            data=UNSET if inline is None else inline,
        )

    def _commit(self, make: Callable[[Path], Manifest]) -> None:
        making = self._making
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            manifest = make(making)
            folder = self._folder / "pending" / f"{self._next_sequence:012d}-{manifest.item_id.hex()}"
            write_atomically(making / "manifest", encode(manifest), durable=True)
            making.rename(folder)
            sync_folder(folder.parent)
        except OutboxError:
            raise
        except OSError as error:
            raise _as_outbox_error(making, error) from error
        item = OutboxItem(manifest, self._next_sequence, folder)
        self._next_sequence += 1
        with self._lock:
            bisect.insort(self._pending, item, key=lambda item: item.order)
            self._frames.add((manifest.kind, manifest.frame))

    def _load(self) -> None:
        for folder in sorted((self._folder / "pending").iterdir()):
            manifest = _read_manifest(folder / "manifest")
            if manifest is None or folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._pending.append(OutboxItem(manifest, int(folder.name.split("-")[0]), folder))
            self._frames.add((manifest.kind, manifest.frame))
        self._pending.sort(key=lambda item: item.order)
        for outcome in ("released", "refused"):
            for path in (self._folder / outcome).iterdir():
                manifest = _read_manifest(path)
                if manifest is not None:
                    self._frames.add((manifest.kind, manifest.frame))


def _as_outbox_error(path: Path, error: OSError) -> OutboxError:
    kind = _NoRoomError if error.errno in NO_ROOM else OutboxError
    return kind(f"{path}: {error.strerror or error}")


def _read_manifest(path: Path) -> Manifest | None:
    try:
        message = decode_downward(path.read_bytes())
    except (OSError, MalformedError):
        return None
    return replace(message, query=0) if isinstance(message, Manifest) else None


def _copy_hashed(source: BinaryIO, making: Path, chunk_bytes: int) -> tuple[int, bytes]:
    """Copy a file with a digest of each chunk, fsync both; return (size in bytes, sha256)."""
    digest = hashlib.sha256()
    size_bytes = 0
    with (making / "data").open("wb") as data, (making / "digests").open("wb") as digests:
        while chunk := source.read(chunk_bytes):
            digest.update(chunk)
            digests.write(chunk_digest(chunk))
            data.write(chunk)
            size_bytes += len(chunk)
        for file in (data, digests):
            file.flush()
            os.fsync(file.fileno())
    return size_bytes, digest.digest()
