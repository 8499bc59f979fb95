"""Lists of contacts: reports of GMAT's ContactLocator, STK access reports, and SatNOGS observations.

They contain when a satellite was in view, but no rates. SatNOGS observations include the orbit and the
station, from which the delay is computed; for the other formats, use `--tle` and `--station`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from traces.errors import TimeError, TraceError, TraceInputError
from traces.numbers import LONGEST_LINE, lines_of, shown
from traces.recordings.csv_text import csv_fields
from traces.recordings.recording import Assumptions, Orbit, Recording
from traces.utc import parse_utc

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

_UNNAMED = "satellite"
_LONGEST_OBSERVATION = 1 << 16
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = r"(\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}(?:\.\d{1,12})?)"
_GMAT_ROW = re.compile(rf"{_DATE}\s+{_DATE}\s+[\d.eE+-]+\s*")
_DATE_ONLY = re.compile(_DATE)


@dataclass(frozen=True, slots=True)
class Window:
    """A contact of a satellite and a station."""

    satellite: str
    station: str
    start_utc: datetime
    end_utc: datetime
    elements: ElementSet | None = None
    place: GroundStation | None = None
    satellite_number: str = ""
    station_number: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """What tells the satellite and the station from others: numbers, or names where there are none."""
        return self.satellite_number or self.satellite, self.station_number or self.station


def sniff_gmat(head: bytes) -> bool:
    """Tell whether the file begins like a ContactLocator report."""
    return b"Observer:" in head and (b"Target:" in head or b"Start Time" in head)


def sniff_stk(head: bytes) -> bool:
    """Tell whether the file begins like an access report in CSV."""
    return re.search(rb'"?Access"?\s*,\s*"?Start Time \(', head) is not None


def sniff_satnogs(head: bytes) -> bool:
    """Tell whether the file begins like JSON with the keys of an observation."""
    return head.lstrip()[:1] in (b"[", b"{") and b'"start"' in head and b'"end"' in head


def read_gmat(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read a ContactLocator report (Legacy): `Target:`, then a table for each `Observer:`.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return _chosen("gmat", name, list(_gmat(data, name)), assumptions)


def read_stk(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read an access report of STK that was saved as CSV with times in UTCG.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return _chosen("stk", name, list(_stk(data, name)), assumptions)


def read_satnogs(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read observations from SatNOGS Network's API: one JSON object, or a list of them.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return _chosen("satnogs", name, list(_satnogs(data, name)), assumptions)


def _gmat(data: bytes, name: str) -> Iterator[Window]:
    satellite = station = None
    for number, line in lines_of(data):
        text = line[:LONGEST_LINE].decode("utf-8", "replace").strip()
        where = f"{name}, line {number}"
        key, colon, value = text.partition(":")
        if colon and key in ("Target", "Observer"):
            satellite, station = (value.strip(), station) if key == "Target" else (satellite, value.strip())
        elif text.startswith("Start Time") and not text.startswith("Start Time (UTC)"):
            raise TraceError(f"{where}: expected times in UTC; found {shown(line)}")
        elif match := _GMAT_ROW.fullmatch(text):
            if not satellite or not station:
                raise TraceError(f"{where}: expected 'Target:' and 'Observer:' before the first contact")
            yield _window(where, satellite, station, match.groups()[:6], match.groups()[6:])
        elif text[:1].isdigit():
            expected = "'01 Jan 2000 13:18:45.268    01 Jan 2000 13:29:54.824      669.55'"
            raise TraceError(f"{where}: expected a contact like {expected}; found {shown(line)}")


def _stk(data: bytes, name: str) -> Iterator[Window]:
    satellite, station = "satellite", "ground"
    inside = False
    for number, line in lines_of(data):
        text = line[:LONGEST_LINE].decode("utf-8", "replace").strip()
        where = f"{name}, line {number}"
        fields = csv_fields(text)
        title = text.strip('",').split(":")[0]
        if "-To-" in title:
            station, satellite = _stk_ends(*title.split("-To-", 1))
        elif fields[0] == "Access" and len(fields) >= 3:
            if fields[1] != "Start Time (UTCG)" or fields[2] != "Stop Time (UTCG)":
                raise TraceError(f"{where}: expected times in UTCG; found {shown(line)}")
            inside = True
        elif inside and len(fields) >= 3 and fields[0].isdigit():
            moments = [_DATE_ONLY.fullmatch(field) for field in fields[1:3]]
            if moments[0] is None or moments[1] is None:
                raise TraceError(f"{where}: expected times like 1 Jan 2026 00:42:11.284; found {shown(line)}")
            yield _window(where, satellite, station, moments[0].groups(), moments[1].groups())
        else:
            inside = inside and bool(fields[0].isdigit())  # a table is followed by its statistics


def _stk_ends(first: str, second: str) -> tuple[str, str]:
    """Return station and satellite of "Facility-X-To-Satellite-Y" in either order."""
    first, second = first.strip(), second.strip()
    if first.startswith("Satellite-") or second.startswith(("Facility-", "Place-", "Target-")):
        first, second = second, first
    return first or "ground", second or "satellite"


def _window(where: str, satellite: str, station: str, start: tuple[Any, ...], end: tuple[Any, ...]) -> Window:
    start_utc, end_utc = _moment(where, start), _moment(where, end)
    if end_utc <= start_utc:
        raise TraceError(f"{where}: expected an end after the start; found {start_utc} to {end_utc}")
    return Window(satellite, station, start_utc, end_utc)


def _moment(where: str, parts: tuple[Any, ...]) -> datetime:
    """Parse a time like "1 Jan 2026 00:42:11.284"; strptime would depend on the locale."""
    day, month, year, hour, minute, second = parts
    try:
        whole = datetime(
            int(year), MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), tzinfo=timezone.utc
        )
        return whole + timedelta(seconds=float(second))
    except (ValueError, OverflowError):
        found = " ".join(parts[:3])
        raise TraceError(f"{where}: expected a day of the calendar and a time; found {found!r}") from None


def _satnogs(data: bytes, name: str) -> Iterator[Window]:
    """Read one object at a time, since a whole list would take many times the file's size in memory."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise TraceError(f"{name}, line {line}: expected UTF-8 text") from None
    place = len(text) - len(text.lstrip())
    in_list = text[place : place + 1] == "["
    place, line = place + in_list, 1 + text.count("\n", 0, place)
    blank = re.compile(r"[\s,]*")
    while True:
        after = blank.match(text, place).end()  # type: ignore[union-attr]  # it always matches
        line, place = line + text.count("\n", place, after), after
        if place >= len(text) or text[place] == "]":
            return
        where = f"{name}, line {line}"
        try:
            value, length = json.JSONDecoder().raw_decode(text[place : place + _LONGEST_OBSERVATION])
        except (ValueError, RecursionError):
            raise TraceError(f"{where}: expected a JSON object of an observation, below 64 KiB") from None
        yield _observation(where, value)
        line, place = line + text.count("\n", place, place + length), place + length
        if not in_list:
            return


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
        (elements.name if elements and elements.name != _UNNAMED else number) or _UNNAMED,
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

    title = lines[0] if isinstance(lines[0], str) and lines[0].strip() else _UNNAMED
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


