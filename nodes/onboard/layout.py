"""How frames are looked at and sent: grid of regions, codec, stages at which a policy is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nodes.regions.payload import Settings


@dataclass(frozen=True)
class Layout:
    """Rows and columns of the grid, how regions are packed, and after how many tokens there is a stage."""

    rows: int = 4
    columns: int = 4
    settings: Settings = field(default_factory=Settings)
    stage_tokens: tuple[int, ...] = (1,)

    def to_json(self) -> dict[str, Any]:
        """As data that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layout:
        """Read `to_json`'s. Raises TypeError, KeyError or ValueError for anything else."""
        settings = data["settings"]
        return cls(
            rows=int(data["rows"]),
            columns=int(data["columns"]),
            settings=Settings(
                overview_px=int(settings["overview_px"]),
                reductions=tuple((int(scale), float(worth)) for scale, worth in settings["reductions"]),
                codec=settings["codec"],
                quality=int(settings["quality"]),
            ),
            stage_tokens=tuple(int(count) for count in data["stage_tokens"]),
        )
