"""Recordings, assumptions about what they lack, and their conversion to a trace.

A recording rarely describes a whole link: a ping log has no rate, a capacity trace has no delay, and a list
of contacts has neither. A reader returns only what was recorded. `complete` adds the user's assumptions,
records each of them in the trace's notes, and raises an error that names the option if a value is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from traces.errors import TraceError
from traces.trace import Trace, TraceHeader, is_constant

if TYPE_CHECKING:
    from traces.orbits.element_set import ElementSet
    from traces.orbits.stations import GroundStation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

RATES = ("down_bit_s", "up_bit_s")
DELAYS = ("down_delay_s", "up_delay_s")
LOSSES = ("down_loss", "up_loss")
VALUES = (*RATES, *DELAYS, *LOSSES)

SATURATED = (
    "the capacity was recorded with a saturating flow,"
    " which is optimistic for short messages (CellReplay, NSDI'25)"
)
_OPTION = {
    "down_bit_s": "--rate RATE (such as 20M)",
    "up_bit_s": "--up-rate RATE (such as 2M)",
    "down_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-file FILE",
    "up_delay_s": "--delay DURATION (one-way, such as 12ms) or --delay-file FILE",
}
_MOST_S = 1e10
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Assumptions:
    """Values that complete or override a recording; None keeps the recorded value.

    Args:
        down_bit_s: rate from satellite to ground (download).
        up_bit_s: rate from ground to satellite (upload).
        down_delay_s: one-way delay from satellite to ground.
        up_delay_s: one-way delay from ground to satellite.
        loss: probability that a packet is lost, for both directions.
        delays: a trace whose delays are used, at the same UTC if the start of both is known.
        start_utc: time of the recording's beginning.
        zone: time zone of times without one.
        satellite: name of the satellite; also chooses among several pairs.
        station: name of the station; also chooses among several pairs.
        gaps: state of the link where nothing was measured: the last value ("hold"), no link ("down"), or the
            gap is cut out ("close").
        bin_s: interval over which delivery opportunities are counted.
        outage_s: time without a delivery opportunity from which on the link is down, not slow.
        loss_window_s: interval over which lost probes are counted.
        elements: an orbit from which, with `place`, the delay is computed.
        place: the ground station for `elements`.
        range_delay: use the ranges of an ION plan, in whole light-seconds, as delays.
        columns: columns of a CSV file, declared as described in `traces.recordings.columns`.
        separator: separator of a CSV file.
        missing: numbers that stand for a missing value in a CSV file.
    """

    down_bit_s: float | None = None
    up_bit_s: float | None = None
    down_delay_s: float | None = None
    up_delay_s: float | None = None
    loss: float | None = None
    delays: Trace | None = None
    start_utc: datetime | None = None
    zone: timezone | None = None
    satellite: str | None = None
    station: str | None = None
    gaps: str = "hold"
    bin_s: float = 0.1
    outage_s: float = 1.0
    loss_window_s: float = 1.0
    elements: ElementSet | None = None
    place: GroundStation | None = None
    range_delay: bool = False
    columns: str | None = None
    separator: str = ","
    missing: tuple[float, ...] = ()


@dataclass
class Recording:
    """The content of a recording's file.

    Args:
        form: name of the format.
        name: name of the file, for messages.
        time_s: float64[n], strictly increasing from 0.
        end_s: end of the last row.
        values: some of VALUES, float64[n] each; NaN where nothing was measured.
        up: bool[n]; None if the format has no outages.
        start_utc: time of second 0, if the file has it.
        satellite: name of the satellite, if the file has it.
        station: name of the station, if the file has it.
        notes: what the reader assumed or changed, one line each.
        elements: orbit of the satellite, if the file has it.
        place: the ground station, if the file has it.
    """

    form: str
    name: str
    time_s: Floats
    end_s: float
    values: dict[str, Floats] = field(default_factory=dict)
    up: Bools | None = None
    start_utc: datetime | None = None
    satellite: str | None = None
    station: str | None = None
    notes: list[str] = field(default_factory=list)
    elements: ElementSet | None = None
    place: GroundStation | None = None


def complete(recording: Recording, assumptions: Assumptions) -> Trace:
    """Return the trace that a recording and the assumptions about it give.

    Raises:
        TraceError: A value is missing; the message names the option that provides it.
    """
    notes = list(recording.notes)
    start_utc = assumptions.start_utc or recording.start_utc
    if start_utc is None:
        start_utc = _EPOCH
        notes.append("the recording has no start time: second 0 is set to 1970-01-01T00:00:00Z")
    elif assumptions.start_utc:
        notes.append("start_utc was given")
    try:
        columns = _columns(recording, assumptions, start_utc, notes)
        up = _connected(recording, columns, notes)
        if up.all():
            up = np.broadcast_to(True, up.shape)
        else:
            columns = _each(columns, lambda column: np.where(up, column, 0.0))
        kept = _changes([up, *columns.values()])
        rows = len(recording.time_s) if isinstance(kept, slice) else int(kept.sum())
        shown: dict[str, Any] = _each(columns, lambda column: _picked(column, kept, rows))
        return Trace(
            header=TraceHeader(
                satellite=_one_line(assumptions.satellite or recording.satellite or "satellite"),
                station=_one_line(assumptions.station or recording.station or "ground"),
                start_utc=start_utc,
                made_by=_one_line(f"{recording.form} recording {recording.name.rsplit('/', 1)[-1]}"),
                notes=tuple(map(_one_line, notes)),
            ),
            time_s=_picked(recording.time_s, kept, rows),
            up=_picked(up, kept, rows),
            end_s=recording.end_s,
            **shown,
        )
    except TraceError as fault:
        text = str(fault)
        raise TraceError(text if text.startswith(recording.name) else f"{recording.name}: {text}") from None


def _columns(
    recording: Recording, assumptions: Assumptions, start_utc: datetime, notes: list[str]
) -> dict[str, Floats]:
    """Return the columns of all VALUES, without NaN."""
    columns: dict[str, Floats] = {}
    for name, column in recording.values.items():
        if (filled := _filled(name, column, notes)) is not None:
            columns[name] = filled
    constant: dict[str, Any] = {name: getattr(assumptions, name) for name in (*RATES, *DELAYS)}
    constant |= dict.fromkeys(LOSSES, assumptions.loss)
    for name, value in constant.items():
        if value is not None:
            instead = " instead of the recorded values" if name in columns else ""
            notes.append(f"{name} {value:g} was given{instead}")
            columns[name] = np.broadcast_to(value, len(recording.time_s))
    if assumptions.delays is not None:
        columns |= _delays_of(assumptions.delays, recording, start_utc, notes)
    missing = [name for name in DELAYS if name not in columns]
    elements, place = assumptions.elements or recording.elements, assumptions.place or recording.place
    if missing and elements is not None and place is not None:
        delay_s = orbit_delay_s(elements, place, start_utc, recording.time_s)
        notes.append(f"delay computed from the orbit of {elements.name} over {place.name}")
        columns |= dict.fromkeys(missing, delay_s)
    for name in LOSSES:
        if name not in columns:
            notes.append(f"{name} was not recorded; 0 is assumed")
            columns[name] = np.broadcast_to(0.0, len(recording.time_s))
    for name in (*RATES, *DELAYS):
        if name not in columns:
            raise TraceError(f"a {recording.form} recording without {name}; add {_OPTION[name]}")
    return {name: columns[name] for name in VALUES}


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
    known = recording.start_utc is not None and delays.header.start_utc != _EPOCH
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


def _each(columns: dict[str, Floats], change: Callable[[Floats], Floats]) -> dict[str, Floats]:
    """Apply `change` to columns; an array that is used for two of them stays one array."""
    done: dict[int, Floats] = {}
    for column in columns.values():
        if id(column) not in done:
            done[id(column)] = change(column)
    return {name: done[id(column)] for name, column in columns.items()}


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


# -- Functions that several readers use ------------------------------------------------------------------


def parse_unix_s(text: str, where: str, zone: timezone | None) -> float:
    """Parse a time in ISO 8601 as seconds since 1970.

    Args:
        text: the time.
        where: file and line, for error messages.
        zone: time zone of a time without one; None to reject it.

    Raises:
        TraceError: The text is not a time within the calendar, or has no time zone.
    """
    text = text.strip()
    plain = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text  # Python 3.10 does not accept Z
    try:
        moment = datetime.fromisoformat(plain)
        if moment.tzinfo is not None or zone is not None:
            return ((moment if moment.tzinfo else moment.replace(tzinfo=zone)) - _EPOCH).total_seconds()
    except (ValueError, OverflowError):
        expected = "a time in ISO 8601 such as 2024-01-11T10:06:39Z"
        raise TraceError(f"{where}: expected {expected}; found {text[:40]!r}") from None
    raise TraceError(f"{where}: {text[:40]!r} has no time zone; set it with --zone, such as --zone UTC")


def from_epoch(name: str, seconds: float) -> datetime:
    """Return the UTC of a Unix time; `name` is the file's name in error messages."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise TraceError(
            f"{name}: expected a time within the calendar; found {seconds:g} s since 1970"
        ) from None


