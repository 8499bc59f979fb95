"""Layout of the work on a frame: grid of regions, codec, and the stages at which a policy is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nodes.regions.payload import Settings


@dataclass(frozen=True)
class Layout:
    """Grid of regions, codec and stages.

    Attributes:
        rows: Number of rows of regions.
        columns: Number of columns of regions.
        settings: Settings for packing regions.
        stage_tokens: Numbers of tokens after which there is a stage.
    """

    rows: int = 4
    columns: int = 4
    settings: Settings = field(default_factory=Settings)
    stage_tokens: tuple[int, ...] = (1,)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as data for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layout:
        """Create a layout from the data of `to_json`.

        Raises:
            TypeError: The data is not of this form; as well KeyError and ValueError.
        """
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
