"""Access to parts of an item's files, stored manifests, and the digests that reveal damage."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nodes.contract.files import write_atomically
from nodes.transfer.messages import MalformedError, Manifest, decode_downward, encode

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 8
FRAME_KEY_BYTES = 16
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def frame_key(frame: str) -> str:
    """Return the name of a frame in names of files: a part of its sha256, hexadecimal."""
    return hashlib.sha256(frame.encode(errors="surrogatepass")).digest()[:FRAME_KEY_BYTES].hex()


def write_manifest(path: Path, manifest: Manifest, *, durable: bool) -> None:
    """Store a manifest in one step, with a digest that reveals damage.

    Args:
        path: the file.
        manifest: the manifest.
        durable: sync the file and its folder, so that it survives a power cut.

    Raises:
        OSError: it cannot be written.
    """
    payload = encode(manifest)
    write_atomically(path, payload + chunk_digest(payload), durable=durable)


def read_manifest(path: Path) -> Manifest | None:
    """Return a stored manifest; None if there is no such file, or it is damaged.

    Files of older versions have no digest.

    Raises:
        OSError: the file cannot be read now.
    """
    try:
        data = path.read_bytes()
    except _NO_FILE:
        return None
    payload, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    try:
        message = decode_downward(payload if chunk_digest(payload) == digest else data)
    except MalformedError:
        return None
    return message if isinstance(message, Manifest) else None


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
