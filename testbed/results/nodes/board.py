"""The record of a board in a run's results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from testbed.results.absence import Absence


class MeasuredPath(Protocol):
    """The measured path of a board, as `testbed.boards.path` provides it."""

    @property
    def rtt_s(self) -> float:
        """Median round-trip time, seconds."""

    @property
    def rtt_p95_s(self) -> float:
        """95th percentile of the round-trip time, seconds."""

    @property
    def rate_bit_s(self) -> float | None:
        """Rate, bit/s; None if it could not be measured."""

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""


@dataclass(frozen=True)
class BoardRecord:
    """One board of a run.

    Args:
        board: Name of the board.
        satellite: Name of the satellite that it takes the place of.
        place: Where it is attached, in words.
        path: Its own path, measured before the run.
        facts: Report of its agent: versions, clock, free disk space.
        absences: Periods in which it took no part.
    """

    board: str
    satellite: str
    place: str
    path: MeasuredPath
    facts: Mapping[str, Any]
    absences: tuple[Absence, ...] = ()

    def line(self) -> str:
        """Return the record in one line."""
        path = self.path
        rate = f", {path.rate_bit_s / 1e6:.0f} Mbit/s" if path.rate_bit_s is not None else ""
        return (
            f"{self.satellite} is board {self.board} ({self.place}); RTT of its own path: "
            f"{path.rtt_s * 1e3:.3f} ms (p95 {path.rtt_p95_s * 1e3:.3f} ms){rate}; "
            "the link's delay is reduced by it"
        )

    def warnings(self) -> list[str]:
        """Return a line for each absence."""
        return [absence.line(f"board {self.board}") for absence in self.absences]

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self) | {"path": self.path.to_json()}
