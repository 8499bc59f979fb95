"""Telling how far long work is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Shows how far long work is."""

    def step(self, description: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A part of the work; what it gives is called once per thing done."""