def in_order(time: Floats, columns: dict[str, Floats], notes: list[str]) -> tuple[Floats, dict[str, Floats]]:
    """Sort rows by time, and keep the last of rows with the same time; both are noted."""
    if not (time[1:] > time[:-1]).all():
        order = np.argsort(time, kind="stable")
        moved = int((time[1:] < time[:-1]).sum())
        time, columns = time[order], {name: column[order] for name, column in columns.items()}
        last = np.append(time[1:] != time[:-1], True)
        if moved:
            notes.append(f"rows were out of order in {moved} places; they were sorted by time")
        if not last.all():
            notes.append(f"{int((~last).sum())} rows with the same time as the next one are left out")
            time, columns = time[last], {name: column[last] for name, column in columns.items()}
    return time, columns


def sampled(
    form: str,
    name: str,
    time_s: Floats,
    values: dict[str, Floats],
    assumptions: Assumptions,
    notes: list[str],
    **more: Any,
) -> Recording:
    """Return a recording of samples at increasing times (of any origin), each valid until the next."""
    time_s = time_s - time_s[0]
    steps_s = np.diff(time_s)
    step_s = float(np.median(steps_s)) if steps_s.size else 1.0
    if not (np.isfinite(time_s[-1]) and time_s[-1] < _MOST_S):
        raise TraceError(f"{name}: the times cover {time_s[-1]:g} s; expected at most {_MOST_S:g}")
    recording = Recording(form, name, time_s, float(time_s[-1] + step_s), values, notes=notes, **more)
    if not steps_s.size or steps_s.max() - step_s <= max(2 * step_s, 1.0):
        return recording
    return with_gaps(recording, np.full(len(time_s), step_s), assumptions)


