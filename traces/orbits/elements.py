"""Element sets from whatever holds them: files of TLE, 3LE or OMM (JSON), skyfield's EarthSatellite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from sgp4.conveniences import sat_epoch_datetime
from skyfield.api import EarthSatellite

from traces.errors import TleError
from traces.orbits.omm import fields_of_model, parse_omm
from traces.orbits.tle import ElementSet, parse_tle

Satellite: TypeAlias = ElementSet | EarthSatellite
"""What functions of this package take for a satellite."""


def read_elements(path: str | Path) -> list[ElementSet]:
    """Read a file of element sets: TLE, 3LE, or OMM in JSON; the content tells which.

    Raises:
        TleError: names file, line or record, and what was expected.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise TleError(f"cannot read element sets {path}: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise TleError(f"{path}: expected UTF-8 text, found another byte at {fault.start}") from None
    parse = parse_omm if text.lstrip()[:1] in ("[", "{") else parse_tle
    return parse(text, source=str(path))


def element_set_of(satellite: Satellite) -> ElementSet:
    """Return the element set of a satellite; that of skyfield's EarthSatellite has its epoch to 1 us."""
    if isinstance(satellite, ElementSet):
        return satellite
    model = satellite.model
    name = satellite.name or f"catalogue number {model.satnum_str.strip()}"
    fields = {"OBJECT_NAME": name, **fields_of_model(model)}
    return ElementSet(name, "", "", sat_epoch_datetime(model), json.dumps(fields))


def element_sets_of(satellites: Sequence[Satellite]) -> list[ElementSet]:
    """Return the element set of each satellite."""
    return [element_set_of(satellite) for satellite in satellites]
