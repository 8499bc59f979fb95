"""Access to parts of an item's files, and the digests that reveal damage."""

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
    """Return the first eight bytes of a chunk's sha256, which are stored to find damaged chunks.

    The sha256 of the whole item verifies it. The digests only avoid sending undamaged chunks again.
    """
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]
