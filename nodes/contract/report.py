"""How the parts of a node report events, without knowing who listens."""

from __future__ import annotations

from typing import Protocol

from nodes.contract.events import Event


class Report(Protocol):
    """Takes one event; called from any thread, must not block."""

    def __call__(self, event: Event, *, monotonic_s: float | None = None) -> None:
        """Report that `event` happened at `monotonic_s` of CLOCK_MONOTONIC (now, if None)."""


def report_nothing(event: Event, *, monotonic_s: float | None = None) -> None:
    """Drop the event; for parts that run without a management plane."""
