"""The file format of traces: reading and writing.

The file is UTF-8 CSV after a header of `#` lines:

    # spaceverse-trace 2
    # satellite: FLOCK 2P-1
    # station: Svalbard
    # start_utc: 2018-01-20T06:47:50Z
    # end_s: 180.0
    # made_by: spaceverse trace make
    # element_epoch_utc: 2018-01-19T22:06:55.628639Z    (only if computed from an orbit)
    # note: elevation mask 10 deg                       (any number of these)
    time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
    0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
    6.25,1,4000000.0,250000.0,0.0055,0.0055,0.0,0.0

A row is valid from its time_s until that of the next row, the last row until end_s. `up` is 1 while packets
pass in both directions, and 0 while they pass in none. If a row has one direction up and the other one down,
the file is of version 3, which has two columns in the place of `up`:

    # spaceverse-trace 3
    ...
    time_s,downlink_up,uplink_up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
    0.0,1,0,4000000.0,0.0,0.0055,0.0,0.0,0.0

Columns named down_... are from satellite to ground, those named up_... from ground to satellite.
Rates are in bit/s, delays are one-way and in seconds, and a loss is the probability that a packet is lost.
Columns after up_loss are for readers and plots (elevation_deg, ...). Numbers are written with as many digits
as restore the same float64.

Version 1 had one `delay_s` and one `loss` for both directions. Files of every version can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from traces.errors import TimeError, TraceError
from traces.numbers import lines_of, read_table, shown
from traces.output_file import replacing
from traces.trace import COLUMNS, EXTRA_NAME, FLAGS, VALUES, Trace, TraceHeader, first_fault
from traces.utc import format_utc, parse_utc

FIRST_LINE = "# spaceverse-trace 2"
_FIRST_LINE_3 = "# spaceverse-trace 3"
_COLUMNS_OF = {  # by the first line
    "# spaceverse-trace 1": ("time_s", "up", "down_bit_s", "up_bit_s", "delay_s", "loss"),
    FIRST_LINE: ("time_s", "up", *VALUES),
    _FIRST_LINE_3: COLUMNS,
}
_OLDER_NAMES = {**dict.fromkeys(FLAGS, "up"), **{name: name.split("_", 1)[1] for name in VALUES[2:]}}
_REQUIRED_KEYS = ("satellite", "station", "start_utc", "end_s", "made_by")
_WORDS = {b"nan": float("nan"), b"inf": float("inf"), b"-inf": float("-inf")}
_KEYS = (*_REQUIRED_KEYS, "element_epoch_utc", "note")


def read_trace(path: str | Path) -> Trace:
    """Read a trace from a file.

    Raises:
        TraceError: The file cannot be read or is not a trace; the message names the line and what was
            expected.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as fault:
        raise TraceError(f"cannot read trace {path}: {fault.strerror or fault}") from fault
    return parse_trace(data, str(path))


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace to a file, which appears whole or not at all and replaces an existing one.

    Raises:
        OutputFileError: The file cannot be written.
    """
    with replacing(path) as part:
        part.write_text(format_trace(trace), encoding="utf-8", newline="\n")


def format_trace(trace: Trace) -> str:
    """Return the text of a trace's file."""
    header = trace.header
    # As one column wherever that says the same, so that older versions of the reader accept the file.
    alike = np.array_equal(trace.downlink_up, trace.uplink_up)
    first_line = FIRST_LINE if alike else _FIRST_LINE_3
    lines = [
        first_line,
        f"# satellite: {header.satellite}",
        f"# station: {header.station}",
        f"# start_utc: {format_utc(header.start_utc)}",
        f"# end_s: {trace.end_s!r}",
        f"# made_by: {header.made_by}",
    ]
    if header.element_epoch_utc is not None:
        lines.append(f"# element_epoch_utc: {format_utc(header.element_epoch_utc)}")
    lines += [f"# note: {note}" for note in header.notes]
    names = _COLUMNS_OF[first_line]
    lines.append(",".join([*names, *trace.extra]))
    columns = [getattr(trace, name) for name in names]
    columns = [column.astype(int) if column.dtype == np.bool_ else column for column in columns]
    texts = [map(repr, column.tolist()) for column in [*columns, *trace.extra.values()]]
    lines += map(",".join, zip(*texts, strict=True))
    return "\n".join(lines) + "\n"


