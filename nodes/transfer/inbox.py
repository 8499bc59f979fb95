"""What a ground station has received, on disk.

    inbox/<satellite>/<id>/manifest     encoded manifest, as it first came
    inbox/<satellite>/<id>/part         the bytes so far
    inbox/<satellite>/<id>/map          which chunks are in `part`, one bit each
    inbox/<satellite>/<id>/data         all bytes, verified: `part` renamed; its presence says "complete"
    inbox/<satellite>/<id>/answered     empty; its presence says that a model, or the satellite, has answered
    inbox/<satellite>/<id>/refused      the reason; its presence says that the item is not wanted again

The map is written after the bytes and never fsynced: it may say too little after a power cut, and a chunk
comes twice; or too much, and the sha256 finds it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.files import sync_folder, write_durably
from nodes.transfer.messages import Chunk, MalformedError, Manifest, decode_downward, encode

BLOCK_BYTES = 1 << 20
SATELLITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


@dataclass
class InboxItem:
    """One item of one satellite, whole or in part."""

    satellite: str
    manifest: Manifest
    folder: Path
    chunks: ChunkMap
    complete: bool = False
    refused: str | None = None
    failed_tries: int = field(default=0)

    @property
    def data_path(self) -> Path:
        """Where the verified bytes are once the item is complete."""
        return self.folder / "data"

    def write(self, chunk: Chunk) -> bool:
        """Store a chunk; False if it was there already. Raises MalformedError, OSError."""
        index, remainder = divmod(chunk.offset, self.manifest.chunk_bytes)
        if remainder or index >= self.manifest.chunks:
            raise MalformedError(f"offset {chunk.offset} is not the start of a chunk")
        if len(chunk.data) != self.manifest.chunk_length(index):
            raise MalformedError(f"chunk at {chunk.offset} has {len(chunk.data)} bytes")
        if index in self.chunks:
            return False
        _write_at(self.folder / "part", chunk.offset, chunk.data)
        self.chunks.add(index)
        position, value = self.chunks.byte_of(index)
        _write_at(self.folder / "map", position, bytes([value]))
        return True

    def finish(self, data: bytes | None = None) -> bool:
        """Verify what is stored and make it complete; False on a sha256 mismatch, chunks thrown away.

        Args:
            data: the bytes of a small item, which has no chunks.
        """
        part = self.folder / "part"
        if data is not None:
            _write_at(part, 0, data)
        with part.open("r+b") as file:
            file.truncate(self.manifest.size_bytes)
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            if digest.digest() != self.manifest.sha256:
                self._discard()
                return False
            os.fsync(file.fileno())
        part.rename(self.data_path)
        (self.folder / "map").unlink(missing_ok=True)
        sync_folder(self.folder)
        self.complete = True
        return True

    def refuse(self, reason: str) -> None:
        """Give the item up, remember why, free its bytes."""
        write_durably(self.folder / "refused", reason.encode())
        self.refused = reason
        self._discard()

    @property
    def answered(self) -> bool:
        """Whether its answer has been reported."""
        return (self.folder / "answered").exists()

    def mark_answered(self) -> None:
        """Remember that its answer has been reported, also across a restart."""
        write_durably(self.folder / "answered", b"")

    def _discard(self) -> None:
        self.failed_tries += 1
        (self.folder / "part").unlink(missing_ok=True)
        (self.folder / "map").unlink(missing_ok=True)
        self.chunks = ChunkMap(self.manifest.chunks)


class Inbox:
    """The items that a station has; for one thread, except `unanswered` before that thread starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._items: dict[tuple[str, bytes], InboxItem] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, satellite: str, manifest: Manifest) -> InboxItem:
        """The item of a manifest, made if new. Raises MalformedError if it contradicts an earlier one."""
        item = self.find(satellite, manifest.item_id)
        if item is None:
            folder = self._path(satellite, manifest.item_id)
            folder.mkdir(parents=True, exist_ok=True)
            write_durably(folder / "manifest", encode(manifest))
            sync_folder(folder.parent)
            item = InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks))
            self._items[satellite, manifest.item_id] = item
        known, new = item.manifest, manifest
        if (known.sha256, known.size_bytes, known.chunk_bytes) != (
            new.sha256,
            new.size_bytes,
            new.chunk_bytes,
        ):
            raise MalformedError("manifest contradicts the one that came before with this id")
        return item

    def find(self, satellite: str, item_id: bytes) -> InboxItem | None:
        """The item with this id, from memory or disk. Raises MalformedError for a name that is none."""
        if not SATELLITE_NAME.fullmatch(satellite):
            raise MalformedError("satellite name with characters that are not allowed")
        item = self._items.get((satellite, item_id))
        if item is None:
            item = _load(satellite, self._path(satellite, item_id))
            if item is not None:
                self._items[satellite, item_id] = item
        return item

    def unanswered(self) -> list[InboxItem]:
        """Complete items whose answer has not been reported, in the order of their completion."""
        found = []
        for folder in self._folder.glob("*/*"):
            item = _load(folder.parent.name, folder)
            if item is not None and item.complete and not item.answered:
                found.append(item)
        return sorted(found, key=lambda item: item.data_path.stat().st_mtime_ns)

    def _path(self, satellite: str, item_id: bytes) -> Path:
        return self._folder / satellite / item_id.hex()


def _load(satellite: str, folder: Path) -> InboxItem | None:
    try:
        manifest = decode_downward((folder / "manifest").read_bytes())
    except (OSError, MalformedError):
        return None
    if not isinstance(manifest, Manifest):
        return None
    bits = _read_if_there(folder / "map") if (folder / "part").exists() else b""
    refused = _read_if_there(folder / "refused").decode(errors="replace") or None
    complete = (folder / "data").exists()
    return InboxItem(satellite, manifest, folder, ChunkMap(manifest.chunks, bits), complete, refused)


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _write_at(path: Path, position: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    finally:
        os.close(descriptor)
