"""Search of programs. Some ways to become root omit the sbin folders, and so ifconfig and nft, from PATH."""

from __future__ import annotations

import os
import shutil

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def system_path() -> str:
    """Return PATH, extended by the sbin folders that it lacks."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*folders, *(sbin for sbin in _SBIN if sbin not in folders)])


def find_program(name: str) -> str | None:
    """Return the path of a program; None if this machine does not have it."""
    return shutil.which(name, path=system_path())