def parse_trace(content: bytes | str, name: str = "trace") -> Trace:
    """Return the trace that a file's content holds.

    Args:
        content: the file's bytes or text.
        name: what error messages call the file.

    Raises:
        TraceError: The content is not a trace; the message names the line and what was expected.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    lines = ((number, _text(name, number, line)) for number, line in lines_of(data))
    columns, header, end_s, (number, names) = _read_header(name, lines)
    extra_names = _read_column_names(name, number, names, columns)
    start = _after_lines(data, number)
    numbers = read_table(data, name, len(columns) + len(extra_names), start=start, gaps=_WORDS)
    numbers.setflags(write=False)
    table = list(numbers)
    there = dict(zip(columns, table, strict=False))
    # An older column for both directions stays one array.
    base: dict[str, Any] = {key: there[key if key in there else _OLDER_NAMES[key]] for key in COLUMNS}
    extra = dict(zip(extra_names, table[len(columns) :], strict=True))
    refused: TraceError | None = None
    if all(((base[flag] == 0) | (base[flag] == 1)).all() for flag in FLAGS):
        try:
            return Trace(header=header, end_s=end_s, extra=extra, **base)
        except TraceError as fault:
            refused = fault
    invalid = first_fault(end_s, *base.values())
    if invalid is None:
        raise refused or TraceError(f"{name}: not a trace")
    raise TraceError(f"{name}, line {number + 1 + invalid[0]}: {invalid[1]}")


def _text(name: str, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise TraceError(f"{name}, line {number}: expected UTF-8 text; found {shown(line)}") from None


def _after_lines(data: bytes, lines: int) -> int:
    """Return the position of the line after the first `lines` lines."""
    place = 0
    for _ in range(lines):
        place = data.find(b"\n", place) + 1 or len(data)
    return place


def _read_header(
    name: str, lines: Iterator[tuple[int, str]]
) -> tuple[tuple[str, ...], TraceHeader, float, tuple[int, str]]:
    """Parse the `#` lines; return the version's columns, the header, end_s, and the line after them."""
    first = next(lines, (1, ""))[1].rstrip()
    if first not in _COLUMNS_OF:
        raise TraceError(
            f"{name}, line 1: expected {FIRST_LINE!r}; found {shown(first)};"
            " `spaceverse trace convert` makes a trace of a recording"
        )
    values: dict[str, str] = {}
    line_of: dict[str, int] = {}
    notes: list[str] = []
    number, line = 1, ""
    for number, line in lines:
        if not line.startswith("#"):
            break
        key, colon, value = (part.strip() for part in line[1:].partition(":"))
        if not colon or key not in _KEYS or key in values:
            expected = "a key that is not repeated" if key in values else f"one of {', '.join(_KEYS)}"
            raise TraceError(f"{name}, line {number}: expected '# key: value' with {expected}")
        if key == "note":
            notes.append(value)
        else:
            values[key], line_of[key] = value, number
    else:
        number, line = number + 1, ""
    missing = [key for key in _REQUIRED_KEYS if key not in values]
    if missing:
        raise TraceError(f"{name}, line {number}: expected the header line '# {missing[0]}: ...' before this")
    header = _parse_header(name, values, line_of, notes)
    return _COLUMNS_OF[first], header, _parse_end_s(name, values, line_of), (number, line)


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
        found = shown(values["end_s"])
        raise TraceError(
            f"{name}, line {line_of['end_s']}: expected end_s in seconds, more than 0; found {found}"
        )
    return end_s


def _read_column_names(name: str, number: int, line: str, columns: tuple[str, ...]) -> list[str]:
    names = [column.strip() for column in line.split(",")]
    if tuple(names[: len(columns)]) != columns:
        found = shown(line)
        raise TraceError(f"{name}, line {number}: expected the columns {','.join(columns)}; found {found}")
    extra = names[len(columns) :]
    for column in extra:
        if names.count(column) > 1 or column in (*COLUMNS, "up") or not EXTRA_NAME.fullmatch(column):
            found = shown(column)
            raise TraceError(
                f"{name}, line {number}: expected a new column name like elevation_deg; found {found}"
            )
    return extra
