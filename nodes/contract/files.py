"""Files that appear whole or not at all, and the checksum by which a run and a board name files.

Every program of `nodes` and `testbed` replaces files by these functions. `traces` has its own
(traces/output_file.py): it imports neither of the two.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

OWNER_ONLY = 0o600
BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block ends without an error.

    After an error `path` is as it was and the temporary file is gone. Several processes or threads may
    replace the same file: each has a temporary path of its own, and the last to finish wins.

    Args:
        path: the file to create or replace.
        durable: sync the file and its folder, so that the result survives a power cut.
        private: create the file readable and writable by its owner alone, from its first moment on.

    Yields:
        The path to write to. Its name starts with a dot and does not keep the suffix of `path`.

    Raises:
        OSError: the file cannot be written, synced or renamed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to show
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def write_atomically(path: Path, data: bytes | str, *, durable: bool = False, private: bool = False) -> None:
    """Replace `path` by `data` in one step.

    Args:
        path: the file to create or replace.
        data: its new content; text is written as UTF-8 with its line ends as they are.
        durable: as in `replacing`.
        private: as in `replacing`.

    Raises:
        OSError: as in `replacing`.
    """
    with replacing(path, durable=durable, private=private) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of `folder` survive a power cut.

    Raises:
        OSError: the folder cannot be opened or synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()  # Python 3.10 has no hashlib.file_digest
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
