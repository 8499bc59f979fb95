"""Access to parts of an item's files, stored manifests, and the digests that reveal damage."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from nodes.contract.files import write_atomically
from nodes.transfer.messages import MalformedError, Manifest, decode_downward, encode

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 8
FRAME_KEY_BYTES = 16
RESERVE_BYTES = 32 << 20  # of a disk, not used for images: for results, events, answers
RESERVE_SHARE = 0.05  # of a small disk
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


_WALL_S = time.time() - time.monotonic()  # at the start of this process


def age_s(modified_s: float) -> float:
    """Return for how long a file has not been modified, also if the wall clock was set meanwhile.

    By the clock as it was when this process began, or as it is now: the shorter time, since what is thought
    too old is deleted.

    Args:
        modified_s: the file's time, seconds of CLOCK_REALTIME.
    """
    now_s = time.monotonic()
    return min(
        (age for age in (_WALL_S + now_s - modified_s, time.time() - modified_s) if age >= 0), default=0.0
    )


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a disk lacks for an item.

    Args:
        size_bytes: the missing space.
        reason: the same in words.
    """

    size_bytes: int
    reason: str


def disk_shortfall(folder: Path, size_bytes: int) -> Shortfall | None:
    """Return what the disk of a folder lacks for an item beside its reserve; None if there is room.

    Raises:
        OSError: the disk cannot be read.
    """
    disk = os.statvfs(next(path for path in (folder, *folder.parents) if path.is_dir()))
    whole, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    reserve = min(RESERVE_BYTES, int(whole * RESERVE_SHARE))
    lacking = size_bytes + reserve - free
    if whole == 0 or lacking <= 0:  # some file systems do not say their size
        return None
    return Shortfall(
        lacking,
        f"{folder}: No space left on its disk but a reserve of {reserve} bytes: {free} of {whole} are free",
    )


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
