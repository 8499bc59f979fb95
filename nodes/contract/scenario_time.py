"""Scenario time as the parts of a node ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

ScenarioTime: TypeAlias = Callable[[], "float | None"]
"""Returns the current scenario time in seconds, or None before the run has announced it."""


def no_time() -> float | None:
    """Return None: scenario time is unknown."""
    return None
