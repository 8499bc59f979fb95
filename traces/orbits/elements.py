"""Element sets of every origin: files of TLE, 3LE or OMM in any format, and skyfield's EarthSatellite."""

from __future__ import annotations

import codecs
import difflib
import json
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from sgp4.conveniences import sat_epoch_datetime
from skyfield.api import EarthSatellite

from traces.errors import ElementFileWarning, TleError, UnknownSatelliteError
from traces.orbits.catalogue_number import catalogue_number_of
from traces.orbits.element_set import ElementSet, fields_of_model
from traces.orbits.omm import parse_omm
from traces.orbits.omm_records import is_omm
from traces.orbits.tle import parse_tle
from traces.utc import format_utc

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
        return parse_elements(content.decode(encoding), str(path))
    except UnicodeDecodeError as fault:
        wrong_byte = TleError(f"{path}: expected UTF-8 text; found another byte at {fault.start}")
    try:  # one foreign letter in a name is no reason to refuse thousands of element sets
        return parse_elements(content.decode("latin-1"), str(path))
    except TleError:
        raise wrong_byte from None


def parse_elements(text: str, source: str) -> list[ElementSet]:
    """Return the element sets in a text, as `read_elements` those in a file."""
    return (parse_omm if is_omm(text) else parse_tle)(text, source=source)


def element_set_of(satellite: Satellite) -> ElementSet:
    """Return a satellite's element set; the epoch of skyfield's EarthSatellite is rounded to 1 us."""
    if isinstance(satellite, ElementSet):
        return satellite
    model = satellite.model
    name = satellite.name or f"catalogue number {model.satnum_str.strip()}"
    fields = {"OBJECT_NAME": name, **fields_of_model(model)}
    return ElementSet(name, "", "", sat_epoch_datetime(model), json.dumps(fields))


def find_satellite(
    element_sets: Sequence[ElementSet], wanted: str, *, at_utc: datetime | None = None
) -> ElementSet:
    """Return the element set with a name (in any case) or catalogue number.

    Catalogue numbers are compared as numbers: 5 finds 00005, and 270000 finds T0000. Of several element sets
    of one satellite (a history), the one with the epoch nearest to `at_utc` is returned.

    Args:
        element_sets: the element sets, as `read_elements` returns them.
        wanted: name or catalogue number.
        at_utc: the time for which the elements are needed; None for the newest ones.

    Raises:
        UnknownSatelliteError: There is none, or several satellites have that name; the message suggests
            similar names.

    Warns:
        ElementFileWarning: There are several element sets; the message tells which one is used.
    """
    key, number = _key(wanted), catalogue_number_of(wanted)
    matches = [known for known in element_sets if key == _key(known.name)]
    if number is not None:
        others = [known for known in element_sets if key != _key(known.name)]
        matches += [known for known in others if catalogue_number_of(known.catalogue_number) == number]
    matches = _without_duplicates(matches)
    if not matches:
        raise UnknownSatelliteError(_unknown(element_sets, wanted))
    if not _are_one_satellite(matches):
        choices = {match.catalogue_number: None for match in matches if match.catalogue_number}
        names = {match.name: None for match in matches}
        use = (
            f"a catalogue number: {', '.join(choices)}" if len(names) == 1 else f"a name: {', '.join(names)}"
        )
        raise UnknownSatelliteError(f"{len(matches)} satellites are called {wanted!r}; use {use}")
    chosen = _nearest(matches, at_utc)
    if len(matches) > 1:
        warnings.warn(
            f"{len(matches)} element sets of {chosen.name}: used the one of {format_utc(chosen.epoch_utc)},"
            f" {_why(at_utc)}",
            ElementFileWarning,
            stacklevel=2,
        )
    return chosen


def one_set_each(element_sets: Sequence[ElementSet], *, at_utc: datetime | None = None) -> list[ElementSet]:
    """Return one element set of each satellite, in the order of their first ones.

    Element sets of one name and one catalogue number are those of one satellite. Of several, the one with the
    epoch nearest to `at_utc` is kept, or the newest if it is None.

    Warns:
        ElementFileWarning: There are several element sets of a satellite; the message counts such satellites.
    """
    histories: dict[object, list[ElementSet]] = {}
    for index, known in enumerate(element_sets):
        number = catalogue_number_of(known.catalogue_number)
        histories.setdefault((number, _key(known.name)) if number else index, []).append(known)
    kept = [_without_duplicates(history) for history in histories.values()]
    several = [history[0].name for history in kept if len(history) > 1]
    if several:
        whose = several[0] if len(several) == 1 else f"{len(several)} satellites (the first: {several[0]})"
        warnings.warn(
            f"several element sets of {whose}: used the one {_why(at_utc)}", ElementFileWarning, stacklevel=2
        )
    return [_nearest(history, at_utc) for history in kept]


def _without_duplicates(element_sets: Sequence[ElementSet]) -> list[ElementSet]:
    return list({(known.name, known.text_lines()): known for known in element_sets}.values())


def _are_one_satellite(matches: Sequence[ElementSet]) -> bool:
    """Tell whether element sets belong to one satellite; names change, but not at one epoch."""
    if len(matches) == 1:
        return True
    numbers = {catalogue_number_of(match.catalogue_number) for match in matches}
    names_by_epoch: dict[datetime, set[str]] = {}
    for match in matches:
        names_by_epoch.setdefault(match.epoch_utc, set()).add(_key(match.name))
    return len(numbers) == 1 and bool(numbers - {None, 0}) and max(map(len, names_by_epoch.values())) == 1


def _nearest(history: Sequence[ElementSet], at_utc: datetime | None) -> ElementSet:
    """Return the element set for a time; of several with one epoch the last, which corrects the others."""
    if at_utc is None:
        return max(reversed(history), key=lambda known: known.epoch_utc)
    return min(reversed(history), key=lambda known: abs(known.epoch_utc - at_utc))


def _why(at_utc: datetime | None) -> str:
    return "the newest" if at_utc is None else f"with the epoch nearest to {format_utc(at_utc)}"


def _unknown(element_sets: Sequence[ElementSet], wanted: str) -> str:
    names = {_key(known.name): known.name for known in element_sets}
    close = [names[near] for near in difflib.get_close_matches(_key(wanted), names, n=3, cutoff=0.5)]
    hint = f"did you mean {', '.join(close)}?" if close else f"the first is {element_sets[0].name}"
    return f"no satellite {wanted!r} among {len(element_sets)} element sets; {hint}"


def _key(name: str) -> str:
    return " ".join(name.upper().split())
