"""What the page's server tells of a run, from its scenario and its folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from testbed.live.description import Flight, description, requested
from testbed.live.server import Fact
from testbed.results.report import thumbnail
from testbed.scenario.model import Scenario

PICTURE_PX = 192  # twice the width on the page, for dense screens
PICTURES_KEPT = 256  # scenarios of many frames repeat a benchmark's images

ReadFile = Callable[[], Path]


def run_facts(scenario: Scenario, flight: Flight, events: ReadFile, kept: Path) -> dict[str, Fact]:
    """Return the facts that a run and its replay share, by their names in the server's addresses.

    Args:
        scenario: what is run.
        flight: what its links follow.
        events: returns the place of the run's events, which may change during the run.
        kept: folder of the pictures of what was received, once the run has drawn them.
    """
    described = description(scenario, flight)
    frames = scenario.frames()
    small = lru_cache(PICTURES_KEPT)(lambda image: thumbnail(image, PICTURE_PX))

    def picture(frame: str) -> bytes | None:
        return small(frames[frame].image) if frame in frames else None

    def received(frame: str) -> bytes | None:
        return thumbnail(kept / f"{frame}.jpg", PICTURE_PX) if frame in frames else None

    def link(name: str) -> dict[str, Any] | None:
        return requested(flight.traces[name]) if name in flight.traces else None

    return {
        "run.json": lambda _: described,
        "events.jsonl": lambda _: events(),
        "pictures": picture,
        "received": received,
        "links": link,
    }
