"""Two-line element sets (TLE): parsed and checked.

Fields and checksum follow Spacetrack Report 3 and NASA's description of the format: 69 columns, of which the
last is the sum of all digits modulo 10, where a minus sign counts as 1. Files in circulation hold more than
that, as skyfield's parser allows for: whatever is no element set is skipped, and counted in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timezone
from pathlib import Path

from sgp4.api import Satrec
from sgp4.conveniences import sat_epoch_datetime

from traces.errors import TleError
from traces.orbits.element_set import ElementSet
from traces.orbits.skipped_lines import SkippedLines

FLOCK_TLE = Path(__file__).parent / "data" / "flock-2018-01.tle"
"""File of the elements of 188 Planet Flock satellites, with epochs from 18 to 21 January 2018."""

_LENGTH = 69
_LEAST_LENGTH = 60  # of a damaged element line; names are shorter
_EPHEMERIS_TYPE = 62
_LINE_1 = re.compile(r"1 (?=.{0,4}\d)[ 0-9A-Z][ 0-9]{4}")
_LINE_2 = re.compile(r"2 (?=.{0,4}\d)[ 0-9A-Z][ 0-9]{4}")
_HYPATIA_HEADER = re.compile(r"[1-9]\d*\s+\d+")  # orbits, and satellites per orbit
_COMMENTS = ("#", "//", ";", "%", "*", "<")

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

    An element set has two lines, or three with a name, which may begin with "0 ". Other lines (comments,
    Hypatia's header, the text of a bulletin), invalid element sets among valid ones, and columns after the
    69th are skipped.

    Args:
        text: the file's text.
        source: the file's name in error messages.

    Raises:
        TleError: No element set is valid; the message names the line and what was expected.

    Warns:
        ElementFileWarning: Something was skipped; the message counts it.
    """
    lines = [
        _Line(number, line.strip() if _is_element_line(line.strip()) else line.rstrip())
        for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1)
        if line.strip()
    ]
    skipped = SkippedLines(source)
    sets: list[ElementSet] = []
    title: _Line | None = None  # what may be the name of the next element set
    index = 0
    while index < len(lines):
        line, following = lines[index], lines[index + 1] if index + 1 < len(lines) else None
        paired = following is not None and _LINE_2.match(following.text) is not None
        index += 1
        if _is_line_1(line, following):
            name = _name(title, lines[0], line, following if paired else None, skipped)
            title = None
            line2 = following or _Line(line.number + 1, "")
            try:
                sets.append(_element_set(source, name, line, line2, skipped))
            except TleError as fault:
                skipped.fault(fault)
            index += paired
        else:
            if title is not None:
                skipped.line(title.number, title.text)
            title = line
    if not sets:
        raise skipped.first_fault or TleError(_reason_for_none(source, lines, title))
    if title is not None:
        skipped.line(title.number, title.text)
    skipped.warn()
    return sets


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


def _is_element_line(text: str) -> bool:
    """Tell whether a line begins as an element line and is about as long, so that it cannot be a name."""
    return len(text) >= _LEAST_LENGTH and (_LINE_1.match(text) or _LINE_2.match(text)) is not None


def _is_line_1(line: _Line, following: _Line | None) -> bool:
    """Tell whether an element set begins here; a name or a header may begin with "1 " as well."""
    if _LINE_1.match(line.text) is None:
        return False
    return _is_element_line(line.text) or (
        following is not None and _LINE_2.match(following.text) is not None
    )


def _name(title: _Line | None, top: _Line, line1: _Line, line2: _Line | None, skipped: SkippedLines) -> str:
    """Return the name in the line before an element set, or "" if that is something else."""
    if title is None:
        return ""
    spaced = line2 is not None and line2.number > line1.number + 1  # an empty line after every line
    adjacent = title.number == line1.number - 1 or spaced
    header = title is top and _HYPATIA_HEADER.fullmatch(title.text.strip()) is not None
    comment = title.text.lstrip().startswith(_COMMENTS)
    if not adjacent or header or comment or _is_element_line(title.text) or not title.text.isprintable():
        skipped.line(title.number, title.text)
        return ""
    return title.text.removeprefix("0 ").strip()


def _reason_for_none(source: str, lines: Sequence[_Line], title: _Line | None) -> str:
    if not lines:
        return f"{source}, line 1: expected element sets; found none"
    if len(lines) > 1 or title is None or not title.text.isprintable():
        return f"{source}, line {lines[0].number}: expected element sets; found {lines[0].text[:40]!r}"
    found = title.text.strip()[:60]
    return f"{source}, line {title.number + 1}: expected the two lines of an element set behind {found!r}"


def _element_set(source: str, name: str, first: _Line, second: _Line, skipped: SkippedLines) -> ElementSet:
    line1, line2 = (_without_more_columns(line, skipped) for line in (first, second))
    _check_line(source, first.number, line1, "1", _LINE1_FIELDS)
    _check_line(source, second.number, line2, "2", _LINE2_FIELDS)
    if line1[2:7] != line2[2:7]:
        raise TleError(
            f"{source}, line {second.number}: expected catalogue number {line1[2:7]}; found {line2[2:7]}"
        )
    if line1[_EPHEMERIS_TYPE] == "4":  # its elements give wrong positions with SGP4
        raise TleError(f"{source}, line {first.number}: expected elements for SGP4; found SGP4-XP (type 4)")
    try:
        epoch_utc = sat_epoch_datetime(Satrec.twoline2rv(line1, line2)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as fault:
        raise TleError(
            f"{source}, line {first.number}: expected elements that SGP4 accepts; {fault}"
        ) from None
    return ElementSet(name or line1[2:7].strip(), line1, line2, epoch_utc)


def _without_more_columns(line: _Line, skipped: SkippedLines) -> str:
    """Return the 69 columns of an element line; some files append further ones after a space."""
    if len(line.text) <= _LENGTH or not line.text[_LENGTH].isspace():
        return line.text
    skipped.long_line()
    return line.text[:_LENGTH]


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
