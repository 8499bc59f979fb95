"""CSV files with declared columns: `time=ts:unix-ms,down=dl:Mbit/s,rtt=3:ms,loss=loss:percent`.

Each part of the declaration is QUANTITY=COLUMN:UNIT. COLUMN is a name in the file's first line, or a number
from 1.

    time                            s ms us ns (from any origin), unix-s unix-ms unix-us unix-ns, iso
    down up                         bit/s kbit/s Mbit/s Gbit/s, B/s kB/s MB/s GB/s (bytes)
    rtt delay down_delay up_delay   s ms us ns; `delay` is one-way, for both directions
    loss down_loss up_loss          fraction percent
    connected                       flag: 0 or 1, true or false

Fields may be quoted (RFC 4180), and quoted numbers may have commas between thousands. If another character
separates the fields, numbers may have decimal commas. Lines that begin with # are left out. A field that is
empty, nan, null, n/a, -- or False was not measured. Beside an `rtt`, a `loss` is that of round trips;
otherwise it is that of each direction, as are `down_loss` and `up_loss`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from traces.errors import TraceError, UnitError
from traces.numbers import (
    LONGEST_LINE,
    NOTHING,
    Floats,
    check_rows,
    number_or_none,
    read_table,
    shown,
)
from traces.recordings.csv_text import csv_fields, csv_rows
from traces.recordings.probes import each_way
from traces.recordings.recording import DELAYS, LOSSES, Assumptions, Recording, both_ways
from traces.recordings.rows import filled
from traces.recordings.sampling import NOT_MEASURED, from_epoch, halves, in_order, parse_unix_s, sampled
from traces.units import DURATION_UNITS_S, RATE_UNITS_BIT_S, SHARE_UNITS

_UNIX = {f"unix-{unit}": factor for unit, factor in DURATION_UNITS_S.items()}
_UNITS: dict[str, Mapping[str, float]] = {
    "time": {**DURATION_UNITS_S, **_UNIX, "iso": 1.0},
    **dict.fromkeys(("down", "up"), RATE_UNITS_BIT_S),
    **dict.fromkeys(("rtt", "delay", "down_delay", "up_delay"), DURATION_UNITS_S),
    **dict.fromkeys(("loss", "down_loss", "up_loss"), SHARE_UNITS),
    "connected": {"flag": 1.0},
}
_UNIX_S = (0.315e9, 7.26e9)  # 1980 to 2200
_LONG_S = 1e11
_FLAGS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_SURE_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3}){2,}(?:\.\d*)?|,\d{3}\.\d*)")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?(?:[eE][+-]?\d+)?")
_PART = re.compile(r"\s*(\w+)\s*=\s*(.+?)\s*:\s*([\w/%-]+)\s*")


@dataclass(frozen=True)
class Column:
    """A declared column.

    Args:
        quantity: the quantity, such as "down" or "rtt".
        where: name or number of the column.
        unit: unit of its numbers.
    """

    quantity: str
    where: str
    unit: str

    @property
    def factor(self) -> float:
        """The factor from the column's unit to SI units."""
        return _UNITS[self.quantity][self.unit]


def parse_columns(text: str) -> list[Column]:
    """Parse a declaration of columns.

    Raises:
        UnitError: A part is invalid; the message names it and what was expected.
    """
    columns: list[Column] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match or match[1] not in _UNITS:
            raise UnitError(
                f"--columns: {part!r}: expected QUANTITY=COLUMN:UNIT with one of {', '.join(_UNITS)}"
            )
        if match[3] not in _UNITS[match[1]]:
            units = ", ".join(_UNITS[match[1]])
            raise UnitError(
                f"--columns: {part!r}: {match[3]!r} is not a unit of {match[1]}; expected one of {units}"
            )
        if any(column.quantity == match[1] for column in columns):
            raise UnitError(f"--columns: {match[1]} is declared twice; expected each quantity once")
        columns.append(Column(*match.groups()))
    if columns[0].quantity != "time" and all(column.quantity != "time" for column in columns):
        raise UnitError("--columns: expected a part time=COLUMN:UNIT")
    return columns


