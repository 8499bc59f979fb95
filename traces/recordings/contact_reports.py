"""Contact reports of GMAT and STK: the contacts of satellites, and the ranges within them.

GMAT's ContactLocator writes `Target:`, then a table for each `Observer:` (Legacy), or one table with a column
`Observer` (with the maximum elevation, the ranges at both ends, or azimuth, elevation and range at each
step). STK writes a table after each title `Facility-X-To-Satellite-Y`, as text or CSV: accesses, or azimuth,
elevation and range (AER).

Contacts tell no delay; ranges do. It is computed each second, between two ranges in proportion to the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, lines_of, number_or_none, shown
from traces.recordings.calendar_times import TIME_UNITS, calendar_time
from traces.recordings.csv_text import csv_fields
from traces.recordings.recording import Assumptions, Recording
from traces.recordings.windows import Range, Window, recording_of_pair

_TIME = re.compile(r"(Start |Stop )?Time \(([\w-]+)\)")
_RANGE_UNITS_M = {"Range (km)": 1e3, "Range (m)": 1.0}
_WITHIN = 2.5  # usual steps: ranges further apart belong to two contacts


@dataclass
class _Table:
    """The columns of a table."""

    width: int
    start: int | None = None
    stop: int | None = None
    time: int | None = None
    range: int | None = None
    range_unit_m: float = 1.0
    observer: int | None = None
    number: int | None = None


@dataclass
class _Report:
    """What was read: contacts, and the ranges of each pair and pass."""

    contacts: list[Window] = field(default_factory=list)
    ranges: dict[tuple[str, str, str], list[Range]] = field(default_factory=dict)
    satellite: str = ""
    station: str = ""
    table: _Table | None = None


def sniff_gmat(head: bytes) -> bool:
    """Tell whether the file begins like a ContactLocator report."""
    return b"Observer" in head and (b"Target:" in head or b"Start Time" in head)


def sniff_stk(head: bytes) -> bool:
    """Tell whether the file begins like an access report or an AER report."""
    return (
        re.search(rb'"?Access"?(\s*,\s*"?|\s{2,})Start Time \(', head) is not None
        or re.search(rb'Azimuth \(deg\)[",\s]+Elevation \(deg\)[",\s]+Range \(', head) is not None
    )


def read_gmat(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read a ContactLocator report of any format.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    report = _Report()
    for number, line in lines_of(data):
        text = line[:LONGEST_LINE].decode("utf-8", "replace").strip()
        key, colon, value = text.partition(":")
        if colon and key == "Target":
            report.satellite, report.table = value.strip(), None
        elif colon and key == "Observer":
            report.station, report.table = value.strip(), None
        elif text:
            _read_line(report, f"{name}, line {number}", text)
    return recording_of_pair("gmat", name, _windows(report), assumptions)


def read_stk(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read an access report or an AER report with times in UTC, as text or CSV.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    report = _Report(satellite="satellite", station="ground")
    for number, line in lines_of(data):
        text = line[:LONGEST_LINE].decode("utf-8", "replace").strip()
        title = text.strip('",').split(":")[0].split(" - ")[0]
        if "-To-" in title:
            report.station, report.satellite = _ends(*title.split("-To-", 1))
            report.table = None
        elif text:
            _read_line(report, f"{name}, line {number}", text)
    return recording_of_pair("stk", name, _windows(report), assumptions)


def _ends(first: str, second: str) -> tuple[str, str]:
    """Return station and satellite of "Facility-X-To-Satellite-Y" in either order."""
    first, second = first.strip(), second.strip()
    if first.startswith("Satellite-") or second.startswith(("Facility-", "Place-", "Target-")):
        first, second = second, first
    return first or "ground", second or "satellite"


def _read_line(report: _Report, where: str, text: str) -> None:
    """Read the names of a table's columns, or a row of it."""
    cells = csv_fields(text) if "," in text or text.startswith('"') else re.split(r"\s{2,}", text)
    if any(_TIME.fullmatch(cell) for cell in cells):
        report.table = _table(where, cells)
        return
    table = report.table
    if table is None or all(set(cell) <= {"-"} for cell in cells):
        return
    is_row = len(cells) >= table.width and (table.observer is not None or cells[0][:1].isdigit())
    if not (is_row or text[:1].isdigit()):
        if table.number is not None or "," in text:
            report.table = None  # a table is followed by its statistics
        return
    _read_row(report, table, where, text, cells)


