"""Reads decimal numbers out of text, millions per second, and says which line is wrong.

`float` takes 100 ns a number and NumPy's own text readers no less; a day of 10 ms probes holds 35 million.
Here eight digits at a time are read as one 64-bit word and turned into a number by three multiplications,
for a block of fields at once (D. Lemire's parse_eight_digits, written with arrays).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

BLOCK_BYTES = 1 << 19  # small enough that the work on it stays in the cache
LONGEST_LINE = 4096
_PAD = 8
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_NOTHING = (b"", b"nan", b"na", b"null", b"none")
_LINE, _DOT, _MINUS, _ZEROS = 10, 46, 45, np.uint64(0x3030303030303030)
_LITTLE_ENDIAN = sys.byteorder == "little"


def shown(found: bytes) -> str:
    """Quote what was found, short enough for one line."""
    text = found.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")


def lines_of(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield number (from 1) and content of each line from byte `start` on, without the line's end."""
    number = data.count(b"\n", 0, start) + 1
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield number, data[start:end].removesuffix(b"\r")
        number, start = number + 1, end + 1


def blocks_of(data: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield [begin, end) of blocks of whole lines."""
    while start < len(data):
        end = data.find(b"\n", min(start + BLOCK_BYTES, len(data))) + 1
        end = end or len(data)
        yield start, end
        start = end


def read_table(
    data: bytes, name: str, columns: int, *, start: int = 0, separator: bytes = b",", gaps: bool = False
) -> Floats:
    """Read lines of `columns` numbers, from byte `start` on.

    Args:
        data: the file.
        name: what errors call it.
        columns: numbers in each line.
        start: where the first of these lines begins.
        separator: one byte between the numbers.
        gaps: an empty field (or nan, null, none, NA) is NaN; else it is refused.

    Returns:
        float64[rows, columns]; correctly rounded below 16 digits, within one unit of the last place above.

    Raises:
        TraceError: names file, line and what was expected; also when there is no line at all.
    """
    data = _ended(data)
    table = np.empty((data.count(b"\n", start), columns))
    filled = 0
    for begin, end in blocks_of(data, start):
        part = _read_block(data, begin, end, columns, separator) if _LITTLE_ENDIAN else None
        if part is None:
            part = _read_lines(data, begin, end, name, columns, separator, gaps)
        table[filled : filled + len(part)] = part
        filled += len(part)
    if not len(table):
        line = data.count(b"\n", 0, start) + 1
        raise TraceError(f"{name}, line {line}: expected at least one line of {_numbers(columns)}")
    return table


def _ended(data: bytes) -> bytes:
    """Let the data end with one line's end, without blank lines before it."""
    if data[-1:] == b"\n" and data[-2:-1] not in (b"\n", b"\r", b" "):
        return data
    return data.rstrip() + b"\n"


def _read_block(data: bytes, begin: int, end: int, columns: int, separator: bytes) -> Floats | None:
    """Read a block of plain numbers; None if anything in it is not plain."""
    text, offset = _view(data, begin, end)
    is_line = text == _LINE
    marks = np.flatnonzero(is_line | (text == separator[0]))
    marks = marks[marks >= offset]
    if marks.size % columns:
        return None
    kinds = is_line[marks].reshape(-1, columns)
    if kinds[:, :-1].any() or not kinds[:, -1].all():
        return None
    starts = np.empty_like(marks)
    starts[0], starts[1:] = offset, marks[:-1] + 1
    numbers, plain = decimals(text, starts, marks)
    return numbers.reshape(-1, columns) if plain.all() else None


def _view(data: bytes, begin: int, end: int) -> tuple[Bytes, int]:
    """Return bytes from somewhat before `begin` to `end`, and where `begin` lies in them."""
    if begin >= _PAD:
        return np.frombuffer(data, np.uint8, end - begin + _PAD, begin - _PAD), _PAD
    return np.frombuffer(b"\0" * _PAD + data[:end], np.uint8), begin + _PAD


def decimals(text: Bytes, starts: Places, ends: Places) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Read the fields text[starts:ends], each "12", "-1" or "120.126"; at least 8 bytes lie before each.

    Returns:
        The numbers, and which of them are plain: at most 18 digits, nothing else but a sign and a point.
        What is not plain has no meaning.
    """
    minus = text[np.minimum(starts, len(text) - 1)] == _MINUS
    starts = starts + minus
    dots = np.append(np.flatnonzero(text == _DOT), np.iinfo(np.intp).max)
    dot = dots[np.searchsorted(dots, starts)]
    has_dot = dot < ends
    whole_end = np.where(has_dot, dot, ends)
    fraction_digits = np.where(has_dot, ends - dot - 1, 0)
    digits = whole_end - starts
    plain = (digits > 0) & (digits + fraction_digits <= 18) & (~has_dot | (fraction_digits > 0))
    # 19 digits hold the nanoseconds since 1970 until the year 2262.
    plain |= (digits == 19) & ~has_dot & (text[np.minimum(starts, len(text) - 1)] < ord("9"))
    fraction_digits = np.where(plain, fraction_digits, 0)
    words = np.ndarray(len(text) - 7, np.uint64, text, strides=(1,))  # the 8 bytes from each place on
    value = _integers(words, whole_end, np.where(plain, digits, 0), plain)
    if has_dot.any():
        fraction = _integers(words, ends, fraction_digits, plain)
        value = value * _POWERS[fraction_digits] + fraction
    numbers = value.astype(np.float64) / _FLOAT_POWERS[fraction_digits]
    return np.where(minus, -numbers, numbers), plain


_POWERS = 10 ** np.arange(19, dtype=np.uint64)
_FLOAT_POWERS = 10.0 ** np.arange(19)


def _integers(
    words: npt.NDArray[np.uint64], ends: Places, digits: Places, plain: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    """Read integers of up to 24 digits that end before `ends`; clears `plain` where they are none."""
    most = int(digits.max(initial=0))
    value = _eight(words, ends - 8, np.minimum(digits, 8), plain)
    for done in range(8, most, 8):
        further = _eight(words, np.maximum(ends - 8 - done, 0), np.clip(digits - done, 0, 8), plain)
        value = value + further * _POWERS[done]
    return value


def _eight(
    words: npt.NDArray[np.uint64], places: Places, digits: Places, plain: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    """Read the last `digits` of the eight bytes at `places`: the first digit lies in the lowest byte."""
    word = words[places] ^ _ZEROS
    shift = (8 * (8 - digits)).astype(np.uint64)
    word = np.where(digits > 0, (word >> (shift & np.uint64(63))) << (shift & np.uint64(63)), np.uint64(0))
    over = (word + np.uint64(0x7676767676767676)) | word  # the top bit of each byte that is above 9
    plain &= (over & np.uint64(0x8080808080808080)) == 0
    word = (word & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(2561) >> np.uint64(8)
    word = (word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
    return np.asarray((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32))


def _read_lines(
    data: bytes, begin: int, end: int, name: str, columns: int, separator: bytes, gaps: bool
) -> Floats:
    """Read a block line by line: slower, takes whatever is a number, and knows where it is not."""
    first = data.count(b"\n", 0, begin) + 1
    rows = np.empty((data.count(b"\n", begin, end), columns))
    for number, line in lines_of(data[begin:end]):
        fields = line.split(separator) if len(line) <= LONGEST_LINE else []
        values = [number_or_none(field, gaps) for field in fields]
        if len(values) != columns or None in values:
            where = f"{name}, line {first + number - 1}"
            raise TraceError(f"{where}: expected {_numbers(columns)}; found {shown(line)}")
        rows[number - 1] = values
    return rows


def number_or_none(field: bytes, gaps: bool = False) -> float | None:
    """Read one number; NaN for an empty field if `gaps`, None for what is no finite number."""
    field = field.strip()
    if _NUMBER.fullmatch(field):
        value = float(field)
        return value if abs(value) < 1e300 else None
    return float("nan") if gaps and field.lower() in _NOTHING else None


def _numbers(columns: int) -> str:
    return "one number" if columns == 1 else f"{columns} numbers"


def check_rows(
    name: str, good: npt.NDArray[np.bool_], first_line: int, expected: str, found: Callable[[int], object]
) -> None:
    """Raise TraceError for the first row that is not good; row 0 stands in line `first_line`."""
    if not good.all():
        row = int(np.argmin(good))
        raise TraceError(f"{name}, line {first_line + row}: expected {expected}; found {found(row)}")
