"""One image and one question about it, as every reader of data sets returns them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nodes.contract.answers import is_right


@dataclass(frozen=True)
class Footprint:
    """The ground that a frame shows: its centre, and its height and width in degrees."""

    latitude_deg: float
    longitude_deg: float
    span_deg: float


class Origin(Protocol):
    """Where a frame comes from that is no image file of its own, such as a window of a scene."""

    def key(self) -> str:
        """Return what tells this frame from others: it is its file's name."""

    def write(self, unfinished: Path) -> dict[str, Any]:
        """Write the image file; return its record: what it was made from, and the ground that it shows."""


@dataclass(frozen=True)
class Pair:
    """One image and one question about it.

    Attributes:
        name: Unique name of the pair.
        frame: Name of the frame; pairs of one frame are not independent of each other.
        image: The image file.
        prompt: The question.
        truth: The right answer.
        kind: Family of prompts.
        box: Position of the question's subject, if known: left, upper, right, lower as shares of the frame.
        place: Name of the place that the frame shows; frames of one place are not independent of each other.
        footprint: The ground that it shows, if known; frames that overlap count as one place.
        also_right: Further right answers, such as synonyms (nodes/contract/answers/matching.py).
        origin: What the image file is made from (frames.py); None for a file of its own.
        record: What it was made from: window, bands, scale and georeference; empty for a file of its own.
    """

    name: str
    frame: str
    image: Path
    prompt: str
    truth: str
    kind: str = ""
    box: tuple[float, float, float, float] | None = None
    place: str = ""
    footprint: Footprint | None = None
    also_right: tuple[str, ...] = ()
    origin: Origin | None = None
    record: dict[str, Any] | None = None

    def is_right(self, answer: str) -> bool:
        """Return whether an answer is right."""
        return is_right(answer, self.truth, self.also_right)
