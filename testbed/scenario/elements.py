"""Element sets as a scenario names them: a file, or a Walker constellation."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from traces.orbits.element_set import ElementSet
from traces.orbits.elements import read_elements
from traces.orbits.walker import parse_walker


def element_sets_of(elements: str | Path, start: datetime) -> list[ElementSet]:
    """Return the element sets of a file, or of a Walker constellation such as "53:24/3/1@550".

    Args:
        elements: the file, or the constellation as text.
        start: epoch of the constellation, with a time zone.

    Raises:
        OrbitError: the file or the text is invalid.
    """
    return parse_walker(elements, start) if isinstance(elements, str) else read_elements(elements)
