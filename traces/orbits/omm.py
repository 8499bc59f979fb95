"""Orbit Mean-Elements Messages (OMM) in JSON, CSV, XML or KVN: parsed and checked.

Keys and units follow CCSDS 502.0-B-3, section 4, as written by CelesTrak and Space-Track: revolutions per
day, degrees, UTC. Unlike a TLE, an OMM has room for catalogue numbers of nine digits. Records with the two
lines of a TLE instead, as SatNOGS DB writes them, are accepted too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from traces.errors import TleError
from traces.orbits.catalogue_number import catalogue_text
from traces.orbits.element_set import ElementSet
from traces.orbits.omm_records import omm_records
from traces.orbits.skipped_lines import SkippedLines
from traces.orbits.tle import parse_tle
from traces.utc import format_utc

# Least and greatest value of each number that SGP4 uses.
_RANGES = {
    "MEAN_MOTION": (0.01, 18.0),
    "ECCENTRICITY": (0.0, 0.999999),
    "INCLINATION": (0.0, 180.0),
    "RA_OF_ASC_NODE": (-360.0, 360.0),
    "ARG_OF_PERICENTER": (-360.0, 360.0),
    "MEAN_ANOMALY": (-360.0, 360.0),
    "BSTAR": (-10.0, 10.0),
}
# Keys that may be missing, and the values that SGP4 can be used with; the first is the one to expect.
_SUPPORTED = {
    "CENTER_NAME": ("EARTH",),
    "REF_FRAME": ("TEME", "TEMEOFDATE"),
    "TIME_SYSTEM": ("UTC",),
    "MEAN_ELEMENT_THEORY": ("SGP4", "SGP/SGP4", "SGP4/SDP4", "SDP4"),
    "EPHEMERIS_TYPE": ("0", "2", "3"),  # 4 is SGP4-XP, whose elements give wrong positions with SGP4
}
_TLE_KEYS = (("TLE0", "TLE1", "TLE2"), ("TLE_LINE0", "TLE_LINE1", "TLE_LINE2"), ("NAME", "LINE1", "LINE2"))
_EPOCH = re.compile(
    r"(\d{4})-(?:(\d\d)-(\d\d)|(\d{3}))[T ](\d\d):(\d\d):(\d\d(?:\.\d+)?)(?:Z|([+-])(\d\d):?(\d\d))?",
    re.IGNORECASE,
)


def parse_omm(text: str, *, source: str = "OMM") -> list[ElementSet]:
    """Parse the text of a file of OMMs in any format (see `traces.orbits.omm_records`).

    Invalid records among valid ones are skipped.

    Args:
        text: the file's text.
        source: the file's name in error messages.

    Raises:
        TleError: No record is valid; the message names the first one and what was expected.

    Warns:
        ElementFileWarning: Records or lines were skipped; the message counts them.
    """
    skipped = SkippedLines(source)
    sets = []
    for where, record in omm_records(text, skipped):
        try:
            sets.append(_element_set(where, record))
        except TleError as fault:
            skipped.fault(fault)
    if not sets:
        raise skipped.first_fault or TleError(f"{source}: expected element sets; found none")
    skipped.warn()
    return sets


def _element_set(where: str, record: Any) -> ElementSet:
    if not isinstance(record, dict):
        raise TleError(
            f"{where}: expected an object with OBJECT_NAME, EPOCH, ...; found {str(record)[:40]!r}"
        )
    if "MEAN_MOTION" not in record and (lines := _tle_lines(record)) is not None:
        return _set_of_lines(where, record, lines)
    for key, supported in _SUPPORTED.items():
        value = record.get(key)
        if value is not None and catalogue_text(value).upper() not in ("", *supported):
            raise TleError(f"{where}: expected {key} {supported[0]}; found {str(value)[:40]!r}")
    numbers = {key: _number(where, record, key, *bounds) for key, bounds in _RANGES.items()}
    epoch_utc = _epoch(where, record)
    catalogue_number = catalogue_text(record.get("NORAD_CAT_ID"))
    name = str(record.get("OBJECT_NAME") or catalogue_number).strip() or catalogue_number
    for key, text in (("OBJECT_NAME", name), ("NORAD_CAT_ID", catalogue_number or "0")):
        if not text or not text.isprintable():
            raise TleError(f"{where}: expected {key}, one line of text; found {str(record.get(key))[:40]!r}")
    fields = {
        "OBJECT_NAME": name,
        "NORAD_CAT_ID": catalogue_number,
        "EPOCH": format_utc(epoch_utc),
        **numbers,
    }
    return ElementSet(name, "", "", epoch_utc, json.dumps(fields))


def _tle_lines(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return the name and the two lines of a TLE inside of a record."""
    for name_key, *line_keys in _TLE_KEYS:
        lines = [record.get(key) for key in line_keys]
        if all(isinstance(line, str) for line in lines):
            name = record.get(name_key) or record.get("OBJECT_NAME") or record.get("NAME") or ""
            return str(name), str(lines[0]), str(lines[1])
    rows = str(record.get("TLE", "")).split("\n")
    return (str(record.get("NAME") or ""), rows[-2], rows[-1]) if len(rows) in (2, 3) else None


