"""Why a file cannot be written, in one line: which disk or limit, and how much of it is left."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from pathlib import Path

from nodes.contract.files import NO_ROOM

_LIMITS = {
    errno.EFBIG: (resource.RLIMIT_FSIZE, "the largest allowed file has", "bytes (ulimit -f)"),
    errno.EMFILE: (resource.RLIMIT_NOFILE, "this process may have", "files open (ulimit -n)"),
}


def disk_problem(path: Path, error: OSError) -> str:
    """Return why an access to a file failed.

    Args:
        path: the file.
        error: the failure.
    """
    text = f"{path}: {error.strerror or error}"
    if error.errno in _LIMITS:
        limit, begin, end = _LIMITS[error.errno]
        return f"{text}: {begin} {resource.getrlimit(limit)[0]} {end}"
    with contextlib.suppress(OSError):
        folder = _existing(path)
        if error.errno in NO_ROOM:
            disk = os.statvfs(folder)
            free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
            return f"{text}: {_size(free)} of {_size(whole)} are free on the disk at {_mount_point(folder)}"
        if error.errno == errno.EROFS:
            return f"{text}: the disk at {_mount_point(folder)}"
        if error.errno == errno.ENOENT and folder != path.parent:
            return f"{text}: its folder was removed"
    return text


def _existing(path: Path) -> Path:
    """Return the nearest folder above a file that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def _mount_point(folder: Path) -> Path:
    folder = folder.resolve()
    while not os.path.ismount(folder):
        folder = folder.parent
    return folder


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
