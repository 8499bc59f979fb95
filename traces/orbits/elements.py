"""Element sets from whatever holds them: files of TLE, 3LE or OMM (JSON), skyfield's EarthSatellite."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from sgp4.conveniences import sat_epoch_datetime
from skyfield.api import EarthSatellite

from traces.errors import TleError, UnknownSatelliteError
from traces.orbits.element_set import ElementSet, fields_of_model
from traces.orbits.omm import parse_omm
from traces.orbits.tle import parse_tle

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
