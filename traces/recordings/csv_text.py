"""Fields of CSV text, quoted as RFC 4180 says."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, lines_of


def csv_fields(line: str, separator: str = ",") -> list[str]:
    """Return the fields of one line, without the spaces around them; [] if its quotes are invalid."""
    if '"' not in line:
        return [field.strip() for field in line.split(separator)]
    try:
        return [field.strip() for field in next(_reader([line], separator), [])]
    except csv.Error:
        return []


def csv_rows(data: bytes, name: str, start: int, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line and the fields of each row, from byte `start` on.

    Blank rows and rows that begin with # are left out.

    Raises:
        TraceError: A quoted field does not end.
    """
    first = data.count(b"\n", 0, start)
    reader = _reader(
        (line[:LONGEST_LINE].decode("utf-8", "replace") + "\n" for _, line in lines_of(data, start)),
        separator,
    )
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as fault:
            raise TraceError(f"{name}, line {first + reader.line_num}: expected CSV: {fault}") from None
        if fields is None:
            return
        if any(field.strip() for field in fields) and not fields[0].lstrip().startswith("#"):
            yield first + reader.line_num, [field.strip() for field in fields]


def _reader(lines: Iterator[str] | list[str], separator: str):  # type: ignore[no-untyped-def]  # private in csv
    return csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t")
