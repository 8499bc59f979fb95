"""Element sets as a scenario names them: a file, or a Walker constellation."""

from __future__ import annotations

import functools
from datetime import datetime
from pathlib import Path

from traces.orbits.element_set import ElementSet
from traces.orbits.elements import read_elements
from traces.orbits.walker import parse_walker

FILES_KEPT = 8


def element_sets_of(elements: str | Path, start: datetime) -> list[ElementSet]:
    """Return the element sets of a file, or of a Walker constellation such as "53:24/3/1@550".

    A file is parsed once, as long as it does not change: each link of a fleet asks for it.

    Args:
        elements: the file, or the constellation as text.
        start: epoch of the constellation, with a time zone.

    Raises:
        OrbitError: the file or the text is invalid.
    """
    if isinstance(elements, str):
        return parse_walker(elements, start)
    try:
        state = elements.stat()
    except OSError:
        return read_elements(elements)  # raises the error that names the file
    return list(_parsed_file(elements, state.st_ino, state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=FILES_KEPT)
def _parsed_file(path: Path, *_state: int) -> tuple[ElementSet, ...]:
    return tuple(read_elements(path))
