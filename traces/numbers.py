"""Tables of decimal numbers in text: fast, exact, and with the line of each error.

pandas reads tens of millions of numbers in seconds, each to the nearest float64. Its result is used only if
the text is a plain table of numbers. Any other part is parsed again line by line, and errors name the line.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError

Floats = npt.NDArray[np.float64]

LONGEST_LINE = 4096
NOTHING = dict.fromkeys((b"", b"nan", b"na", b"null", b"none"), float("nan"))
"""Texts of a field without a value, in lower case."""

_BLOCK_BYTES = 32 << 20  # pandas splits this much among threads; an error costs a second pass over its part
_PART_BYTES = 1 << 20
_FEW_BYTES = 1 << 14  # parsed line by line, which takes less time than importing pandas
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


def shown(content: bytes | str) -> str:
    """Return a quoted excerpt that is short enough for a message of one line."""
    text = content if isinstance(content, str) else content.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")


def lines_of(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and content of each line from byte `start` on, without the line end."""
    number = data.count(b"\n", 0, start) + 1
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield number, data[start:end].removesuffix(b"\r")
        number, start = number + 1, end + 1


def blocks_of(data: bytes, start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds [begin, end) of blocks of whole lines, each of about `size` bytes."""
    while start < stop:
        end = data.find(b"\n", min(start + size, stop), stop) + 1
        end = end or stop
        yield start, end
        start = end


def read_table(
    data: bytes,
    name: str,
    columns: int,
    *,
    start: int = 0,
    separator: bytes = b",",
    gaps: Mapping[bytes, float] = MappingProxyType({}),
    wanted: Sequence[int] | None = None,
) -> Floats:
    """Parse lines of `columns` numbers, from byte `start` on.

    Args:
        data: the file's content.
        name: the file's name in error messages.
        columns: the number of fields in each line.
        start: the byte at which the first of these lines begins.
        separator: the byte between two fields.
        gaps: texts that may stand for a number, in lower case, with the NaN or infinity that each means.
        wanted: indices of the columns to return, all by default; the first one must have no gaps.

    Returns:
        float64[columns, rows], each the nearest float64 to the decimal number.

    Raises:
        TraceError: A line is invalid, or there is none; the message names the line and what was expected.
    """
    reader = _Reader(data, name, columns, separator, gaps, tuple(wanted or range(columns)))
    stop = _end_of_text(data)
    lines = data.count(b"\n", start, stop) + 1
    # A valid line has a digit and a separator for each number, so the size bounds the number of lines.
    least_bytes = columns + (1 if gaps else columns)
    table = np.empty((len(reader.wanted), min(lines, (stop - start) // least_bytes + 1)))
    filled = 0
    # Parsing a block takes several times its size in memory, so a small file gets small blocks.
    size = min(_BLOCK_BYTES, max(_PART_BYTES, (stop - start) // 16))
    for begin, end in blocks_of(data, start, stop, size):
        for part in reader.parts(begin, end):
            rows = len(part[0])
            for column, numbers in zip(table, part, strict=True):
                column[filled : filled + rows] = numbers
            filled += rows
    if not filled:
        line = data.count(b"\n", 0, start) + 1
        raise TraceError(f"{name}, line {line}: expected at least one row of {_numbers(columns)}")
    return table


def _end_of_text(data: bytes) -> int:
    """Return the position after the last byte that is not white space."""
    tail = data[-LONGEST_LINE:]
    return len(data) - len(tail) + len(tail.rstrip()) if not tail.isspace() else len(data.rstrip())


class _Reader:
    """Parser of the blocks of one file."""

    def __init__(
        self,
        data: bytes,
        name: str,
        columns: int,
        separator: bytes,
        gaps: Mapping[bytes, float],
        wanted: tuple[int, ...],
    ) -> None:
        self._data, self._name, self._columns, self._separator = data, name, columns, separator
        self._gaps, self.wanted = gaps, wanted
        self._seen = (0, 0)  # a position, and the number of line ends before it

    def parts(self, begin: int, end: int) -> Iterator[Sequence[Floats]]:
        """Yield the block's rows as columns: at once if it is a plain table, else in parts."""
        whole = self._plain(begin, end)
        if whole is not None:
            yield whole
            return
        for part in blocks_of(self._data, begin, end, _PART_BYTES):
            rows = self._plain(*part) if part != (begin, end) else None
            yield self._line_by_line(*part) if rows is None else rows

    def _plain(self, begin: int, end: int) -> list[Floats] | None:
        if end - begin <= _FEW_BYTES:
            return None
        place = (begin, end, self._columns, self._separator)
        return plain_table(self._data, *place, gaps=self._gaps, wanted=self.wanted)

    def _line_by_line(self, begin: int, end: int) -> list[Floats]:
        """Parse a block line by line; errors name the line."""
        first = self._line_of(begin)
        rows = np.empty((_lines(self._data, begin, end), len(self.wanted)))
        for number, line in lines_of(self._data[begin:end]):
            fields = line.split(self._separator) if len(line) <= LONGEST_LINE else []
            values = [number_or_none(field, self._gaps) for field in fields]
            row = [values[place] for place in self.wanted] if len(values) == self._columns else [None]
            if None in row or row[0] != row[0]:
                where = f"{self._name}, line {first + number - 1}"
                raise TraceError(f"{where}: expected {_numbers(self._columns)}; found {shown(line)}")
            rows[number - 1] = row
        return list(rows.T)

    def _line_of(self, place: int) -> int:
        before, count = self._seen
        self._seen = (place, count + self._data.count(b"\n", before, place))
        return self._seen[1] + 1


def plain_table(
    data: bytes,
    begin: int,
    end: int,
    columns: int,
    separator: bytes = b",",
    *,
    gaps: Mapping[bytes, float] = MappingProxyType({}),
    wanted: Sequence[int] | None = None,
) -> list[Floats] | None:
    """Return the columns of data[begin:end] as `read_table` does; None if it is not a plain table."""
    text = memoryview(data)[begin:end]
    first = bytes(text[: LONGEST_LINE + 1]).split(b"\n", 1)[0]
    # pandas rejects lines with more fields than the first; a line with fewer fields shows as a gap.
    if len(first) > LONGEST_LINE or first.count(separator) != columns - 1:
        return None
    if data.find(b"\0", begin, end) >= 0:
        return None
    table = _frame(text, separator, [])
    if (
        table is None
        and gaps
        and data.count(separator, begin, end) == (columns - 1) * _lines(data, begin, end)
    ):
        table = _frame(text, separator, [word.decode() for word in gaps])
    if table is None or table.shape[1] != columns:
        return None
    if data.find(b"\r", begin, end) >= 0 and len(table) != _lines(data, begin, end):
        return None  # pandas takes a lone carriage return for a line end
    rows = [table[column].to_numpy() for column in wanted or range(columns)]
    if np.isfinite(rows[0]).all() and not any(_is_odd(row, gaps) for row in rows[1:]):
        return rows
    return None


def _is_odd(numbers: Floats, gaps: Mapping[bytes, float]) -> bool:
    finite = np.isfinite(numbers)
    return not finite.all() and not (gaps and bool(np.isnan(numbers[~finite]).all()))


def _lines(data: bytes, begin: int, end: int) -> int:
    return data.count(b"\n", begin, end) + (data[end - 1 : end] != b"\n")


def _frame(text: memoryview, separator: bytes, gaps: Sequence[str]) -> Any | None:
    """Parse a table with pandas; return None if pandas rejects it.

    pandas uses several threads and skips decoding only if its source has a path, so the text gets a path in
    memory. Before version 3.1 its default precision was not exact.
    """
    import pandas  # slow to import; small files do not need it

    exact = (
        {}
        if tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1)
        else {"float_precision": "round_trip"}
    )
    try:
        with _path_of(text) as source:
            return pandas.read_csv(
                source,
                sep=separator.decode("latin-1"),
                header=None,
                engine="c",
                dtype=np.float64,
                quoting=csv.QUOTE_NONE,
                skip_blank_lines=False,
                keep_default_na=False,
                na_filter=bool(gaps),
                na_values=list(gaps),
                encoding="utf-8",
                **exact,
            )
    except (ValueError, OverflowError):  # pandas' errors and decoding errors are ValueErrors
        return None


@contextlib.contextmanager
def _path_of(text: memoryview) -> Iterator[str | io.BytesIO]:
    if not hasattr(os, "memfd_create"):  # not Linux
        yield io.BytesIO(text)
        return
    descriptor = os.memfd_create("table")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as out:
            out.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def number_or_none(field: bytes, gaps: Mapping[bytes, float] = MappingProxyType({})) -> float | None:
    """Parse one number, or one of `gaps`; return None if the field is neither."""
    field = field.strip()
    if _NUMBER.fullmatch(field):
        value = float(field)
        return value if math.isfinite(value) else None
    return gaps.get(field.lower())


def _numbers(columns: int) -> str:
    return "one number" if columns == 1 else f"{columns} numbers"


def check_rows(
    name: str, good: npt.NDArray[np.bool_], first_line: int, expected: str, found: Callable[[int], object]
) -> None:
    """Raise TraceError for the first row that is not good; row 0 stands in line `first_line`."""
    if not good.all():
        row = int(np.argmin(good))
        raise TraceError(f"{name}, line {first_line + row}: expected {expected}; found {found(row)}")
