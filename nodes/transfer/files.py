"""Writing files so that they are whole or not there, also after a power cut; finding damage in them."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 8
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def sync_folder(folder: Path) -> None:
    """Make renames and new names inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_at(path: Path, position: int, data: bytes) -> None:
    """Write into a file, made if missing, at a position in bytes; all of it, or OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    finally:
        os.close(descriptor)


def read_at(path: Path, position: int, length: int) -> bytes:
    """Up to `length` bytes from a position; fewer at the file's end. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        file.seek(position)
        data = bytearray()
        while len(data) < length and (block := file.read(length - len(data))):
            data += block
    return bytes(data)


def chunk_digest(data: bytes) -> bytes:
    """Eight bytes of a chunk's sha256, kept beside stored chunks: which one of them is damaged?

    What holds for an item as a whole is its own sha256; this only saves sending all of it again.
    """
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]
