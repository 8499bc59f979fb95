"""The folder of a run's Unix sockets: /run/spaceverse-PID-TICKS, named after the process that made it.

A socket's path is limited to 107 bytes (unix(7)), so it cannot lie in the run's own folder, which may be
anywhere.  /run is root's alone and empty after a boot (Filesystem Hierarchy Standard, 3.15).  What a killed
run leaves there is told by its name: `spaceverse clean` takes it away.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.errors import TestbedError
from testbed.machine.process_identity import ProcessIdentity, start_ticks

PARENT = Path("/run")
_NAME = re.compile(r"spaceverse-(\d+)-(\d+)")


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Make this process's folder, and take it away at the end. Raises TestbedError where that cannot be."""
    owner = ProcessIdentity.this()
    path = PARENT / f"spaceverse-{owner.pid}-{owner.start_ticks}"
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise TestbedError(f"{path}: {error.strerror}; a run keeps its Unix sockets there") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def left_behind() -> list[Path]:
    """Folders whose process has ended, in order of their names."""
    found = ((path, _NAME.fullmatch(path.name)) for path in PARENT.glob("spaceverse-*"))
    return sorted(path for path, name in found if name and start_ticks(int(name[1])) != int(name[2]))


def remove_left_behind() -> list[Path]:
    """Remove them; returns those that are gone now. Raises PermissionError without root."""
    removed = left_behind()
    for path in removed:
        with suppress(FileNotFoundError):  # another is cleaning too
            shutil.rmtree(path)
    return removed