def _set_of_lines(where: str, record: Mapping[str, Any], lines: tuple[str, str, str]) -> ElementSet:
    (elements,) = parse_tle("\n".join(lines[1:]), source=where)
    name = " ".join(lines[0].removeprefix("0 ").split())
    if not name.isprintable():
        raise TleError(f"{where}: expected a name, one line of text; found {name[:40]!r}")
    return replace(elements, name=name or elements.name)


def _epoch(where: str, record: Mapping[str, Any]) -> datetime:
    """Return the epoch: ISO 8601 with a date or a day of year; UTC unless it has an offset."""
    text = str(record.get("EPOCH")).strip()
    microseconds = str(record.get("EPOCH_MICROSECONDS") or "")  # of Space-Track's class `tle`
    if microseconds.isascii() and microseconds.isdigit() and "." not in text:
        text = f"{text}.{int(microseconds):06d}"
    epoch_utc = None
    if (match := _EPOCH.fullmatch(text)) is not None:
        try:
            epoch_utc = _moment(match)
        except (ValueError, OverflowError):
            epoch_utc = None
    if epoch_utc is None or not 1957 <= epoch_utc.year <= 2099:
        raise TleError(f"{where}: expected EPOCH like 2018-01-20T00:00:00.000000; found {text[:40]!r}")
    return epoch_utc


def _moment(match: re.Match[str]) -> datetime:
    year, month, day, day_of_year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    begin = datetime(int(year), int(month or 1), int(day or 1), int(hour), int(minute), tzinfo=timezone.utc)
    if day_of_year is not None:
        begin += timedelta(days=int(day_of_year) - 1)
        if not (int(day_of_year) and begin.year == int(year)):
            raise ValueError(f"the year {year} has no day {day_of_year}")
    if float(second) >= 61:  # 60 is a leap second
        raise ValueError(f"no second {second}")
    offset = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    seconds, _, digits = second.partition(".")
    fraction = timedelta(microseconds=round(int(digits or 0) * 10 ** (6 - len(digits))) if digits else 0)
    return begin + timedelta(seconds=int(seconds)) + fraction - (-offset if sign == "-" else offset)


def _number(where: str, record: Mapping[str, Any], key: str, least: float, greatest: float) -> float:
    if key not in record:
        raise TleError(f"{where}: expected {key}, {least:g} to {greatest:g}; it is missing")
    field = record[key]
    try:
        value = math.nan if isinstance(field, bool) or "_" in str(field) else float(field)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not least <= value <= greatest:
        raise TleError(f"{where}: expected {key}, {least:g} to {greatest:g}; found {str(field)[:40]!r}")
    return value
