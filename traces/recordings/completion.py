"""The conversion of a recording to a trace.

`complete` adds the user's assumptions, records each of them in the trace's notes, and raises an error that
names the option if a value is missing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError
from traces.recordings.gaps import with_gaps_treated
from traces.recordings.recording import (
    DELAYS,
    EPOCH,
    LOSSES,
    RATES,
    VALUES,
    Assumptions,
    Bools,
    Floats,
    Recording,
)
from traces.recordings.rows import each_column
from traces.trace import Trace, TraceHeader, is_constant

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

_OPTION = {
    "down_bit_s": "--rate RATE (such as 20M)",
    "up_bit_s": "--up-rate RATE (such as 2M)",
    "down_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-file FILE",
    "up_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-file FILE",
}


def complete(recording: Recording, assumptions: Assumptions) -> Trace:
    """Return the trace that a recording and the assumptions about it give.

    Raises:
        TraceError: A value is missing; the message names the option that provides it.
    """
    notes = list(recording.notes)
    start_utc = assumptions.start_utc or recording.start_utc
    if start_utc is None:
        start_utc = EPOCH
        notes.append("the recording has no start time: second 0 is set to 1970-01-01T00:00:00Z")
    elif assumptions.start_utc:
        notes.append("start_utc was given")
    try:
        columns = _columns(recording, assumptions, start_utc, notes)
        up = _connected(recording, columns, notes)
        whole = replace(recording, values=columns, up=up, start_utc=start_utc, notes=notes)
        return _trace(with_gaps_treated(whole, assumptions.gaps), assumptions, start_utc)
    except TraceError as fault:
        text = str(fault)
        raise TraceError(text if text.startswith(recording.name) else f"{recording.name}: {text}") from None


def changed(trace: Trace, assumptions: Assumptions) -> Trace:
    """Return a trace with the given start, names and values of single directions; the others are refused.

    Raises:
        TraceError: A value is impossible in a trace.
    """
    header, notes = trace.header, list(trace.header.notes)
    columns: dict[str, Any] = {}
    for name in VALUES:
        value = getattr(assumptions, name)
        if value is not None:
            notes.append(f"{name} {value:g} was given instead of the trace's values")
            columns[name] = np.where(trace.up, value, getattr(trace, name))
    if assumptions.start_utc:
        notes.append("start_utc was given")
    header = replace(
        header,
        start_utc=assumptions.start_utc or header.start_utc,
        satellite=_one_line(assumptions.satellite or header.satellite),
        station=_one_line(assumptions.station or header.station),
        notes=tuple(notes),
    )
    return trace if header == trace.header and not columns else replace(trace, header=header, **columns)


def _trace(recording: Recording, assumptions: Assumptions, start_utc: datetime) -> Trace:
    """Return the trace of a recording that lacks nothing but, perhaps, its start."""
    columns, up = recording.values, recording.up
    if up is None or up.all():
        up = np.broadcast_to(True, len(recording.time_s))
    else:
        columns = each_column(columns, lambda column: np.where(up, column, 0.0))
    kept = _changes([up, *columns.values()])
    rows = len(recording.time_s) if isinstance(kept, slice) else int(kept.sum())
    shown: dict[str, Any] = each_column(columns, lambda column: _picked(column, kept, rows))
    return Trace(
        header=TraceHeader(
            satellite=_one_line(assumptions.satellite or recording.satellite or "satellite"),
            station=_one_line(assumptions.station or recording.station or "ground"),
            start_utc=recording.start_utc or start_utc,
            made_by=_one_line(f"{recording.form} recording {recording.name.rsplit('/', 1)[-1]}"),
            notes=tuple(map(_one_line, recording.notes)),
        ),
        time_s=_picked(recording.time_s, kept, rows),
        up=_picked(up, kept, rows),
        end_s=recording.end_s,
        **shown,
    )


def _columns(
    recording: Recording, assumptions: Assumptions, start_utc: datetime, notes: list[str]
) -> dict[str, Floats]:
    """Return the columns of all VALUES, without NaN."""
    columns = _recorded_or_given(recording, assumptions, notes)
    missing = [name for name in DELAYS if name not in columns]
    if assumptions.delays is not None:
        _check_use("--delay-file", missing, "the recording has delays in both directions")
        delays = _delays_of(assumptions.delays, recording, start_utc, notes)
        columns |= {name: delays[name] for name in missing}
        missing = []
    elements, place = assumptions.elements or recording.elements, assumptions.place or recording.place
    if assumptions.elements is not None:
        _check_use("--tle", missing, "delays were recorded or given")
    if missing and elements is not None and place is not None and assumptions.delay_s is None:
        delay_s = orbit_delay_s(elements, place, start_utc, recording.time_s)
        notes.append(f"delay computed from the orbit of {elements.name} over {place.name}")
        columns |= dict.fromkeys(missing, delay_s)
    _fill(columns, recording, assumptions, notes)
    return {name: columns[name] for name in VALUES}


def _recorded_or_given(recording: Recording, assumptions: Assumptions, notes: list[str]) -> dict[str, Floats]:
    """Return the columns that were recorded, or given for their direction."""
    columns: dict[str, Floats] = {}
    for name in VALUES:
        value = getattr(assumptions, name)
        recorded = recording.values.get(name)
        if value is not None:
            known = recorded is not None and np.isfinite(recorded).any()
            notes.append(f"{name} {value:g} was given{' instead of the recorded values' if known else ''}")
            columns[name] = np.broadcast_to(value, len(recording.time_s))
        elif recorded is not None and (filled := _filled(name, recorded, notes)) is not None:
            columns[name] = filled
    return columns


def _fill(
    columns: dict[str, Floats], recording: Recording, assumptions: Assumptions, notes: list[str]
) -> None:
    """Fill the missing columns with the values for both directions, or with substitutes."""
    rows = len(recording.time_s)
    for option, value, names in (
        ("rate", assumptions.rate_bit_s, RATES),
        ("delay", assumptions.delay_s, DELAYS),
        ("loss", assumptions.loss, LOSSES),
    ):
        missing = [name for name in names if name not in columns]
        if value is not None:
            known = f"the recording and the other options have the {option} of both directions"
            advice = f"; to replace a recorded {option}, use --down-{option} and --up-{option}"
            _check_use(f"--{option}", missing, known + advice)
            notes += [f"{name} {value:g} was given" for name in missing]
            columns |= dict.fromkeys(missing, np.broadcast_to(value, rows))
    for name in VALUES:
        if name in columns:
            continue
        if name in recording.substitutes:
            columns[name] = recording.substitutes[name]
            notes.append(f"{name} was not recorded; it is taken to be that of the other direction")
        elif name in LOSSES:
            columns[name] = np.broadcast_to(0.0, rows)
            notes.append(f"{name} was not recorded; 0 is assumed")
        else:
            raise TraceError(f"a {recording.form} recording without {name}; add {_OPTION[name]}")


def _check_use(option: str, missing: list[str], reason: str) -> None:
    """Raise TraceError if an option that fills missing values finds none."""
    if not missing:
        raise TraceError(f"{option} has no effect: {reason}")


def _filled(name: str, column: Floats, notes: list[str]) -> Floats | None:
    """Replace each NaN by the value before it (at the beginning: after it); None if all are NaN."""
    known = np.isfinite(column)
    if known.all():
        return column
    if not known.any():
        return None
    last = np.maximum.accumulate(np.where(known, np.arange(len(column)), -1))
    notes.append(f"{name}: {int((~known).sum())} of {len(column)} rows hold the value measured before them")
    return np.asarray(column[np.where(last < 0, np.argmax(known), last)])


def _delays_of(
    delays: Trace, recording: Recording, start_utc: datetime, notes: list[str]
) -> dict[str, Floats]:
    """Return the delays of another trace, at the same UTC if both have it, else at the same second."""
    shift_s = (start_utc - delays.header.start_utc).total_seconds()
    known = recording.start_utc is not None and delays.header.start_utc != EPOCH
    if known and not -recording.end_s < shift_s < delays.end_s:
        raise TraceError(f"the recording of the delays covers another time, which is {-shift_s:g} s away")
    shift_s = shift_s if known else 0.0
    rows = np.searchsorted(delays.time_s, recording.time_s + shift_s, side="right") - 1
    rows = np.clip(rows, 0, len(delays) - 1)
    how = "at the same UTC" if known else "at the same second from the start of both"
    notes.append(f"delays are from {delays.header.made_by}, {how}")
    return {name: getattr(delays, name)[rows] for name in DELAYS}


def orbit_delay_s(elements: ElementSet, place: GroundStation, start_utc: datetime, time_s: Floats) -> Floats:
    """Return the one-way delay in vacuum at `start_utc` + `time_s`, in seconds."""
    from traces.orbits.orbit import look_angles  # slow to import
    from traces.radio.link_budget import one_way_delay_s

    look = look_angles(elements, place, start_utc, time_s)
    delay_s: Floats = np.round(one_way_delay_s(look.slant_range_m), 9)
    return delay_s


def _connected(recording: Recording, columns: dict[str, Floats], notes: list[str]) -> Bools:
    up = np.broadcast_to(True, len(recording.time_s)) if recording.up is None else recording.up
    rates = {id(columns[name]): columns[name] for name in RATES}.values()
    if all((column[:1] if is_constant(column) else column).min() > 0 for column in rates):
        return up
    flowing = np.logical_and(*(columns[name] > 0 for name in RATES))
    if (up & ~flowing).any():
        notes.append(f"{int((up & ~flowing).sum())} rows with a rate of 0 in one direction: the link is down")
    return up & flowing


def _changes(columns: list[npt.NDArray[Any]]) -> Bools | slice:
    """Tell which rows differ from the one before; the others are not needed in a trace."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[0] = True
    for column in {id(column): column for column in columns}.values():
        if not is_constant(column):
            changed[1:] |= column[1:] != column[:-1]
        if changed.all():
            return slice(None)  # gives views, so that a long recording is not copied
    return changed


def _picked(column: npt.NDArray[Any], kept: Bools | slice, rows: int) -> npt.NDArray[Any]:
    """Return the kept rows as a read-only array, so that the trace does not copy it again."""
    picked = np.broadcast_to(column[:1], rows) if is_constant(column) else column[kept]
    below: Any = picked
    while isinstance(below, np.ndarray):
        below.setflags(write=False)
        below = below.base
    return picked


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text).strip() or "?"
