"""A time scale as the run announces it to its nodes (nodes/contract/messages.py, Start)."""

from __future__ import annotations

from nodes.clocks.timescale import Piece, Timescale
from nodes.contract.messages import LATEST_MAX, Start


def announcement(scale: Timescale, *, skips: bool) -> Start:
    """Return the message that announces a time scale."""
    first, *later = scale.pieces
    return Start(
        start_monotonic_s=first.monotonic_s,
        speed=first.speed,
        skips=skips,
        changes=len(later),
        latest=tuple(later[-LATEST_MAX:]),
    )


def announced(start: Start) -> Timescale:
    """Return the time scale of a message, without the changes before the latest ones."""
    return Timescale(Piece(start.start_monotonic_s, 0.0, start.speed), *latest(start, start.changes))


def latest(start: Start, count: int) -> list[Piece]:
    """Return the last changes of a message: so many, or as many as it has."""
    return [Piece(*values) for values in start.latest[-count:]] if count else []
