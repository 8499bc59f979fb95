"""What a satellite holds for the ground, on disk, until the ground has it.

    outbox/pending/<sequence>-<id>/manifest     encoded manifest; holds the data of a small item
    outbox/pending/<sequence>-<id>/data         the bytes of a large item, a copy of what was captured
    outbox/released/<id>                        manifest of what the ground has confirmed
    outbox/refused/<id>                         manifest of what the ground will not take

The rename of a manifest out of pending/ is the moment of release; bytes without a manifest are left-overs of
a crash and are removed when the outbox is opened.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from nodes.transfer.files import sync_folder, write_durably
from nodes.transfer.messages import (
    INLINE_LIMIT_BYTES,
    Kind,
    MalformedError,
    Manifest,
    Metadata,
    decode_downward,
    encode,
)

PRIORITIES: dict[Kind, int] = {"answer": 0, "image": 1}
BLOCK_BYTES = 1 << 20


class OutboxError(OSError):
    """The outbox cannot take or give an item; names the file and what the system said."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One item that waits for the ground; `sequence` tells older from newer."""

    manifest: Manifest
    sequence: int
    folder: Path

    @property
    def order(self) -> tuple[int, int]:
        """What goes first sorts first."""
        return self.manifest.priority, self.sequence

    def read_chunk(self, index: int) -> bytes:
        """The bytes of one chunk. Raises OutboxError if they are not there."""
        length = self.manifest.chunk_length(index)
        path = self.folder / "data"
        try:
            with path.open("rb") as file:
                file.seek(index * self.manifest.chunk_bytes)
                data = file.read(length)
        except OSError as error:
            raise OutboxError(f"{path}: {error.strerror}") from error
        if len(data) != length:
            raise OutboxError(f"{path}: ends before byte {index * self.manifest.chunk_bytes + length}")
        return data


class Outbox:
    """The items of one satellite; safe to use from several threads.

    Args:
        folder: made if missing; belongs to this satellite alone.
        satellite: its name, part of every item's id.
        chunk_bytes: chunk size of items that are added from now on.
    """

    def __init__(self, folder: Path, satellite: str, chunk_bytes: int) -> None:
        self._folder = folder
        self._satellite = satellite
        self._chunk_bytes = chunk_bytes
        self._lock = threading.Lock()
        self._pending: list[OutboxItem] = []
        self._frames: dict[tuple[Kind, str], str] = {}
        for name in ("pending", "released", "refused"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._load()
        self._next_sequence = max((item.sequence for item in self._pending), default=0) + 1

    def add_image(self, frame: str, image: Path, metadata: Metadata) -> bool:
        """Take a copy of an image file; False if this frame was taken before. Raises OutboxError."""
        with self._lock:
            if ("image", frame) in self._frames:
                return False
            making = self._making()
            try:
                size_bytes, sha256 = _copy_hashed(image, making / "data")
                inline = (making / "data").read_bytes() if size_bytes <= INLINE_LIMIT_BYTES else None
            except OSError as error:
                shutil.rmtree(making, ignore_errors=True)
                raise OutboxError(f"{image}: {error.strerror or error}") from error
            if size_bytes == 0:
                shutil.rmtree(making, ignore_errors=True)
                raise OutboxError(f"{image}: is empty")
            self._commit(making, "image", frame, size_bytes, sha256, metadata, inline)
        return True

    def add_answer(self, frame: str, answer: bytes, metadata: Metadata) -> bool:
        """Take a small message; False if this frame was answered before. Raises OutboxError."""
        if not 0 < len(answer) <= INLINE_LIMIT_BYTES:
            raise OutboxError(f"answer to {frame!r} has {len(answer)} bytes; 1 to {INLINE_LIMIT_BYTES} fit")
        with self._lock:
            if ("answer", frame) in self._frames:
                return False
            making = self._making()
            self._commit(
                making, "answer", frame, len(answer), hashlib.sha256(answer).digest(), metadata, answer
            )
        return True

    def holds(self, frame: str) -> bool:
        """Whether this frame's answer or image was ever added, also before a restart."""
        with self._lock:
            return any((kind, frame) in self._frames for kind in PRIORITIES)

    def pending(self, limit: int) -> list[OutboxItem]:
        """Up to `limit` items that the ground does not have, in the order in which they go."""
        with self._lock:
            return self._pending[:limit]

    def release(self, item: OutboxItem) -> None:
        """Forget the bytes of an item that the ground has; remember that it has."""
        self._settle(item, "released")

    def refuse(self, item: OutboxItem) -> None:
        """Forget the bytes of an item that cannot be delivered; remember that."""
        self._settle(item, "refused")

    def _settle(self, item: OutboxItem, outcome: str) -> None:
        with self._lock:
            if item not in self._pending:
                return
            self._pending.remove(item)
            try:
                (item.folder / "manifest").replace(self._folder / outcome / item.manifest.item_id.hex())
                sync_folder(self._folder / outcome)
            except OSError as error:
                raise OutboxError(f"{item.folder}: {error.strerror}") from error
            shutil.rmtree(item.folder, ignore_errors=True)

    def _making(self) -> Path:
        making = self._folder / "pending" / ".making"
        shutil.rmtree(making, ignore_errors=True)
        try:
            making.mkdir()
        except OSError as error:
            raise OutboxError(f"{making}: {error.strerror}") from error
        return making

    def _commit(
        self,
        making: Path,
        kind: Kind,
        frame: str,
        size_bytes: int,
        sha256: bytes,
        metadata: Metadata,
        inline: bytes | None,
    ) -> None:
        identity = [self._satellite.encode(), kind.encode(), frame.encode(), sha256]
        item_id = hashlib.sha256(b"\0".join(identity)).digest()[:16]
        manifest = Manifest(
            item_id=item_id,
            kind=kind,
            frame=frame,
            size_bytes=size_bytes,
            sha256=sha256,
            chunk_bytes=self._chunk_bytes,
            priority=PRIORITIES[kind],
            metadata=metadata,
            data=inline,
        )
        folder = self._folder / "pending" / f"{self._next_sequence:012d}-{item_id.hex()}"
        try:
            if inline is not None:
                (making / "data").unlink(missing_ok=True)
            write_durably(making / "manifest", encode(manifest))
            making.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise OutboxError(f"{folder}: {error.strerror}") from error
        bisect.insort(self._pending, OutboxItem(manifest, self._next_sequence, folder), key=lambda i: i.order)
        self._frames[kind, frame] = "pending"
        self._next_sequence += 1

    def _load(self) -> None:
        for folder in sorted((self._folder / "pending").iterdir()):
            manifest = _read_manifest(folder / "manifest")
            if manifest is None or folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._pending.append(OutboxItem(manifest, int(folder.name.split("-")[0]), folder))
            self._frames[manifest.kind, manifest.frame] = "pending"
        self._pending.sort(key=lambda item: item.order)
        for outcome in ("released", "refused"):
            for path in (self._folder / outcome).iterdir():
                manifest = _read_manifest(path)
                if manifest is not None:
                    self._frames[manifest.kind, manifest.frame] = outcome


def _read_manifest(path: Path) -> Manifest | None:
    try:
        message = decode_downward(path.read_bytes())
    except (OSError, MalformedError):
        return None
    return replace(message, query=0) if isinstance(message, Manifest) else None


def _copy_hashed(source: Path, target: Path) -> tuple[int, bytes]:
    """Copy in blocks, fsync; (size in bytes, sha256)."""
    digest = hashlib.sha256()
    size_bytes = 0
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
            size_bytes += len(block)
        writing.flush()
        os.fsync(writing.fileno())
    return size_bytes, digest.digest()