def sniff(head: bytes) -> bool:
    """Return False: a CSV file is read only if its columns are declared."""
    return False


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read a CSV file whose columns are declared in `assumptions.columns`.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    if assumptions.columns is None:
        raise TraceError(
            f"{name}: expected a declaration of its columns, such as --columns time=1:s,down=2:Mbit/s"
        )
    columns = parse_columns(assumptions.columns)
    head_start = _head_start(data, columns)
    separator = _separator(data, assumptions.separator, head_start, columns)
    head, start, first_line = _head(data, columns, separator, head_start)
    places = _places(name, columns, head, has_names=start > head_start)
    table = _table(data, name, columns, places, start, separator, head, assumptions)
    for value in assumptions.missing:
        table[1:][table[1:] == value] = np.nan
    return _recording(name, columns, table, first_line, assumptions)


def _separator(data: bytes, given: str | None, start: int, columns: list[Column]) -> str:
    """Return the character between two fields; unless it is given, the one that fits the first line."""
    first = data[start:].split(b"\n", 1)[0][:LONGEST_LINE].rstrip(b"\r").decode("utf-8", "replace")
    if given is None:
        # With decimal commas, as in 0;10,5;30, a comma is no separator.
        likely = (",", ";", "\t", "|")
        return next((text for text in likely if _fits(csv_fields(first, text), columns, likely)), ",")
    separator = {"tab": "\t", "space": " "}.get(given, given)
    if len(separator.encode()) != 1 or separator in '0123456789.-+"\r\n':
        raise TraceError(f"--separator {given!r}: expected one character, or tab or space")
    return separator


def _fits(fields: list[str], columns: list[Column], separators: tuple[str, ...]) -> bool:
    """Tell whether a line has the declared columns, each without another separator in it."""
    for column in columns:
        where = column.where
        if where in fields:
            continue
        if not (where.isascii() and where.isdigit() and 0 < int(where[:6]) <= len(fields)):
            return False
        if any(separator in fields[int(where[:6]) - 1] for separator in separators[1:]):
            return False
    return True


def _head_start(data: bytes, columns: list[Column]) -> int:
    """Return the byte at which the first line begins that is no comment."""
    start = 0
    while data[start : start + 1] == b"#":
        line = data[start : start + LONGEST_LINE].split(b"\n", 1)[0].decode("utf-8", "replace")
        names = {field.strip() for field in re.split(r"[,;|\t ]", line[1:])}
        if names.intersection(column.where for column in columns if not column.where.isdigit()):
            return start + 1  # the names of the columns, behind a #
        start = data.find(b"\n", start) + 1 or len(data)
    return start


def _head(data: bytes, columns: list[Column], separator: str, start: int) -> tuple[list[str], int, int]:
    """Return the fields of the first line, the byte at which the numbers begin, and that line's number."""
    line = data[start:].split(b"\n", 1)[0][:LONGEST_LINE]
    head = csv_fields(line.rstrip(b"\r").decode("utf-8", "replace"), separator)
    number = data.count(b"\n", 0, start) + 1
    named = any(column.where in head for column in columns if not column.where.isdigit())
    if named or not any(number_or_none(field.encode()) is not None for field in head):
        return head, data.find(b"\n", start) + 1 or len(data), number + 1
    return head, start, number


def _places(name: str, columns: list[Column], head: list[str], *, has_names: bool) -> list[int]:
    """Return the index of each column."""
    places = []
    for column in columns:
        if column.where in head and has_names:
            if head.count(column.where) > 1:
                raise TraceError(
                    f"{name}, line 1: expected one column {column.where!r}; found {head.count(column.where)}:"
                    " give the number of the column instead"
                )
            places.append(head.index(column.where))
        elif column.where.isascii() and column.where.isdigit() and 0 < int(column.where[:6]) <= len(head):
            places.append(int(column.where) - 1)
        else:
            there = ", ".join(head[:12]) if has_names else f"numbers 1 to {len(head)}"
            raise TraceError(f"{name}, line 1: expected a column {column.where!r}; there are {there[:200]}")
    return places


