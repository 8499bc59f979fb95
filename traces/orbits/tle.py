"""Two-line element sets (TLE): parsed and checked.

Fields and checksum follow Spacetrack Report 3 and NASA's description of the format: 69 columns, of which the
last is the sum of all digits modulo 10, where a minus sign counts as 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timezone
from pathlib import Path

from sgp4.api import Satrec
from sgp4.conveniences import sat_epoch_datetime

from traces.errors import TleError
from traces.orbits.element_set import ElementSet

FLOCK_TLE = Path(__file__).parent / "data" / "flock-2018-01.tle"
"""File of the elements of 188 Planet Flock satellites, with epochs from 18 to 21 January 2018."""

_LENGTH = 69

# First and last column (from 1), name of the field, least and greatest value.
_LINE1_FIELDS = [
    (19, 20, "epoch year", 0, 99),
    (21, 32, "epoch day", 1, 367),
    (34, 43, "first derivative of mean motion", -1, 1),
]
_LINE2_FIELDS = [
    (9, 16, "inclination", 0, 180),
    (18, 25, "right ascension", 0, 360),
    (27, 33, "eccentricity digits", 0, 9_999_999),
    (35, 42, "argument of perigee", 0, 360),
    (44, 51, "mean anomaly", 0, 360),
    (53, 63, "mean motion", 0.01, 18),
]


def checksum(line: str) -> int:
    """Return the checksum digit over the first 68 columns of an element line."""
    return sum(int(c) if c in "0123456789" else c == "-" for c in line[: _LENGTH - 1]) % 10


def parse_tle(text: str, *, source: str = "TLE") -> list[ElementSet]:
    """Parse the text of a file of element sets.

    An element set has two lines, or three with a name, which may begin with "0 ".

    Args:
        text: the file's text.
        source: the file's name in error messages.

    Raises:
        TleError: A line is invalid; the message names the line and what was expected.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    sets: list[ElementSet] = []
    name = ""
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.startswith("1 "):
            sets.append(_element_set(source, index + 1, name, lines[index : index + 2]))
            name = ""
            index += 2
            continue
        if line and name:
            raise TleError(f"{source}, line {index + 1}: expected line 1 of {name}; found {line[:40]!r}")
        if line and not line.isprintable():
            raise TleError(f"{source}, line {index + 1}: expected a satellite's name; found {line[:40]!r}")
        name = line.removeprefix("0 ").strip() if line else name
        index += 1
    if name:
        raise TleError(f"{source}, line {len(lines)}: expected the two lines of {name}; found the end")
    if not sets:
        raise TleError(f"{source}, line 1: expected element sets; found none")
    return sets


def _element_set(source: str, number: int, name: str, pair: Sequence[str]) -> ElementSet:
    line1 = pair[0]
    line2 = pair[1] if len(pair) > 1 else ""
    _check_line(source, number, line1, "1", _LINE1_FIELDS)
    _check_line(source, number + 1, line2, "2", _LINE2_FIELDS)
    if line1[2:7] != line2[2:7]:
        raise TleError(
            f"{source}, line {number + 1}: expected catalogue number {line1[2:7]}; found {line2[2:7]}"
        )
    try:
        epoch_utc = sat_epoch_datetime(Satrec.twoline2rv(line1, line2)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as fault:
        raise TleError(f"{source}, line {number}: expected elements that SGP4 accepts; {fault}") from None
    return ElementSet(name or line1[2:7].strip(), line1, line2, epoch_utc)


def _check_line(
    source: str, number: int, line: str, first: str, fields: Sequence[tuple[int, int, str, float, float]]
) -> None:
    where = f"{source}, line {number}"
    if not line.startswith(f"{first} "):
        raise TleError(f"{where}: expected line {first} of an element set; found {line[:40]!r}")
    if len(line) != _LENGTH or not line.isprintable():
        raise TleError(f"{where}: expected {_LENGTH} printable columns; found {len(line)}")
    if line[-1] != str(checksum(line)):
        raise TleError(f"{where}: expected checksum {checksum(line)}; found {line[-1]}, so a digit is wrong")
    for begin, end, field, least, greatest in fields:
        value = _number(line[begin - 1 : end])
        if value is None or not least <= value <= greatest:
            expected = f"the {field} ({least} to {greatest}) in columns {begin} to {end}"
            raise TleError(f"{where}: expected {expected}; found {line[begin - 1 : end]!r}")


def _number(text: str) -> float | None:
    if "_" in text:  # Python accepts 1_0 as ten
        return None
    try:
        return float(text.replace(" ", "0") if text.strip() else text)
    except ValueError:
        return None
