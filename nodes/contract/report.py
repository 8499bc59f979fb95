"""How the parts of a node tell what happened, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Takes one event; called from any thread, must not block."""

    def __call__(self, event: str, *, monotonic_s: float | None = None, **fields: object) -> None:
        """Tell that `event` happened at `monotonic_s` of CLOCK_MONOTONIC (now, if None)."""


def report_nothing(event: str, *, monotonic_s: float | None = None, **fields: object) -> None:
    """Drop the event; for parts that run without a management plane."""
