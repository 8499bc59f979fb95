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
    """Write all of `data` at a position in bytes of a file, which is created if missing.

    Raises:
        OSError: the data cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while data:
            written = os.pwrite(descriptor, data, position)
            data, position = data[written:], position + written
    finally:
        os.close(descriptor)


def read_at(path: Path, position: int, length: int) -> bytes:
    """Return up to `length` bytes from a position; fewer at the end of the file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(position)
        data = bytearray()
        while len(data) < length and (block := file.read(length - len(data))):
            data += block
    return bytes(data)


def chunk_digest(data: bytes) -> bytes:
    """Return eight bytes of a chunk's sha256, which are stored to find damaged chunks.

    An item is verified by its own sha256; the digests only save sending all of it again.
    """
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]
