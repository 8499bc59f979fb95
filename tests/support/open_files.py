"""A process with more open files than select(2) can wait for."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.machine.resources import allow_descriptors

FD_SETSIZE = 1024  # select(2)


@contextmanager
def many_open_files() -> Iterator[None]:
    """Open so many that what is opened next has a number of at least FD_SETSIZE."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert allow_descriptors(2 * FD_SETSIZE) >= 2 * FD_SETSIZE
    with ExitStack() as files:
        while files.enter_context(Path(os.devnull).open("rb")).fileno() < FD_SETSIZE:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