def _table(where: str, cells: list[str]) -> _Table:
    table = _Table(len(cells))
    for index, cell in enumerate(cells):
        if time := _TIME.fullmatch(cell):
            if time[2] not in TIME_UNITS:
                raise TraceError(f"{where}: expected times in UTC or UTCG; found {shown(cell)}")
            setattr(table, {"Start ": "start", "Stop ": "stop"}.get(time[1], "time"), index)
        elif cell in _RANGE_UNITS_M:
            table.range, table.range_unit_m = index, _RANGE_UNITS_M[cell]
        elif cell == "Observer":
            table.observer = index
        elif cell in ("Access", "Pass Number"):
            table.number = index
    if table.start is None and table.range is None:
        raise TraceError(
            f"{where}: expected columns Start Time and Stop Time, or Range; found {shown(', '.join(cells))}"
        )
    return table


def _read_row(report: _Report, table: _Table, where: str, text: str, cells: list[str]) -> None:
    satellite = report.satellite
    station = (
        cells[table.observer] if table.observer is not None and len(cells) >= table.width else report.station
    )
    if table.start is not None and table.stop is not None:
        start_utc, end_utc = (
            _moment(where, text, cells, place, table) for place in (table.start, table.stop)
        )
        if not satellite or not station:
            raise TraceError(f"{where}: expected 'Target:' and 'Observer:' before the first contact")
        if end_utc <= start_utc:
            raise TraceError(f"{where}: expected an end after the start; found {start_utc} to {end_utc}")
        report.contacts.append(Window(satellite, station, start_utc, end_utc))
    elif table.time is not None and table.range is not None:
        moment = _moment(where, text, cells, table.time, table)
        range_ = number_or_none(cells[table.range].encode())
        if range_ is None or range_ < 0:
            raise TraceError(f"{where}: expected a range; found {shown(cells[table.range])}")
        number = cells[table.number] if table.number is not None else ""
        ranges = report.ranges.setdefault((satellite, station, number), [])
        ranges.append((moment, range_ * table.range_unit_m))


def _moment(where: str, text: str, cells: list[str], place: int, table: _Table) -> datetime:
    moment = calendar_time(where, cells[place]) if len(cells) >= table.width else None
    if moment is None:
        example = "1 Jan 2026 00:42:11.284"
        raise TraceError(f"{where}: expected a contact with times like {example}; found {shown(text)}")
    return moment


def _windows(report: _Report) -> list[Window]:
    """Return the contacts with their ranges; ranges without a contact make one."""
    contacts = list(report.contacts)
    for (satellite, station, _), ranges in report.ranges.items():
        ranges.sort()
        pair = (satellite, station)
        own = [n for n, window in enumerate(report.contacts) if (window.satellite, window.station) == pair]
        if own:
            for number in own:
                window = contacts[number]
                inside = tuple(r for r in ranges if window.start_utc <= r[0] <= window.end_utc)
                contacts[number] = replace(window, ranges=inside or window.ranges)
            continue
        contacts += [
            Window(satellite or "satellite", station or "ground", part[0][0], part[-1][0], ranges=tuple(part))
            for part in _passes(ranges)
        ]
    return contacts


def _passes(ranges: list[Range]) -> Iterator[list[Range]]:
    """Split ranges where far more time lies between two of them than usual; drop single ones."""
    times_s = np.array([(moment - ranges[0][0]).total_seconds() for moment, _ in ranges])
    steps_s = np.diff(times_s)
    if not steps_s.size:
        return
    for part in np.split(np.arange(len(ranges)), np.flatnonzero(steps_s > _WITHIN * np.median(steps_s)) + 1):
        if len(part) > 1 and times_s[part[-1]] > times_s[part[0]]:
            yield [ranges[row] for row in part]
