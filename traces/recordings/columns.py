"""CSV files with declared columns: `time=ts:unix-ms,down=dl:Mbit/s,rtt=3:ms,loss=loss:percent`.

Each part of the declaration is QUANTITY=COLUMN:UNIT. COLUMN is a name in the file's first line, or a number
from 1.

    time                            s ms us ns (from any origin), unix-s unix-ms unix-us unix-ns, iso
    down up                         bit/s kbit/s Mbit/s Gbit/s, B/s kB/s MB/s GB/s (bytes)
    rtt delay down_delay up_delay   s ms us ns; `delay` is one-way, for both directions
    loss down_loss up_loss          fraction percent
    connected                       flag: 0 or 1
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from traces.errors import TraceError, UnitError
from traces.numbers import (
    LONGEST_LINE,
    NOTHING,
    Floats,
    check_rows,
    lines_of,
    number_or_none,
    read_table,
    shown,
)
from traces.recordings.recording import DELAYS, LOSSES, Assumptions, Recording
from traces.recordings.sampling import from_epoch, halves, in_order, parse_unix_s, sampled
from traces.units import DURATION_UNITS_S, RATE_UNITS_BIT_S, SHARE_UNITS

_UNIX = {f"unix-{unit}": factor for unit, factor in DURATION_UNITS_S.items()}
_UNITS: dict[str, Mapping[str, float]] = {
    "time": {**DURATION_UNITS_S, **_UNIX, "iso": 1.0},
    **dict.fromkeys(("down", "up"), RATE_UNITS_BIT_S),
    **dict.fromkeys(("rtt", "delay", "down_delay", "up_delay"), DURATION_UNITS_S),
    **dict.fromkeys(("loss", "down_loss", "up_loss"), SHARE_UNITS),
    "connected": {"flag": 1.0},
}
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
    separator = {"tab": b"\t", "space": b" "}.get(assumptions.separator, assumptions.separator.encode())
    if len(separator) != 1 or separator in b"0123456789.-+":
        raise TraceError(f"--separator {assumptions.separator!r}: expected one character, or tab or space")
    places, start, first_line = _places(data, name, columns, separator)
    table = _table(data, name, columns, places, start, separator, assumptions)
    for value in assumptions.missing:
        table[1:][table[1:] == value] = np.nan
    return _recording(name, columns, table, first_line, assumptions)


def _places(data: bytes, name: str, columns: list[Column], separator: bytes) -> tuple[list[int], int, int]:
    """Return the index of each column, the byte at which the numbers begin, and the number of that line."""
    line = data.split(b"\n", 1)[0][:LONGEST_LINE].removeprefix(b"\xef\xbb\xbf")
    heads = [
        part.decode("utf-8", "replace").strip().strip('"') for part in line.rstrip(b"\r").split(separator)
    ]
    has_heads = not any(number_or_none(head.encode()) is not None for head in heads)
    places = []
    for column in columns:
        if column.where in heads and has_heads:
            places.append(heads.index(column.where))
        elif column.where.isascii() and column.where.isdigit() and 0 < int(column.where[:6]) <= len(heads):
            places.append(int(column.where) - 1)
        else:
            there = ", ".join(heads[:12]) if has_heads else f"numbers 1 to {len(heads)}"
            raise TraceError(f"{name}, line 1: expected a column {column.where!r}; there are {there[:200]}")
    start = (data.find(b"\n") + 1 or len(data)) if has_heads else 0
    return places, start, 2 if has_heads else 1


def _table(
    data: bytes,
    name: str,
    columns: list[Column],
    places: list[int],
    start: int,
    separator: bytes,
    assumptions: Assumptions,
) -> Floats:
    """Return float64[columns, rows] with time first, in the file's units (iso: seconds since 1970)."""
    order = sorted(range(len(columns)), key=lambda index: columns[index].quantity != "time")
    columns[:], places = [columns[index] for index in order], [places[index] for index in order]
    width = data[start : start + LONGEST_LINE].split(b"\n", 1)[0].count(separator) + 1
    if columns[0].unit != "iso":
        try:
            return read_table(
                data, name, width, start=start, separator=separator, gaps=NOTHING, wanted=places
            )
        except TraceError:
            pass  # text in an undeclared column, or an error: parse line by line
    numbers = array("d")
    for number, line in lines_of(data, start):
        if not line.strip():
            continue
        fields = line[:LONGEST_LINE].split(separator)
        if len(fields) <= max(places):
            raise TraceError(
                f"{name}, line {number}: expected {max(places) + 1} columns; found {shown(line)}"
            )
        for column, place in zip(columns, places, strict=True):
            field = fields[place].strip().strip(b'"')
            where = f"{name}, line {number}"
            value = (
                parse_unix_s(field.decode("utf-8", "replace"), where, assumptions.zone)
                if column.unit == "iso"
                else number_or_none(field, NOTHING)
            )
            if value is None:
                raise TraceError(f"{where}: expected a number for {column.quantity}; found {shown(field)}")
            numbers.append(value)
    if not numbers:
        raise TraceError(f"{name}, line {2 if start else 1}: expected at least one row of numbers")
    return np.ascontiguousarray(np.array(numbers).reshape(-1, len(columns)).T)


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
    time, by_quantity = in_order(by_quantity.pop("time"), by_quantity, notes)
    unit = columns[0].unit
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
    up = np.nan_to_num(values["connected"]) > 0 if "connected" in values else None
    return sampled("csv", name, time_s, _named(values, notes), notes, start_utc=start_utc, up=up)


def _named(values: dict[str, Floats], notes: list[str]) -> dict[str, Floats]:
    """Return the columns under the names of a trace's columns."""
    named: dict[str, Floats] = {}
    if "rtt" in values:
        named |= halves(values["rtt"], notes)
    if "loss" in values:
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
