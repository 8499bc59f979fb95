"""Reading and writing parts of an item's files, and finding damage in them."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 8
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


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
