"""Progress of long work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows the progress of long work."""

    def step(self, description: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Return a context for one part of the work; it yields a function to call after each item."""
