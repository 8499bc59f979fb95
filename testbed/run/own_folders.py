"""The folders of a run outside its own, named spaceverse-PID-TICKS after the process that created them.

* /run/spaceverse-PID-TICKS, for Unix sockets. The path of a socket is limited to 107 bytes (unix(7)), so they
  cannot be in the run's folder, which may be anywhere. Only root can write to /run, which is empty after a
  boot (Filesystem Hierarchy Standard, 3.15).
* /var/lib/spaceverse/images/spaceverse-PID-TICKS, for unpacked images of containers, which may be large.

The folders of a killed run are recognised by their names and removed by `spaceverse clean`.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.boards.machine_network.journal import state_folder
from testbed.errors import TestbedError
from testbed.machine.process_identity import ProcessIdentity, start_ticks

SOCKETS = Path("/run")
_NAME = re.compile(r"spaceverse-(\d+)-(\d+)")


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Create the folder for this process's sockets, and remove it at the end.

    Yields:
        Its path.

    Raises:
        TestbedError: it cannot be created.
    """
    with _own_folder(SOCKETS, "Unix sockets") as path:
        yield path


@contextmanager
def image_folder() -> Iterator[Path]:
    """Create the folder for the images that this process unpacks, and remove it at the end.

    Yields:
        Its path.

    Raises:
        TestbedError: it cannot be created.
    """
    with _own_folder(_images(), "images of containers") as path:
        yield path


def left_behind() -> list[Path]:
    """Return the folders whose processes have ended, ordered by name."""
    folders = (path for parent in (SOCKETS, _images()) for path in parent.glob("spaceverse-*"))
    named = ((path, _NAME.fullmatch(path.name)) for path in folders)
    return sorted(path for path, name in named if name and start_ticks(int(name[1])) != int(name[2]))


def remove_left_behind() -> list[Path]:
    """Remove the folders whose processes have ended.

    Returns:
        The folders that were removed.

    Raises:
        PermissionError: not root.
    """
    removed = left_behind()
    for path in removed:
        with suppress(FileNotFoundError):  # another process is cleaning up, too
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # not a run's, and in the way of one
                path.unlink()
    return removed


def _images() -> Path:
    return state_folder() / "images"


@contextmanager
def _own_folder(parent: Path, content: str) -> Iterator[Path]:
    owner = ProcessIdentity.this()
    path = parent / f"spaceverse-{owner.pid}-{owner.start_ticks}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise TestbedError(f"{path}: {error.strerror}; a run needs this folder for its {content}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            warnings.warn(
                f"{path} could not be removed; run this once {parent} can be written to: spaceverse clean",
                stacklevel=4,
            )
