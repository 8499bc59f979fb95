"""Observations from SatNOGS Network's API, each with its own orbit and station.

The file has one JSON object, a list of them, or pages of the API (`{"results": [...]}`), one or several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from traces.errors import TimeError, TraceError, TraceInputError
from traces.recordings.json_documents import utf8_text
from traces.recordings.recording import Assumptions, Recording
from traces.recordings.windows import UNNAMED, Window, recording_of_pair
from traces.utc import parse_utc

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

_LONGEST_OBSERVATION = 1 << 16
_BLANK = re.compile(r"[\s,]*")
_KEY = r"""\s*"[^"]*"\s*:\s*"""
_SIMPLE = r"""(?:"[^"]*"|null|\d+)"""
_LIST = re.compile(rf"""\[|\{{(?:{_KEY}{_SIMPLE}\s*,)*\s*"results"\s*:\s*\[""")
_LIST_END = re.compile(rf"""\](?:(?:\s*,{_KEY}{_SIMPLE})*\s*\}})?""")


def sniff(head: bytes) -> bool:
    """Tell whether the file begins like JSON with the keys of an observation."""
    return head.lstrip()[:1] in (b"[", b"{") and b'"start"' in head and b'"end"' in head


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read observations from SatNOGS Network's API.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return recording_of_pair("satnogs", name, list(_satnogs(data, name)), assumptions)


def _satnogs(data: bytes, name: str) -> Iterator[Window]:
    """Read one object at a time, since a whole list would take many times the file's size in memory."""
    text = utf8_text(data, name)
    place, line = 0, 1
    while True:
        after = _BLANK.match(text, place).end()  # type: ignore[union-attr]  # it always matches
        # A page of the API begins and ends like a list, with a few more keys around it.
        edge = _LIST.match(text, after) or _LIST_END.match(text, after)
        after = edge.end() if edge else after
        line, place = line + text.count("\n", place, after), after
        if edge:
            continue
        if place >= len(text):
            return
        where = f"{name}, line {line}"
        try:
            value, length = json.JSONDecoder().raw_decode(text[place : place + _LONGEST_OBSERVATION])
        except (ValueError, RecursionError):
            raise TraceError(f"{where}: expected a JSON object of an observation, below 64 KiB") from None
        yield _observation(where, value)
        line, place = line + text.count("\n", place, place + length), place + length


def _observation(where: str, value: object) -> Window:
    if not isinstance(value, dict):
        raise TraceError(f"{where}: expected a JSON object of an observation; found {str(value)[:40]!r}")
    moments = []
    for key in ("start", "end"):
        try:
            moments.append(parse_utc(str(value.get(key))[:64]))
        except TimeError as fault:
            raise TraceError(f"{where}: expected {key!r}: {fault}") from None
    if moments[1] <= moments[0]:
        raise TraceError(f"{where}: expected an end after the start")
    elements, place = _orbit_of(where, value), _place_of(where, value)
    catalogue, station = value.get("norad_cat_id"), value.get("ground_station")
    own = elements.catalogue_number if elements else ""
    number = str(own if catalogue is None else catalogue)[:80].lstrip("0")
    return Window(
        (elements.name if elements and elements.name != UNNAMED else number) or UNNAMED,
        place.name if place else "ground",
        moments[0],
        moments[1],
        elements,
        place,
        number,
        "" if station is None else str(station)[:80],
    )


def _orbit_of(where: str, value: dict[str, Any]) -> ElementSet | None:
    lines = [value.get(f"tle{number}") for number in (0, 1, 2)]
    if not (isinstance(lines[1], str) and isinstance(lines[2], str)):
        return None
    from traces.orbits.tle import parse_tle  # slow to import

    title = lines[0] if isinstance(lines[0], str) and lines[0].strip() else UNNAMED
    text = "\n".join((title.replace("\n", " ").removeprefix("0 "), lines[1], lines[2]))
    try:
        return parse_tle(text, source=where)[0]
    except (TraceInputError, IndexError) as fault:
        raise TraceError(f"{where}: expected 'tle1' and 'tle2': {fault}") from None


def _place_of(where: str, value: dict[str, Any]) -> GroundStation | None:
    from traces.orbits.stations import GroundStation

    degrees = [value.get(f"station_{key}") for key in ("lat", "lng", "alt")]
    if not all(isinstance(coordinate, (int, float)) for coordinate in degrees):
        return None
    title = str(value.get("station_name") or value.get("ground_station") or "ground")[:80]
    try:
        return GroundStation(title, *(float(coordinate) for coordinate in degrees))  # type: ignore[arg-type]
    except (TraceInputError, OverflowError) as fault:
        raise TraceError(f"{where}: {fault}") from None