def _table(
    data: bytes,
    name: str,
    columns: list[Column],
    places: list[int],
    start: int,
    separator: str,
    head: list[str],
    assumptions: Assumptions,
) -> Floats:
    """Return float64[columns, rows] with time first, in the file's units (iso: seconds since 1970)."""
    order = sorted(range(len(columns)), key=lambda index: columns[index].quantity != "time")
    width = len(head)
    columns[:], places = [columns[index] for index in order], [places[index] for index in order]
    if columns[0].unit != "iso" and data.find(b'"', start) < 0:
        try:
            return read_table(
                data, name, width, start=start, separator=separator.encode(), gaps=NOTHING, wanted=places
            )
        except TraceError:
            pass  # text in some column, or an error: parse line by line
    numbers = array("d")
    names = head if data[:start].strip() else None
    commas = _Commas.NONE
    if separator != ",":
        commas = _commas(
            fields[place]
            for _, fields in csv_rows(data, name, start, separator)
            for place in places
            if place < len(fields)
        )
    for number, fields in csv_rows(data, name, start, separator):
        if fields == names:
            continue  # files were joined
        if len(fields) <= max(places) or any(fields[width:]):
            raise TraceError(
                f"{name}, line {number}: expected {width} columns; found {len(fields)}:"
                f" {shown(separator.join(fields))}; quote a field that contains {separator!r}"
            )
        where = f"{name}, line {number}"
        for column, place in zip(columns, places, strict=True):
            numbers.append(_value(column, fields[place], where, separator, commas, assumptions))
    if not numbers:
        raise TraceError(f"{name}, line {2 if start else 1}: expected at least one row of numbers")
    return np.ascontiguousarray(np.array(numbers).reshape(-1, len(columns)).T)


def _value(
    column: Column, field: str, where: str, separator: str, commas: _Commas, assumptions: Assumptions
) -> float:
    """Parse a field; NaN if nothing was measured."""
    if column.unit == "iso":
        return parse_unix_s(field, where, assumptions.zone)
    if column.quantity == "connected" and field.lower() in _FLAGS:
        return _FLAGS[field.lower()]
    plain = field.removesuffix("%").rstrip() if column.unit in ("percent", "%") else field
    if commas is _Commas.DECIMAL and _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(".", "").replace(",", ".")
    elif (separator == "," or commas is _Commas.THOUSANDS) and _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    value = number_or_none(plain.encode(), NOT_MEASURED)
    if value is None or (commas is _Commas.DECIMAL and "." in field and "," not in field):
        point = ", with a decimal point and without a comma" if "," in field else ""
        point = ", with a decimal comma as in other lines" if commas is _Commas.DECIMAL else point
        raise TraceError(f"{where}: expected a number for {column.quantity}{point}; found {shown(field)}")
    return value


class _Commas(Enum):
    """What commas in the numbers of a file are, if they do not separate the fields."""

    NONE = 0
    DECIMAL = 1
    THOUSANDS = 2


def _commas(fields: Iterable[str]) -> _Commas:
    """Tell what the commas in numbers are; NONE if there are none, or they may be either."""
    found = set()
    for field in fields:
        if "," not in field:
            continue
        if _SURE_THOUSANDS.fullmatch(field):
            found.add(_Commas.THOUSANDS)
        elif _DECIMAL_COMMA.fullmatch(field.removesuffix("%").rstrip()) and not _THOUSANDS.fullmatch(field):
            found.add(_Commas.DECIMAL)
    return found.pop() if len(found) == 1 else _Commas.NONE


