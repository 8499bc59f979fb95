"""The processes that a process has started."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the process ids of its children."""
    lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for line in lists for child in line.split()]


def descendants_with(words: str) -> list[int]:
    """Return this process's children, their children, and so on, whose command line has some words."""
    found, left = [], children_of(os.getpid())
    while left:
        pid = left.pop()
        with suppress(OSError):  # it has ended
            left += children_of(pid)
            if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                found.append(pid)
    return found
