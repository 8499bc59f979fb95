"""Where programs lie. Some ways to become root leave sbin out of PATH, and with it ifconfig and nft."""

from __future__ import annotations

import os
import shutil

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def system_path() -> str:
    """PATH, and behind it the folders of programs for root that it lacks."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*folders, *(sbin for sbin in _SBIN if sbin not in folders)])


def find_program(name: str) -> str | None:
    """The whole path of a program; None if this machine has none."""
    return shutil.which(name, path=system_path())