def _recording(
    name: str, columns: list[Column], table: Floats, first_line: int, assumptions: Assumptions
) -> Recording:
    by_quantity = {column.quantity: table[index] for index, column in enumerate(columns)}
    check_rows(name, np.isfinite(by_quantity["time"]), first_line, "a time", lambda row: "nothing")
    for column in columns[1:]:
        raw = by_quantity[column.quantity]
        most = 1 / column.factor if column.quantity.endswith("loss") else 1e15
        good = ~np.isfinite(raw) | ((raw >= 0) & (raw <= most * (1 + 1e-9)))
        expected = f"{column.quantity} from 0 to {most:g} {column.unit} (if it means no value: --missing -1)"
        check_rows(name, good, first_line, expected, raw.item)
    notes = [f"columns: {', '.join(f'{column.quantity}={column.where}:{column.unit}' for column in columns)}"]
    if "rtt" in by_quantity and (zeros := int((by_quantity["rtt"] == 0).sum())):
        rows = len(by_quantity["rtt"])
        notes.append(f"doubt: rtt is 0 in {zeros} of {rows} rows; if this means no answer, add --missing 0")
    time, by_quantity = in_order(by_quantity.pop("time"), by_quantity, notes)
    unit = columns[0].unit
    _check_unit_of_time(name, float(time[0]), unit)
    start_utc = None
    if unit == "iso" or unit in _UNIX:
        start_utc = from_epoch(name, float(time[0]) * columns[0].factor)
    time_s = (time - time[0]) * columns[0].factor
    if (np.diff(time_s) <= 0).any():
        raise TraceError(
            f"{name}: expected times that differ by more than the resolution of float64 in {unit}"
        )
    values: dict[str, Floats] = {
        column.quantity: np.minimum(by_quantity[column.quantity] * column.factor, 1.0)
        if column.quantity.endswith("loss")
        else by_quantity[column.quantity] * column.factor
        for column in columns[1:]
    }
    up = None
    if "connected" in values:
        connected = filled("connected", values["connected"], notes)
        up = None if connected is None else connected > 0
    return sampled("csv", name, time_s, _named(values, notes), notes, start_utc=start_utc, **both_ways(up))


def _check_unit_of_time(name: str, first: float, unit: str) -> None:
    """Raise TraceError if the times are Unix times in another unit."""
    likely = next((u for u, s in _UNIX.items() if _UNIX_S[0] <= first * s < _UNIX_S[1]), None)
    wrong = unit in _UNIX and likely != unit
    # Seconds from any origin do not reach 10^11.
    wrong |= likely is not None and unit in DURATION_UNITS_S and first * DURATION_UNITS_S[unit] >= _LONG_S
    if wrong:
        advice = f"they look like {likely}" if likely else "expected times between 1980 and 2200"
        raise TraceError(f"{name}: the first time is {first:.17g}, declared as {unit}; {advice}")


def _named(values: dict[str, Floats], notes: list[str]) -> dict[str, Floats]:
    """Return the columns under the names of a trace's columns."""
    named: dict[str, Floats] = {}
    if "rtt" in values:
        named |= halves(values["rtt"], notes)
    if "loss" in values and "rtt" in values:
        notes.append("loss is that of round trips, divided between both directions")
        named |= dict.fromkeys(LOSSES, each_way(values["loss"]))
    elif "loss" in values:
        notes.append("loss is that of each direction")
        named |= dict.fromkeys(LOSSES, values["loss"])
    if "delay" in values:
        named |= dict.fromkeys(DELAYS, values["delay"])
    for what, name in (
        ("down", "down_bit_s"),
        ("up", "up_bit_s"),
        ("down_delay", "down_delay_s"),
        ("up_delay", "up_delay_s"),
        ("down_loss", "down_loss"),
        ("up_loss", "up_loss"),
    ):
        if what in values:
            named[name] = values[what]
    return named
