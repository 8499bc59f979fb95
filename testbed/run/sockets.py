"""The folder of a run's Unix sockets: /run/spaceverse-PID-TICKS, named after the process that created it.

The path of a socket is limited to 107 bytes (unix(7)), so sockets cannot be in the run's folder, which may be
anywhere. Only root can write to /run, which is empty after a boot (Filesystem Hierarchy Standard, 3.15). The
folder of a killed run is recognised by its name and removed by `spaceverse clean`.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.errors import TestbedError
from testbed.machine.process_identity import ProcessIdentity, start_ticks

PARENT = Path("/run")
_NAME = re.compile(r"spaceverse-(\d+)-(\d+)")


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Create the folder of this process, and remove it at the end.

    Yields:
        Its path.

    Raises:
        TestbedError: it cannot be created.
    """
    owner = ProcessIdentity.this()
    path = PARENT / f"spaceverse-{owner.pid}-{owner.start_ticks}"
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise TestbedError(
            f"{path}: {error.strerror}; a run needs this folder for its Unix sockets"
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            warnings.warn(
                f"{path} could not be removed; run this once {PARENT} can be written to: spaceverse clean",
                stacklevel=3,
            )


def left_behind() -> list[Path]:
    """Return the folders whose processes have ended, ordered by name."""
    folders = ((path, _NAME.fullmatch(path.name)) for path in PARENT.glob("spaceverse-*"))
    return sorted(path for path, name in folders if name and start_ticks(int(name[1])) != int(name[2]))


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
