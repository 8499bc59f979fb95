"""Files that appear whole or not at all, and the checksum by which a run and a board name files.

Every program of `nodes` and `testbed` replaces files by these functions. `traces` has its own
(traces/output_file.py): it imports neither of the two. Both follow symbolic links, never replace a device,
and take "-" for standard output.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

OWNER_ONLY = 0o600
BLOCK_BYTES = 1 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# EFBIG is not among them: a file that is too large for the process stays so.
TRANSIENT = NO_ROOM | {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EROFS,
    errno.EAGAIN,
    errno.EINTR,
    errno.EBUSY,
    errno.ETXTBSY,
    errno.ESTALE,
}
AGAIN_S = 1.0
AGAIN_MAX_S = 60.0  # a disk that refuses a file for longer will not give it
_STDOUT = ("-", "/dev/stdout")


def is_stdout(path: Path) -> bool:
    """Return whether a path stands for standard output."""
    return str(path) in _STDOUT


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block ends without an error.

    After an error `path` is as it was and the temporary file is gone. Several processes or threads may
    replace the same file: each has a temporary path of its own, and the last to finish wins.

    Of a symbolic link, the file that it leads to is replaced. Devices and pipes stay what they are and are
    written to, as is standard output (path "-"); the temporary path is then elsewhere.

    Args:
        path: the file to create or replace.
        durable: sync the file and its folder, so that the result survives a power cut.
        private: create the file readable and writable by its owner alone, from its first moment on.

    Yields:
        The path to write to. Its name starts with a dot and does not keep the suffix of `path`.

    Raises:
        OSError: the file cannot be written, synced or renamed, or the path is that of a folder or another
            thing that cannot be written.
    """
    place = _checked(path)
    if place is None:
        with _written_through(path) as temporary:
            yield temporary
        return
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(6)}.part")
    try:
        if private:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
        yield temporary
        if durable:
            sync_file(temporary)
        temporary.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to show
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(place.parent)


def check_output(path: Path) -> None:
    """Check that `replacing` can write a file, before time is spent on its content.

    Raises:
        OSError: as in `replacing`.
    """
    place = _checked(path)
    if place is None:
        return
    if not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {place.parent}", str(path))
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"folder {place.parent} is not writable", str(path))


def _checked(path: Path) -> Path | None:
    """Return the path of the file to replace; None for what is written through."""
    if is_stdout(path):
        return None
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
            return None
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file; name another", str(path))
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def _written_through(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "part"
        yield temporary
        with temporary.open("rb") as content:
            if is_stdout(path):
                sys.stdout.flush()
                shutil.copyfileobj(content, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            else:
                with path.open("wb") as out:
                    shutil.copyfileobj(content, out)


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


def write_in(folder: int, name: str, data: bytes | str) -> None:
    """Replace a file of an open folder by `data` in one step.

    Unlike `write_atomically` it follows no symbolic link and no path, so that nobody who moves or replaces
    the folder can make it write elsewhere.

    Args:
        folder: descriptor of the folder.
        name: name of the file in it.
        data: its new content; text is written as UTF-8.

    Raises:
        OSError: the file cannot be written or renamed.
    """
    temporary = f".{name}.{secrets.token_hex(6)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o666, dir_fd=folder), "wb") as file:  # noqa: PTH123
            file.write(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to show
            os.unlink(temporary, dir_fd=folder)
        raise


def sync_file(path: Path) -> None:
    """Make the content of a file survive a power cut.

    Raises:
        OSError: the file cannot be opened or synced.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


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


def tail(path: Path, most_bytes: int, from_byte: int = 0) -> bytes:
    """Return the end of a file that may be of any size.

    Args:
        path: the file.
        most_bytes: how much to read at most.
        from_byte: what lies before is left out.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(from_byte, size_bytes - most_bytes))
        return file.read(most_bytes)


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


def is_transient(error: OSError) -> bool:
    """Return whether the same access may succeed later, without any change of the file."""
    return error.errno in TRANSIENT


def patiently(attempt: Callable[[], T], on_wait: Callable[[OSError], None]) -> T:
    """Return what `attempt` returns; repeat it while it fails for a reason that passes.

    Args:
        attempt: accesses a file.
        on_wait: called once, before the first wait, with the error.

    Raises:
        OSError: the reason does not pass, or did not within AGAIN_MAX_S.
    """
    until_s, told = time.monotonic() + AGAIN_MAX_S, False
    while True:
        try:
            return attempt()
        except OSError as error:
            if not is_transient(error) or time.monotonic() >= until_s:
                raise
            if not told:
                on_wait(error)
                told = True
        time.sleep(AGAIN_S)


def has_too_many_scans(kind: str | None, file: BinaryIO) -> bool:
    """Return whether an image is a JPEG of more than MOST_SCANS scans; a progressive one has about ten.

    A scan of 64 bytes makes a decoder go through all of the image, so that a file of a megabyte can take half
    an hour. The file is read to its end, and is then where it was.
    """
    if kind not in ("JPEG", "MPO"):
        return False
    position, found, before = file.tell(), 0, b""
    file.seek(0)
    while found <= MOST_SCANS and (block := file.read(BLOCK_BYTES)):
        found += (before + block).count(_SCAN)
        before = block[-1:]
    file.seek(position)
    return found > MOST_SCANS


MOST_SCANS = 100
_SCAN = b"\xff\xda"  # the data of an image never hold it: after ff they have 00
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")
"""Formats of frames, as Pillow names them. It passes some others on to programs, as EPS to Ghostscript."""


def is_policy_file(policy: str) -> bool:
    """Return whether a policy is given as a Python file, which is code, and not by its name."""
    return policy.endswith(".py")


# Of a confidence network: data, so that reading them executes nothing.
FILE, WEIGHTS = "confidence.json", "confidence.safetensors"
NETWORK_MAX_BYTES = 8 << 20  # one that eval trains has 0.12 MB
VERSION_DIGITS = 12


def read_network(folder: Path) -> dict[str, bytes]:
    """Return the files of the network in a folder, by name.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: they are too large.
    """
    sizes_bytes = sum((folder / name).stat().st_size for name in (FILE, WEIGHTS))
    if sizes_bytes > NETWORK_MAX_BYTES:
        raise ValueError(
            f"{folder} has {sizes_bytes} bytes; a confidence network has at most {NETWORK_MAX_BYTES}"
        )
    return {name: (folder / name).read_bytes() for name in (FILE, WEIGHTS)}


def network_sha256(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of a network's files, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def network_version(sha256: str) -> str:
    """Return what events and results call the network of a checksum."""
    return sha256[:VERSION_DIGITS]
