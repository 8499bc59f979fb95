"""One item of an inbox, complete or in part, and the right to answer it; the files are listed in inbox.py."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nodes.contract.files import sync_file, sync_folder, write_atomically
from nodes.transfer.chunk_map import ChunkMap
from nodes.transfer.files import (
    BLOCK_BYTES,
    DIGEST_BYTES,
    chunk_digest,
    frame_key,
    read_at,
    read_manifest,
    write_at,
    write_manifest,
)
from nodes.transfer.messages import Chunk, MalformedError, Manifest

FRAMES = ".frames"
CUT = "cut"
STATION_BYTES = 16


class GoneError(OSError):
    """The item's files were removed by somebody else."""


@dataclass
class InboxItem:
    """One item of one satellite, complete or in part; change it within `locked` only.

    Attributes:
        station: id of the station, or of its part, that has this object; see `locked`.
        was_answered: whether this object's claim was used; the files may be gone since.
    """

    satellite: str
    manifest: Manifest
    folder: Path
    chunks: ChunkMap
    station: bytes
    complete: bool = False
    refused: str | None = None
    failed_tries: int = 0
    query: int = 0
    was_answered: bool = False
    _lock_file: int = field(default=-1, repr=False)

    @property
    def data_path(self) -> Path:
        """File of the verified bytes; it exists once the item is complete."""
        return self.folder / "data"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the item against other stations, and read its state again if one of them changed it.

        Raises:
            GoneError: the item's files were removed.
            OSError: the item cannot be locked.
        """
        if self._lock_file < 0:
            try:
                self._lock_file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError as error:
                raise self._gone() from error
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            if os.fstat(self._lock_file).st_nlink == 0:
                raise self._gone()
            if os.pread(self._lock_file, len(self.station), 0) != self.station:
                self.read_state()
                os.pwrite(self._lock_file, self.station, 0)
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def read_state(self) -> None:
        """Read the state from disk. Raises OSError."""
        self.manifest = read_manifest(self.folder / CUT) or self.manifest
        self.chunks = ChunkMap(self.manifest.chunks)
        if (self.folder / "part").exists():
            digests = _read_if_there(self.folder / "digests")
            for index in range(min(self.manifest.chunks, len(digests) // DIGEST_BYTES)):
                if any(digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]):
                    self.chunks.add(index)
        self.refused = _read_if_there(self.folder / "refused").decode(errors="replace") or None
        self.complete = self.data_path.exists()

    def write(self, chunk: Chunk) -> bool:
        """Store a chunk; return False if it was stored before.

        Raises:
            MalformedError: the chunk does not fit the manifest.
            OSError: the chunk cannot be written.
        """
        index = self.manifest.chunk_at(chunk.offset)
        if index is None:
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
        part.touch()  # may have been removed by somebody else: then all its chunks are missing
        with part.open("r+b", buffering=0) as file:
            file.truncate(self.manifest.size_bytes)
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            if digest.digest() != self.manifest.sha256:
                self._discard_damage()
                part.touch()  # without it, the bytes would seem to be lost, while the satellite sends them
                return False
            os.fsync(file.fileno())
        sync_file(self.folder / "manifest")
        part.rename(self.data_path)
        (self.folder / "digests").unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            sync_folder(folder)
        self.complete = True
        return True

    def cut(self) -> bool:
        """Take the pieces that have come, up to the first that is missing, for the whole item.

        Returns False if not even the first piece is there, or another item has the frame.

        Raises:
            OSError: the item cannot be read or written.
        """
        count = self.manifest.whole_pieces(self.chunks.first_missing())
        if count == 0 or not self.claim_frame():
            return False
        data = read_at(self.folder / "part", 0, self.manifest.chunk_offset(count))
        self.manifest = self.manifest.cut(data, count)
        is_stored = self.finish()
        # In this order: after a crash in between, the item counts as damaged, and is sent again.
        write_manifest(self.folder / CUT, self.manifest, durable=True)
        return is_stored

    @property
    def is_cut(self) -> bool:
        """Whether the item was taken for complete before all of it had come."""
        return (self.folder / CUT).exists()

    def claim_frame(self) -> bool:
        """Claim the frame for this item; False if another complete item of the satellite has it.

        A satellite that has lost its records may take a frame again, and come to another answer.

        Raises:
            OSError: the claim cannot be stored.
        """
        name = self.folder.parent / FRAMES / frame_key(self.manifest.frame)
        name.parent.mkdir(exist_ok=True)
        for _ in range(2):
            try:
                # A link: made in one step, and it has no content that could be damaged.
                name.symlink_to(self.folder.name)
                return True
            except FileExistsError:
                holder = name.readlink().name
            if holder == self.folder.name:
                return True
            if (self.folder.parent / holder / "data").exists():
                return False
            name.unlink(missing_ok=True)
        return False

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

    def reopen(self) -> None:
        """Make a complete item whose bytes were damaged incomplete, so that it can be sent again.

        `unanswered` stays: it tells that the satellite may have deleted its bytes.

        Raises:
            OSError: the damaged bytes cannot be deleted.
        """
        self.data_path.unlink(missing_ok=True)
        self.discard()
        self.complete = False

    @property
    def answered(self) -> bool:
        """Whether its answer has been reported."""
        return (self.folder / "answered").exists()

    def lost(self) -> str | None:
        """Return how the bytes of a complete item without an answer were removed or cut, else None."""
        if self.was_answered:
            return None
        try:
            size_bytes = self.data_path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            size_bytes = -1
        if size_bytes == self.manifest.size_bytes or self.answered:
            return None
        if size_bytes < 0:
            return f"{self.data_path} was removed before it was answered"
        return f"{self.data_path} has {size_bytes} of {self.manifest.size_bytes} bytes"

    def damage(self) -> str | None:
        """Return how the bytes of a complete item without an answer changed since they came, else None.

        Raises:
            OSError: they cannot be read now.
        """
        problem = self.lost()
        if problem is None and not self.was_answered and not self.answered:
            digest = hashlib.sha256()
            with self.data_path.open("rb", buffering=0) as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
            if digest.digest() != self.manifest.sha256:
                return f"{self.data_path}: damaged after it was received"
        return problem

    @property
    def is_missed(self) -> bool:
        """Whether nothing is left of the bytes of an item that was complete and has no answer."""
        names = ("part", "data", "answered", "refused")  # `part` first: it may become `data` now
        return (self.folder / "unanswered").exists() and not any((self.folder / n).exists() for n in names)

    def claim(self) -> Claim | None:
        """Return the right to answer the item, or None.

        There is none if the item is not complete, or another station holds or has used the right.

        Raises:
            OSError: the item's files cannot be opened now.
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

    def __del__(self) -> None:
        self.close()  # it is a number, which nobody else would close

    def _gone(self) -> GoneError:
        return GoneError(errno.ENOENT, "was removed by another program", str(self.folder))

    def _discard_damage(self) -> None:
        """Drop the chunks that changed since they arrived, or all if none did, after a sha256 mismatch."""
        self.failed_tries += 1
        damaged = []
        for index in range(self.manifest.chunks):
            begin, length = self.manifest.chunk_offset(index), self.manifest.chunk_length(index)
            data = read_at(self.folder / "part", begin, length)
            written = read_at(self.folder / "digests", index * DIGEST_BYTES, DIGEST_BYTES)
            if chunk_digest(data) != written:
                damaged.append(index)
        if not damaged:
            self.discard()
        for index in damaged:
            write_at(self.folder / "digests", index * DIGEST_BYTES, bytes(DIGEST_BYTES))
            self.chunks.remove(index)


@dataclass
class Claim:
    """The right to answer an item, until it is answered or released, or this process ends."""

    item: InboxItem
    _descriptor: int

    def answered(self) -> None:
        """Record, across restarts, that the item's answer has been reported; release the lock.

        Raises:
            OSError: it cannot be recorded now; the claim stays, so that this can be called again.
        """
        folder = self.item.folder
        if not self.item.answered:
            (folder / "unanswered").replace(folder / "answered")
        self.item.was_answered = True
        sync_folder(folder)
        self.release()

    @property
    def holds(self) -> bool:
        """Whether it is still the only right; it is not if somebody replaced the item's folder."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), (self.item.folder / "unanswered").stat())
        except OSError:
            return False

    def release(self) -> None:
        """Release the item; without an answer, this station or another may claim it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
