"""The file of a trace: read, written.

The file is UTF-8 CSV below a header of `#` lines:

    # spaceverse-trace 2
    # satellite: FLOCK 2P-1
    # station: Svalbard
    # start_utc: 2018-01-20T06:47:50Z
    # end_s: 180.0
    # made_by: spaceverse trace make
    # element_epoch_utc: 2018-01-19T22:06:55.628639Z    (only where an orbit made it)
    # note: elevation mask 10 deg                       (any number of these)
    time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
    0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
    6.25,1,4000000.0,250000.0,0.0055,0.0055,0.0,0.0

A row holds from its time_s until the next row's, the last one until end_s.  up is 1 during a contact; down is
satellite to ground, up_... ground to satellite; rates in bit/s, delays one-way in seconds, a loss is the
probability that a packet is lost.  Columns after up_loss are for people and plots (elevation_deg, ...).
Numbers are written with as many digits as give the same float64 back.

Version 1 had one `delay_s` and one `loss` for both directions; it is still read, each standing for both.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from traces.errors import TimeError, TraceError
from traces.recordings.numbers import read_table
from traces.trace import COLUMNS, EXTRA_NAME, Floats, Trace, TraceHeader, first_fault
from traces.utc import format_utc, parse_utc

FIRST_LINE = "# spaceverse-trace 2"
_FIRST_LINE_1 = "# spaceverse-trace 1"
_COLUMNS_1 = ("time_s", "up", "down_bit_s", "up_bit_s", "delay_s", "loss")
_FROM_1 = [0, 1, 2, 3, 4, 4, 5, 5]  # the column of version 1 that each of `COLUMNS` comes from
_REQUIRED_KEYS = ("satellite", "station", "start_utc", "end_s", "made_by")
_LINES_AT_ONCE = 20_000
_SHORT = 16  # characters: 15 digits and a point, which a float64 holds exactly before it is divided
_KEYS = (*_REQUIRED_KEYS, "element_epoch_utc", "note")


def format_trace(trace: Trace) -> str:
    """Return the text of a trace's file."""
    header = trace.header
    lines = [
        FIRST_LINE,
        f"# satellite: {header.satellite}",
        f"# station: {header.station}",
        f"# start_utc: {format_utc(header.start_utc)}",
        f"# end_s: {trace.end_s!r}",
        f"# made_by: {header.made_by}",
    ]
    if header.element_epoch_utc is not None:
        lines.append(f"# element_epoch_utc: {format_utc(header.element_epoch_utc)}")
    lines += [f"# note: {note}" for note in header.notes]
    lines.append(",".join([*COLUMNS, *trace.extra]))
    columns = [getattr(trace, name) for name in COLUMNS]
    columns[1] = trace.up.astype(int)
    texts = [map(repr, column.tolist()) for column in [*columns, *trace.extra.values()]]
    lines += map(",".join, zip(*texts, strict=True))
    return "\n".join(lines) + "\n"


