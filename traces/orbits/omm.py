"""Orbit Mean-Elements Messages (OMM) in JSON: parsed and checked.

Keys and units follow CCSDS 502.0-B-3, section 4, as written by CelesTrak (`FORMAT=json`) and Space-Track:
revolutions per day, degrees, UTC. Unlike a TLE, an OMM has room for catalogue numbers of nine digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from traces.errors import TimeError, TleError
from traces.orbits.element_set import ElementSet
from traces.utc import format_utc, parse_utc

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
_SUPPORTED = {
    "CENTER_NAME": "EARTH",
    "REF_FRAME": "TEME",
    "TIME_SYSTEM": "UTC",
    "MEAN_ELEMENT_THEORY": "SGP4",
}


def parse_omm(text: str, *, source: str = "OMM") -> list[ElementSet]:
    """Parse the text of a file of OMMs: one JSON object, or an array of them.

    Args:
        text: the file's text.
        source: the file's name in error messages.

    Raises:
        TleError: A record is invalid; the message names it (from 1) and what was expected.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as fault:
        where = f", line {fault.lineno}" if isinstance(fault, json.JSONDecodeError) else ""
        raise TleError(f"{source}{where}: expected JSON; {str(fault).splitlines()[0]}") from None
    records = document if isinstance(document, list) else [document]
    if not records:
        raise TleError(f"{source}: expected element sets; found none")
    return [
        _element_set(f"{source}, record {number}", record) for number, record in enumerate(records, start=1)
    ]


def _element_set(where: str, record: Any) -> ElementSet:
    if not isinstance(record, dict):
        raise TleError(
            f"{where}: expected an object with OBJECT_NAME, EPOCH, ...; found {str(record)[:40]!r}"
        )
    for key, supported in _SUPPORTED.items():
        if str(record.get(key, supported)).strip().upper() != supported:
            raise TleError(f"{where}: expected {key} {supported}; found {str(record[key])[:40]!r}")
    numbers = {key: _number(where, record, key, *bounds) for key, bounds in _RANGES.items()}
    epoch_utc = _epoch(where, record.get("EPOCH"))
    catalogue_number = str(record.get("NORAD_CAT_ID", "")).strip()
    name = str(record.get("OBJECT_NAME") or catalogue_number).strip()
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


def _epoch(where: str, text: Any) -> datetime:
    zoned = str(text) if str(text).endswith(("Z", "z")) else f"{text}Z"  # its zone is TIME_SYSTEM
    try:
        epoch_utc = parse_utc(zoned)
    except TimeError:
        epoch_utc = None
    if epoch_utc is None or not 1957 <= epoch_utc.year <= 2099:
        raise TleError(f"{where}: expected EPOCH like 2018-01-20T00:00:00.000000; found {str(text)[:40]!r}")
    return epoch_utc


def _number(where: str, record: Mapping[str, Any], key: str, least: float, greatest: float) -> float:
    field = record.get(key)
    try:
        value = math.nan if isinstance(field, bool) or "_" in str(field) else float(field)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not least <= value <= greatest:
        raise TleError(f"{where}: expected {key}, {least:g} to {greatest:g}; found {str(field)[:40]!r}")
    return value
