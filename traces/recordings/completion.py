"""The conversion of a recording to a trace.

`complete` adds the user's assumptions, records each of them in the trace's notes, and raises an error that
names the option if a value is missing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError
from traces.recordings.gaps import with_gaps_treated
from traces.recordings.joining import with_delays_of, with_orbit_delays
from traces.recordings.plausibility import doubts
from traces.recordings.recording import (
    DELAYS,
    EPOCH,
    LOSSES,
    RATES,
    Assumptions,
    Bools,
    Floats,
    Orbit,
    Recording,
)
from traces.recordings.repetition import repeated
from traces.recordings.rows import each_column, filled
from traces.trace import VALUES, Trace, TraceHeader, is_constant

_OPTION = {
    "down_bit_s": "--rate RATE (such as 20M)",
    "up_bit_s": "--up-rate RATE (such as 2M)",
    "down_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-from FILE",
    "up_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-from FILE",
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
        known_start_utc = assumptions.start_utc or recording.start_utc
        joined = _with_delays(replace(recording, start_utc=known_start_utc, notes=notes), assumptions)
        notes = joined.notes
        columns = _columns(joined, assumptions, notes)
        notes += doubts(replace(joined, values=columns))
        down, up = _connected(joined, columns, notes)
        whole = replace(joined, values=columns, downlink_up=down, uplink_up=up, start_utc=start_utc)
        trace = _trace(with_gaps_treated(whole, assumptions.gaps), assumptions, start_utc)
        return trace if assumptions.loop_s is None else repeated(trace, assumptions.loop_s)
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
            up = trace.downlink_up if name.startswith("down") else trace.uplink_up
            columns[name] = np.where(up, value, getattr(trace, name))
    if assumptions.start_utc:
        notes.append("start_utc was given")
    header = replace(
        header,
        start_utc=assumptions.start_utc or header.start_utc,
        satellite=_one_line(assumptions.satellite or header.satellite),
        station=_one_line(assumptions.station or header.station),
        notes=tuple(notes),
    )
    if header != trace.header or columns:
        trace = replace(trace, header=header, **columns)
    return trace if assumptions.loop_s is None else repeated(trace, assumptions.loop_s)


def _trace(recording: Recording, assumptions: Assumptions, start_utc: datetime) -> Trace:
    """Return the trace of a recording that lacks nothing but, perhaps, its start."""
    down, up = recording.ups()
    columns = _silenced(recording.values, down, up)
    kept = _changes([down, up, *columns.values()])
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
        downlink_up=(kept_down := _picked(down, kept, rows)),
        uplink_up=kept_down if up is down else _picked(up, kept, rows),
        end_s=recording.end_s,
        **shown,
    )


def _with_delays(recording: Recording, assumptions: Assumptions) -> Recording:
    """Return the recording with delays of another recording or of an orbit, where none were recorded."""
    missing = [
        name
        for name in DELAYS
        if getattr(assumptions, name) is None
        and not np.isfinite(recording.values.get(name, np.array(np.nan))).any()
    ]
    if assumptions.delays is not None:
        _check_use("--delay-from", missing, "the recording or the other options have delays both ways")
        recording = with_delays_of(recording, assumptions.delays, missing)
        missing = []
    if assumptions.elements is not None:
        _check_use("--tle", missing, "delays were recorded or given")
        if assumptions.delay_s is not None:
            raise TraceError("--delay has no effect with --tle, from which the delay is computed")
        if assumptions.place is not None:
            recording = replace(recording, orbits=(Orbit(0.0, assumptions.elements, assumptions.place),))
    elif assumptions.place is not None:
        recording = replace(
            recording, orbits=tuple(replace(orbit, place=assumptions.place) for orbit in recording.orbits)
        )
    if missing and recording.orbits and assumptions.delay_s is None:
        return with_orbit_delays(recording, missing)
    return recording


def _columns(recording: Recording, assumptions: Assumptions, notes: list[str]) -> dict[str, Floats]:
    """Return the columns of all VALUES, without NaN."""
    columns = _recorded_or_given(recording, assumptions, notes)
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
        elif recorded is not None and (whole := filled(name, recorded, notes)) is not None:
            columns[name] = whole
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
            usual = f"{name} was not recorded; it is taken to be that of the other direction"
            notes.append(recording.substitute_notes.get(name, usual))
        elif name in LOSSES:
            columns[name] = np.broadcast_to(0.0, rows)
            notes.append(f"{name} was not recorded; 0 is assumed")
        else:
            article = "an" if recording.form[0] in "aeiou" else "a"
            raise TraceError(f"{article} {recording.form} recording without {name}; add {_OPTION[name]}")


def _check_use(option: str, missing: list[str], reason: str) -> None:
    """Raise TraceError if an option that fills missing values finds none."""
    if not missing:
        raise TraceError(f"{option} has no effect: {reason}")


def _connected(recording: Recording, columns: dict[str, Floats], notes: list[str]) -> tuple[Bools, Bools]:
    """Return which rows of the downlink and the uplink are up: no outage is known, and the rate is not 0."""
    down, up = recording.ups()
    flags: list[Bools] = []
    for direction, flag, name in (("downlink", down, "down_bit_s"), ("uplink", up, "up_bit_s")):
        rate_bit_s = columns[name]
        if (rate_bit_s[:1] if is_constant(rate_bit_s) else rate_bit_s).min() > 0:
            flags.append(flag)
            continue
        flowing = flag & (rate_bit_s > 0)
        if flowing.all():
            flowing = np.broadcast_to(True, len(flag))
        if stopped := int((flag & ~flowing).sum()):
            notes.append(f"the {direction} is down in {stopped} rows with a rate of 0")
        flags.append(flowing)
    alike = flags[0] is flags[1] or np.array_equal(flags[0], flags[1])
    return flags[0], flags[0] if alike else flags[1]


def _silenced(columns: dict[str, Floats], down: Bools, up: Bools) -> dict[str, Floats]:
    """Return the columns with 0 while their direction is down; one array for both directions stays one."""
    changed: dict[tuple[int, int], Floats] = {}
    names: dict[str, tuple[int, int]] = {}
    for name, column in columns.items():
        flag = down if name.startswith("down") else up
        key = names[name] = id(column), id(flag)
        if key not in changed:
            changed[key] = column if flag.all() else np.where(flag, column, 0.0)
    return {name: changed[key] for name, key in names.items()}


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
