"""Two-line element sets: read from files, checked, found by name.

Fields and checksum as in Spacetrack Report 3 and NASA's description of the format: 69 columns, the
last is the sum of all digits, each minus counting 1, modulo 10.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sgp4.api import Satrec
from sgp4.conveniences import sat_epoch_datetime

from traces.errors import TleError, UnknownSatelliteError

FLOCK_TLE = Path(__file__).parent / "data" / "flock-2018-01.tle"
"""188 Planet Flock satellites, epochs 18 to 21 January 2018."""

_LENGTH = 69

# First and last column (counted from 1), what stands there, least and greatest value.
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


@dataclass(frozen=True)
class ElementSet:
    """One satellite's mean elements, as SGP4 takes them.

    Args:
        name: the satellite's name, or its catalogue number where the file has no names.
        line1: first line, 69 columns; empty where the elements came otherwise.
        line2: second line, 69 columns.
        epoch_utc: when the elements were true.
        omm: the elements as an OMM's JSON object (see `omm`), where they did not come from two lines.
    """

    name: str
    line1: str
    line2: str
    epoch_utc: datetime
    omm: str = ""

    @property
    def catalogue_number(self) -> str:
        """The satellite's number in the catalogue, as written: "41617", "A0001"; empty for none."""
        if not self.omm:
            return self.line1[2:7].strip()
        return str(json.loads(self.omm).get("NORAD_CAT_ID", ""))

    def model(self) -> Satrec:
        """Return SGP4's own object."""
        from traces.orbits.omm import model_of  # it needs this module

        return model_of(json.loads(self.omm)) if self.omm else Satrec.twoline2rv(self.line1, self.line2)

    def text_lines(self) -> tuple[str, ...]:
        """Return the text, a line or two, that `traces.orbits.elements.read_elements` reads back."""
        return (self.omm,) if self.omm else (self.line1, self.line2)


def checksum(line: str) -> int:
    """Return the checksum digit over the first 68 columns of an element line."""
    return sum(int(c) if c in "0123456789" else c == "-" for c in line[: _LENGTH - 1]) % 10


def read_tle(path: str | Path) -> list[ElementSet]:
    """Read a file of element sets, each of two lines, or three with a name (which may begin with "0 ").

    Raises:
        TleError: names file, line and what was expected.
    """
    try:
        text = Path(path).read_bytes().decode("ascii")
    except OSError as fault:
        raise TleError(f"cannot read element sets {path}: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise TleError(f"{path}: expected ASCII text, found another byte at {fault.start}") from None
    return parse_tle(text, source=str(path))


def parse_tle(text: str, *, source: str = "TLE") -> list[ElementSet]:
    """Read the text of a file of element sets; `source` is what errors call it.

    Raises:
        TleError: names `source`, line and what was expected.
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
        raise TleError(f"{source}, line {len(lines)}: expected the two lines of {name}, found the end")
    if not sets:
        raise TleError(f"{source}, line 1: expected element sets, found none")
    return sets


def find_satellite(element_sets: Sequence[ElementSet], wanted: str) -> ElementSet:
    """Return the element set with that name (upper or lower case) or catalogue number.

    Raises:
        UnknownSatelliteError: there is none, or several of that name; offers close ones.
    """
    key = _key(wanted)
    found = [one for one in element_sets if key in (_key(one.name), _key(one.catalogue_number))]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(one.catalogue_number for one in found)
        raise UnknownSatelliteError(
            f"{len(found)} satellites are called {wanted!r}; give a number: {numbers}"
        )
    names = {_key(one.name): one.name for one in element_sets}
    close = [names[near] for near in difflib.get_close_matches(key, names, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(close)}?" if close else f"it has, for one, {element_sets[0].name}"
    raise UnknownSatelliteError(f"no satellite {wanted!r} among {len(element_sets)} element sets; {hint}")


def _key(name: str) -> str:
    return " ".join(name.upper().split())


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
        raise TleError(f"{source}, line {number}: expected elements that SGP4 takes; {fault}") from None
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
        raise TleError(f"{where}: expected checksum {checksum(line)}; found {line[-1]}: a digit is wrong")
    for begin, end, what, least, greatest in fields:
        value = _number(line[begin - 1 : end])
        if value is None or not least <= value <= greatest:
            expected = f"the {what} ({least} to {greatest}) in columns {begin} to {end}"
            raise TleError(f"{where}: expected {expected}; found {line[begin - 1 : end]!r}")


def _number(text: str) -> float | None:
    if "_" in text:  # Python takes 1_0 for ten
        return None
    try:
        return float(text.replace(" ", "0") if text.strip() else text)
    except ValueError:
        return None