def with_gaps(recording: Recording, lasts_s: Floats, assumptions: Assumptions) -> Recording:
    """Treat the gaps between the end of row i, after `lasts_s[i]`, and the next row as configured."""
    time_s = recording.time_s
    free_s = np.diff(time_s) - lasts_s[:-1]
    long = np.flatnonzero(free_s > np.maximum(2 * lasts_s[:-1], 1.0))
    if not long.size:
        return recording
    total_s = float(free_s[long].sum())
    gaps = f"{long.size} gaps, {total_s:.6g} s in total, in which nothing was measured"
    if assumptions.gaps == "hold":
        note = f"{gaps}: the last value is held (see --gaps)"
        return replace(recording, notes=[*recording.notes, note])
    if assumptions.gaps == "close":
        cut_s = np.zeros(len(time_s))
        cut_s[long + 1] = free_s[long]
        cut_s = np.cumsum(cut_s)
        note = f"{gaps}: cut out, so later UTC times are wrong by up to this much"
        return replace(
            recording,
            time_s=time_s - cut_s,
            end_s=recording.end_s - float(cut_s[-1]),
            notes=[*recording.notes, note],
        )
    up = np.ones(len(time_s), dtype=bool) if recording.up is None else recording.up
    at = long + 1
    return replace(
        recording,
        time_s=np.insert(time_s, at, time_s[long] + lasts_s[long]),
        values={key: np.insert(column, at, column[long]) for key, column in recording.values.items()},
        up=np.insert(up, at, False),
        notes=[*recording.notes, f"{gaps}: the link is down"],
    )


def halves(rtt_s: Floats, notes: list[str]) -> dict[str, Floats]:
    """Return half of each round trip as the one-way delays, with a note."""
    notes.append("only round trips were recorded: each one-way delay is half a round trip")
    return dict.fromkeys(DELAYS, rtt_s / 2)


def shares_lost(lost: Bools, time_s: Floats, window_s: float) -> Floats:
    """Return for each probe the share of lost probes within its window of time."""
    if not lost.any():
        return np.zeros(len(lost))
    windows = np.floor((time_s - time_s[0]) / window_s)
    firsts = np.flatnonzero(np.append(True, windows[1:] != windows[:-1]))
    counts = np.diff(np.append(firsts, len(windows)))
    return np.repeat(np.add.reduceat(lost.astype(np.float64), firsts) / counts, counts)
