"""What stands of a board in a run's results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.boards.path import Path


@dataclass(frozen=True)
class BoardRecord:
    """One board of a run.

    Args:
        board, satellite: names.
        place: where it hangs, in words.
        path: what was measured of its own way before the run; see testbed.boards.path.Path.
        facts: what its agent says of it: versions, clock, free disk.
        went_s: scenario time at which its agent ceased to say that all is well; None if it did not.
        went_why: what was said then.
    """

    board: str
    satellite: str
    place: str
    path: Path
    facts: Mapping[str, Any]
    went_s: float | None = None
    went_why: str | None = None

    def line(self) -> str:
        """In words."""
        path = self.path
        rate = f", {path.rate_bit_s / 1e6:.0f} Mbit/s" if path.rate_bit_s is not None else ""
        return (
            f"{self.satellite} is board {self.board} ({self.place}); its own way takes "
            f"{path.rtt_s * 1e3:.3f} ms there and back (p95 {path.rtt_p95_s * 1e3:.3f} ms){rate}, "
            "which is taken out of the link's delay"
        )

    def warning(self) -> str | None:
        """What a reader must know before any number."""
        if self.went_s is None:
            return None
        return f"board {self.board} was lost at {self.went_s:.1f} s: {self.went_why}"

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)
