"""Element sets of every origin: files of TLE, 3LE or OMM in any format, and skyfield's EarthSatellite."""

from __future__ import annotations

import codecs
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from sgp4.conveniences import sat_epoch_datetime
from skyfield.api import EarthSatellite

from traces.errors import TleError, UnknownSatelliteError
from traces.orbits.catalogue_number import catalogue_number_of
from traces.orbits.element_set import ElementSet, fields_of_model
from traces.orbits.omm import parse_omm
from traces.orbits.omm_records import is_omm
from traces.orbits.tle import parse_tle

Satellite: TypeAlias = ElementSet | EarthSatellite
"""A satellite, as functions of this package accept it."""


def read_elements(path: str | Path) -> list[ElementSet]:
    """Read a file of element sets; TLE, 3LE and OMM (JSON, CSV, XML, KVN) are recognized by their content.

    Raises:
        TleError: The file cannot be read, or no element set in it is valid; the message names the line or
            record and what was expected.

    Warns:
        ElementFileWarning: Lines or invalid element sets were skipped; the message counts them.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise TleError(f"cannot read element sets {path}: {fault.strerror or fault}") from fault
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return _parsed(content.decode(encoding), str(path))
    except UnicodeDecodeError as fault:
        wrong_byte = TleError(f"{path}: expected UTF-8 text; found another byte at {fault.start}")
    try:  # one foreign letter in a name is no reason to refuse thousands of element sets
        return _parsed(content.decode("latin-1"), str(path))
    except TleError:
        raise wrong_byte from None


def _parsed(text: str, source: str) -> list[ElementSet]:
    return (parse_omm if is_omm(text) else parse_tle)(text, source=source)


def element_set_of(satellite: Satellite) -> ElementSet:
    """Return a satellite's element set; the epoch of skyfield's EarthSatellite is rounded to 1 us."""
    if isinstance(satellite, ElementSet):
        return satellite
    model = satellite.model
    name = satellite.name or f"catalogue number {model.satnum_str.strip()}"
    fields = {"OBJECT_NAME": name, **fields_of_model(model)}
    return ElementSet(name, "", "", sat_epoch_datetime(model), json.dumps(fields))


def find_satellite(element_sets: Sequence[ElementSet], wanted: str) -> ElementSet:
    """Return the element set with a name (in any case) or catalogue number.

    Catalogue numbers are compared as numbers: 5 finds 00005, and 270000 finds T0000.

    Args:
        element_sets: the element sets, as `read_elements` returns them.
        wanted: name or catalogue number.

    Raises:
        UnknownSatelliteError: There is none, or several of that name; the message suggests similar names.
    """
    key = _key(wanted)
    number = catalogue_number_of(wanted)
    matches = [known for known in element_sets if key == _key(known.name)]
    if number is not None:
        others = [known for known in element_sets if key != _key(known.name)]
        matches += [known for known in others if catalogue_number_of(known.catalogue_number) == number]
    if len(matches) == 1:
        return matches[0]
    if matches:
        numbers = ", ".join(match.catalogue_number for match in matches)
        raise UnknownSatelliteError(
            f"{len(matches)} satellites are called {wanted!r}; use a catalogue number: {numbers}"
        )
    names = {_key(known.name): known.name for known in element_sets}
    close = [names[near] for near in difflib.get_close_matches(key, names, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(close)}?" if close else f"the first is {element_sets[0].name}"
    raise UnknownSatelliteError(f"no satellite {wanted!r} among {len(element_sets)} element sets; {hint}")


def _key(name: str) -> str:
    return " ".join(name.upper().split())