def parse_trace(text: str, name: str) -> Trace:
    """Return the trace whose file holds `text`; `name` is what errors call the file.

    Raises:
        TraceError: names `name`, line and what was expected.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    header, end_s, first = _read_header(name, lines)
    old = lines[0].rstrip() == _FIRST_LINE_1
    columns = _COLUMNS_1 if old else COLUMNS
    extra_names = _read_column_names(name, first, lines[first - 1], columns)
    body = lines[first:-1] if lines[-1] == "" else lines[first:]
    table = _read_body(name, first, body, len(columns) + len(extra_names))
    if old:
        table = [table[index] for index in (*_FROM_1, *range(len(columns), len(table)))]
    fault = first_fault(end_s, *table[: len(COLUMNS)])
    if fault:
        raise TraceError(f"{name}, line {first + 1 + fault[0]}: {fault[1]}")
    base: dict[str, Any] = dict(zip(COLUMNS, table, strict=False))
    extra = dict(zip(extra_names, table[len(COLUMNS) :], strict=True))
    return Trace(header=header, end_s=end_s, extra=extra, **base)


def _read_header(name: str, lines: Sequence[str]) -> tuple[TraceHeader, float, int]:
    """Read the `#` lines: the header, end_s, and the number of the line that names the columns."""
    if lines[0].rstrip() not in (FIRST_LINE, _FIRST_LINE_1):
        raise TraceError(f"{name}, line 1: expected {FIRST_LINE!r}; found {_shown(lines[0])}")
    values: dict[str, str] = {}
    line_of: dict[str, int] = {}
    notes: list[str] = []
    number = 2
    while number <= len(lines) and lines[number - 1].startswith("#"):
        key, colon, value = (part.strip() for part in lines[number - 1][1:].partition(":"))
        if not colon or key not in _KEYS or key in values:
            expected = "a key that was not there before" if key in values else f"one of {', '.join(_KEYS)}"
            raise TraceError(f"{name}, line {number}: expected '# key: value' with {expected}")
        if key == "note":
            notes.append(value)
        else:
            values[key], line_of[key] = value, number
        number += 1
    missing = [key for key in _REQUIRED_KEYS if key not in values]
    if missing:
        raise TraceError(f"{name}, line {number}: expected the header line '# {missing[0]}: ...' before this")
    return _parse_header(name, values, line_of, notes), _parse_end_s(name, values, line_of), number


def _parse_header(
    name: str, values: Mapping[str, str], line_of: Mapping[str, int], notes: Sequence[str]
) -> TraceHeader:
    moments: dict[str, datetime] = {}
    for key in ("start_utc", "element_epoch_utc"):
        if key in values:
            try:
                moments[key] = parse_utc(values[key])
            except TimeError as fault:
                raise TraceError(f"{name}, line {line_of[key]}: {fault}") from None
    try:
        return TraceHeader(
            satellite=values["satellite"],
            station=values["station"],
            start_utc=moments["start_utc"],
            made_by=values["made_by"],
            notes=tuple(notes),
            element_epoch_utc=moments.get("element_epoch_utc"),
        )
    except TraceError as fault:
        raise TraceError(f"{name}, header: {fault}") from None


def _parse_end_s(name: str, values: Mapping[str, str], line_of: Mapping[str, int]) -> float:
    try:
        end_s = float(values["end_s"])
    except ValueError:
        end_s = float("nan")
    if not (np.isfinite(end_s) and end_s > 0):
        found = _shown(values["end_s"])
        raise TraceError(
            f"{name}, line {line_of['end_s']}: expected end_s in seconds, more than 0; found {found}"
        )
    return end_s


def _read_column_names(name: str, number: int, line: str, columns: tuple[str, ...]) -> list[str]:
    names = [column.strip() for column in line.split(",")]
    if tuple(names[: len(columns)]) != columns:
        found = _shown(line)
        raise TraceError(f"{name}, line {number}: expected the columns {','.join(columns)}; found {found}")
    extra = names[len(columns) :]
    for column in extra:
        if names.count(column) > 1 or column in COLUMNS or not EXTRA_NAME.fullmatch(column):
            found = _shown(column)
            raise TraceError(
                f"{name}, line {number}: expected a new column name like elevation_deg; found {found}"
            )
    return extra


def _read_body(name: str, first: int, body: Sequence[str], width: int) -> list[Floats]:
    """Read the numbers below the column names (line `first`): one float64 array per column."""
    if not body:
        raise TraceError(f"{name}, line {first + 1}: expected at least one row of numbers")
    table = np.empty((width, len(body)))
    for begin in range(0, len(body), _LINES_AT_ONCE):
        lines = body[begin : begin + _LINES_AT_ONCE]
        rows = _short_numbers(lines, width)
        if rows is None:
            rows = _any_numbers(lines, width)
        if rows is None:
            for number, line in enumerate(lines, start=first + 1 + begin):
                if not _is_row(line, width):
                    raise TraceError(f"{name}, line {number}: expected {width} numbers; found {_shown(line)}")
            raise TraceError(f"{name}, from line {first + 1 + begin}: expected rows of {width} numbers")
        table[:, begin : begin + len(lines)] = rows.T
    return list(table)


def _short_numbers(lines: Sequence[str], width: int) -> Floats | None:
    """Read rows of plain numbers of up to 15 digits, several times as fast as NumPy does and as exactly."""
    data = "\n".join(lines).encode() + b"\n"
    if b"e" in data or b"n" in data:  # 1e-05, nan
        return None
    text = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((text == ord(",")) | (text == ord("\n")))
    if np.diff(marks, prepend=-1).max() > _SHORT + 1:
        return None
    try:
        rows = read_table(data, "", width)
    except TraceError:
        return None
    return rows if len(rows) == len(lines) else None


def _any_numbers(lines: Sequence[str], width: int) -> Floats | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of input without data; the row count tells
            rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2, dtype=np.float64)
    except ValueError:  # it names its own row, not the file's line
        return None
    return rows if rows.shape == (len(lines), width) else None


def _is_row(line: str, width: int) -> bool:
    if not line.strip():
        return False
    try:
        return np.loadtxt([line], delimiter=",", comments=None, ndmin=2).shape == (1, width)
    except ValueError:
        return False


def _shown(text: str) -> str:
    """Quote what was found, short enough for one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
