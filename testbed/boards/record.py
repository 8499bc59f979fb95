"""What stands of a board in a run's results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.boards.path import Path


@dataclass(frozen=True)
class Absence:
    """A time in which a board took no part.

    Args:
        from_s: scenario time at which its agent ceased to say that all is well.
        why: what was said then.
        until_s: scenario time at which its agent had started the node again; None if it did not.
    """

    from_s: float
    why: str
    until_s: float | None = None

    def line(self, board: str) -> str:
        """In words."""
        if self.until_s is None:
            return f"board {board} was lost at {self.from_s:.1f} s: {self.why}"
        return f"board {board} was away from {self.from_s:.1f} to {self.until_s:.1f} s: {self.why}"


@dataclass(frozen=True)
class BoardRecord:
    """One board of a run.

    Args:
        board, satellite: names.
        place: where it hangs, in words.
        path: what was measured of its own way before the run; see testbed.boards.path.Path.
        facts: what its agent says of it: versions, clock, free disk.
        absences: when it took no part.
    """

    board: str
    satellite: str
    place: str
    path: Path
    facts: Mapping[str, Any]
    absences: tuple[Absence, ...] = ()

    def line(self) -> str:
        """In words."""
        path = self.path
        rate = f", {path.rate_bit_s / 1e6:.0f} Mbit/s" if path.rate_bit_s is not None else ""
        return (
            f"{self.satellite} is board {self.board} ({self.place}); its own way takes "
            f"{path.rtt_s * 1e3:.3f} ms there and back (p95 {path.rtt_p95_s * 1e3:.3f} ms){rate}, "
            "which is taken out of the link's delay"
        )

    def warnings(self) -> list[str]:
        """What a reader must know before any number."""
        return [absence.line(self.board) for absence in self.absences]

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)
