"""Memory and descriptors that this machine has left for a run."""

from __future__ import annotations

import errno
import os
import resource

from testbed.errors import TestbedError

_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


def raise_if_short(error: BaseException) -> None:
    """Raise the right cause of a failed trial, if this machine was out of descriptors, memory or processes.

    Raises:
        TestbedError: it was; the trial says nothing about what was tried.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _SHORT:
            text = f"this machine could not be examined: {os.strerror(cause.errno)}"
            if cause.errno == errno.EMFILE:
                limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                text += f"; this process may open {limit} files (ulimit -n)"
            raise TestbedError(text) from error
        cause = cause.__cause__


def allow_descriptors(wanted: int) -> int:
    """Let this process, and those that it starts, open as many files, if its hard limit allows.

    Returns:
        The number that it may open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == unlimited else soft


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