def _chosen(form: str, name: str, windows: list[Window], assumptions: Assumptions) -> Recording:
    """Return the recording of the requested pair of satellite and station."""
    if not windows:
        raise TraceError(f"{name}, line 1: expected at least one contact")
    requested = (
        assumptions.satellite or "",
        assumptions.place.name if assumptions.place else assumptions.station or "",
    )
    pairs: dict[tuple[str, str], Window] = {}
    for window in windows:
        pairs.setdefault(window.pair, window)
    if len(pairs) > 1:
        pairs = {pair: window for pair, window in pairs.items() if _is_requested(window, requested)} or pairs
    if len(pairs) > 1:
        listed = "; ".join(sorted(_titles(window) for window in pairs.values())[:6])
        more = f" and {len(pairs) - 6} more" if len(pairs) > 6 else ""
        raise TraceError(
            f"{name}: expected one pair; found {listed}{more}; choose with --satellite and --station"
        )
    chosen = next(iter(pairs))
    mine = sorted(
        (window for window in windows if window.pair == chosen), key=lambda window: window.start_utc
    )
    return _of_windows(form, name, mine)


def _is_requested(window: Window, requested: tuple[str, str]) -> bool:
    own = ((window.satellite, window.satellite_number), (window.station, window.station_number))
    return all(
        not wanted or wanted.lower() == title.lower() or (number != "" and wanted.lstrip("0") == number)
        for wanted, (title, number) in zip(requested, own, strict=True)
    )


def _titles(window: Window) -> str:
    ends = ((window.satellite, window.satellite_number), (window.station, window.station_number))
    first, second = (f"{title} ({number})" if number and number != title else title for title, number in ends)
    return f"{first} over {second}"


def _of_windows(form: str, name: str, windows: list[Window]) -> Recording:
    first = windows[0]
    start_utc = first.start_utc
    spans: list[list[float]] = []
    orbits: list[Orbit] = []
    for window in windows:
        begin, end = ((moment - start_utc).total_seconds() for moment in (window.start_utc, window.end_utc))
        if spans and begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([begin, end])
        if window.elements and window.place:
            orbit = Orbit(begin, window.elements, window.place)
            if not orbits or (orbits[-1].elements, orbits[-1].place) != (orbit.elements, orbit.place):
                orbits.append(orbit)
    notes = ["the trace ends with the last contact window"]
    if len(spans) < len(windows):
        notes.append("overlapping contacts are merged")
    without = sum(not (window.elements and window.place) for window in windows)
    if orbits and without:
        notes.append(f"{without} contacts without an orbit or a station use those of the contact before")
    edges = np.array(spans).ravel()
    return Recording(
        form,
        name,
        edges[:-1],
        spans[-1][1],
        up=np.arange(len(edges) - 1) % 2 == 0,
        start_utc=start_utc,
        satellite=first.satellite,
        station=first.station,
        notes=notes,
        orbits=tuple(orbits),
    )
