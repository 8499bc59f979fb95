"""Facts about a board, from which a run decides whether the board can take part."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nodes.board.accelerator import accelerator, memory_bytes
from nodes.clocks.chrony import ChronyError, read_chrony
from nodes.contract.machine.network_managers import network_managers

PACKAGES = (
    "spaceverse-testbed",
    "torch",
    "transformers",
    "paho-mqtt",
    "msgpack",
    "msgspec",
    "pydantic",
    "pillow",
    "numpy",
)


def facts(folder: Path | None, models: Path | None = None) -> dict[str, Any]:
    """Return the facts, in the fields of nodes.contract.board.BoardFacts.

    Args:
        folder: folder on the file system whose free space is measured; None for the current folder.
        models: folder of models.
    """
    try:
        chrony: object = read_chrony().report().model_dump()
    except ChronyError as error:
        chrony = str(error)
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "free_bytes": _free_bytes(folder or Path.cwd()),
        "models": _folders(models),
        "chrony": chrony,
        "boot": _boot(),
        "network_managers": network_managers(),
        "accelerator": accelerator(),
        "memory_bytes": memory_bytes(),
    }


def _folders(parent: Path | None) -> list[str]:
    if parent is None or not parent.is_dir():
        return []
    return sorted(path.name for path in parent.iterdir() if path.is_dir())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
