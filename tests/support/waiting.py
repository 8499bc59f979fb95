"""Waiting for a condition with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(
    condition: Callable[[], bool],
    what: str,
    timeout_s: float = 10.0,
    *,
    every_s: float = 0.01,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Return as soon as `condition` holds; fail if it does not hold within `timeout_s`.

    Args:
        condition: called repeatedly.
        what: name of the expected event, for the failure message.
        timeout_s: seconds until the failure.
        every_s: seconds between two calls.
        meanwhile: called before each wait.
    """
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, f"no {what} within {timeout_s:g} s"
        meanwhile()
        time.sleep(every_s)
