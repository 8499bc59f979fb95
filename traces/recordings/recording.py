"""What a recording holds, what it does not hold, and the trace that becomes of it.

A recording is rarely a whole link: a ping log has no rate, a capacity trace has no delay, a contact list has
neither.  A reader returns what was recorded and nothing else; `complete` adds what somebody said, writes
down each such addition in the trace's notes, and asks where nobody did.
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
    "the capacity was recorded with a saturating flow: optimistic for short messages (CellReplay, NSDI'25)"
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
    """What the user says of a recording, beside the file; None leaves it to the recording.

    Args:
        down_bit_s, up_bit_s: rates; "down" is towards the ground (a download).
        down_delay_s, up_delay_s: one-way delays.
        loss: probability, both ways.
        delays: a trace whose delays are taken, at the same UTC where both know theirs.
        start_utc: UTC of the recording's first moment.
        zone: of times that say none.
        satellite, station: names; they also choose among several pairs.
        gaps: what holds where nothing was measured: the last value ("hold"), no link ("down"), or
            the gap is cut out ("close").
        bin_s: delivery opportunities are counted over this long.
        outage_s: as long without any opportunity is a lost link, not a slow one.
        loss_window_s: lost probes are counted over this long.
        elements, place: an orbit and a ground station that give the delay.
        range_delay: take the delay from an ION plan's whole light-seconds.
        columns: of plain CSV, as `traces.recordings.columns` describes.
        separator, missing: of plain CSV.
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
    """What a file holds.

    Args:
        form: name of the format.
        name: the file's, for messages.
        time_s: float64[n], strictly increasing from 0.
        end_s: where the last row ends.
        values: some of VALUES, float64[n] each; NaN where it was not measured.
        up: bool[n], or None for a recording of a link that is simply there.
        start_utc: of second 0, where the file says it.
        satellite, station: names, where the file says them.
        notes: what the reader did, one line each.
        elements, place: orbit and station, where the file holds them.
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


def complete(recording: Recording, given: Assumptions) -> Trace:
    """Make a trace of a recording and of what was said beside it.

    Raises:
        TraceError: the recording lacks something that nobody gave; names the option that gives it.
    """
    notes = list(recording.notes)
    start_utc = given.start_utc or recording.start_utc
    if start_utc is None:
        start_utc = _EPOCH
        notes.append("the recording does not say when it began: second 0 is called 1970-01-01T00:00:00Z")
    elif given.start_utc:
        notes.append("start_utc was given")
    try:
        columns = _columns(recording, given, start_utc, notes)
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
                satellite=_one_line(given.satellite or recording.satellite or "satellite"),
                station=_one_line(given.station or recording.station or "ground"),
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
    recording: Recording, given: Assumptions, start_utc: datetime, notes: list[str]
) -> dict[str, Floats]:
    """Return all of VALUES, without NaN."""
    columns: dict[str, Floats] = {}
    for name, column in recording.values.items():
        if (held := _held(name, column, notes)) is not None:
            columns[name] = held
    constant: dict[str, Any] = {name: getattr(given, name) for name in (*RATES, *DELAYS)}
    constant |= dict.fromkeys(LOSSES, given.loss)
    for name, value in constant.items():
        if value is not None:
            instead = " instead of the recorded values" if name in columns else ""
            notes.append(f"{name} {value:g} was given{instead}")
            columns[name] = np.broadcast_to(value, len(recording.time_s))
    if given.delays is not None:
        columns |= _delays_of(given.delays, recording, start_utc, notes)
    missing = [name for name in DELAYS if name not in columns]
    elements, place = given.elements or recording.elements, given.place or recording.place
    if missing and elements is not None and place is not None:
        delay_s = orbit_delay_s(elements, place, start_utc, recording.time_s)
        notes.append(f"delay computed from the orbit of {elements.name} over {place.name}")
        columns |= dict.fromkeys(missing, delay_s)
    for name in LOSSES:
        if name not in columns:
            notes.append(f"{name} was not recorded: 0 is assumed")
            columns[name] = np.broadcast_to(0.0, len(recording.time_s))
    for name in (*RATES, *DELAYS):
        if name not in columns:
            raise TraceError(f"a {recording.form} recording without {name}; add {_OPTION[name]}")
    return {name: columns[name] for name in VALUES}


def _held(name: str, column: Floats, notes: list[str]) -> Floats | None:
    """Fill what was not measured with the value before it (the first: after it); None if there is none."""
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
    """Take the delays of another trace, at the same UTC if both tell it, else second by second."""
    shift_s = (start_utc - delays.header.start_utc).total_seconds()
    known = recording.start_utc is not None and delays.header.start_utc != _EPOCH
    if known and not -recording.end_s < shift_s < delays.end_s:
        raise TraceError(f"the delays' recording covers another time: it is {-shift_s:g} s away")
    shift_s = shift_s if known else 0.0
    rows = np.searchsorted(delays.time_s, recording.time_s + shift_s, side="right") - 1
    rows = np.clip(rows, 0, len(delays) - 1)
    how = "at the same UTC" if known else "second by second from the start of both"
    notes.append(f"delays are from {delays.header.made_by}, {how}")
    return {name: getattr(delays, name)[rows] for name in DELAYS}


def orbit_delay_s(elements: ElementSet, place: GroundStation, start_utc: datetime, time_s: Floats) -> Floats:
    """Return the one-way delay of light at `start_utc` + `time_s`, seconds."""
    from traces.orbits.orbit import look_angles
    from traces.radio.link_budget import one_way_delay_s  # orbits are slow to import

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
    """Return which rows differ from the one before: a trace is step-wise."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[0] = True
    for column in {id(column): column for column in columns}.values():
        if not is_constant(column):
            changed[1:] |= column[1:] != column[:-1]
        if changed.all():
            return slice(None)  # a view, where a long recording would be copied column by column
    return changed


def _each(columns: dict[str, Floats], change: Callable[[Floats], Floats]) -> dict[str, Floats]:
    """Change columns; what is one array for two of them is changed once, and stays one."""
    done: dict[int, Floats] = {}
    for column in columns.values():
        if id(column) not in done:
            done[id(column)] = change(column)
    return {name: done[id(column)] for name, column in columns.items()}


def _picked(column: npt.NDArray[Any], kept: Bools | slice, rows: int) -> npt.NDArray[Any]:
    """Return the rows that are kept, for nobody else to write to: a trace need not copy them again."""
    picked = np.broadcast_to(column[:1], rows) if is_constant(column) else column[kept]
    below: Any = picked
    while isinstance(below, np.ndarray):
        below.setflags(write=False)
        below = below.base
    return picked


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text).strip() or "?"


# -- what several readers need ---------------------------------------------------------------------------


def from_epoch(name: str, seconds: float) -> datetime:
    """Return the UTC of a Unix time."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise TraceError(
            f"{name}: a time of {seconds:g} s since 1970; expected one within the calendar"
        ) from None


def in_order(time: Floats, columns: dict[str, Floats], notes: list[str]) -> tuple[Floats, dict[str, Floats]]:
    """Sort rows by time; of rows of the same time the last one counts. Both is written down."""
    if not (time[1:] > time[:-1]).all():
        order = np.argsort(time, kind="stable")
        moved = int((time[1:] < time[:-1]).sum())
        time, columns = time[order], {name: column[order] for name, column in columns.items()}
        last = np.append(time[1:] != time[:-1], True)
        if moved:
            notes.append(f"rows were out of order in {moved} places: sorted by time")
        if not last.all():
            notes.append(f"{int((~last).sum())} rows of the same time as the next one are left out")
            time, columns = time[last], {name: column[last] for name, column in columns.items()}
    return time, columns


def sampled(
    form: str,
    name: str,
    time_s: Floats,
    values: dict[str, Floats],
    given: Assumptions,
    notes: list[str],
    **more: Any,
) -> Recording:
    """Make a recording of samples at increasing times (any origin), each valid until the next."""
    time_s = time_s - time_s[0]
    steps_s = np.diff(time_s)
    step_s = float(np.median(steps_s)) if steps_s.size else 1.0
    if not (np.isfinite(time_s[-1]) and time_s[-1] < _MOST_S):
        raise TraceError(f"{name}: the times cover {time_s[-1]:g} s; expected at most {_MOST_S:g}")
    recording = Recording(form, name, time_s, float(time_s[-1] + step_s), values, notes=notes, **more)
    if not steps_s.size or steps_s.max() - step_s <= max(2 * step_s, 1.0):
        return recording
    return with_gaps(recording, np.full(len(time_s), step_s), given)


def with_gaps(recording: Recording, lasts_s: Floats, given: Assumptions) -> Recording:
    """Treat the times after row i's `lasts_s[i]` and before the next as `given.gaps` says."""
    time_s = recording.time_s
    free_s = np.diff(time_s) - lasts_s[:-1]
    long = np.flatnonzero(free_s > np.maximum(2 * lasts_s[:-1], 1.0))
    if not long.size:
        return recording
    total_s = float(free_s[long].sum())
    what = f"{long.size} gaps of {total_s:.6g} s in all where nothing was measured"
    if given.gaps == "hold":
        note = f"{what}: the last value holds (--gaps down or --gaps close otherwise)"
        return replace(recording, notes=[*recording.notes, note])
    if given.gaps == "close":
        cut_s = np.zeros(len(time_s))
        cut_s[long + 1] = free_s[long]
        cut_s = np.cumsum(cut_s)
        note = f"{what}: cut out, so that later UTC times are wrong by up to that"
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
        notes=[*recording.notes, f"{what}: the link is down"],
    )


def halves(rtt_s: Floats, notes: list[str]) -> dict[str, Floats]:
    """Split round trips in two, and say so."""
    notes.append("only round trips were recorded: each one-way delay is half of one")
    return dict.fromkeys(DELAYS, rtt_s / 2)


def shares_lost(lost: Bools, time_s: Floats, window_s: float) -> Floats:
    """Return, for each probe, the share of probes lost within its window of time."""
    if not lost.any():
        return np.zeros(len(lost))
    windows = np.floor((time_s - time_s[0]) / window_s)
    firsts = np.flatnonzero(np.append(True, windows[1:] != windows[:-1]))
    counts = np.diff(np.append(firsts, len(windows)))
    return np.repeat(np.add.reduceat(lost.astype(np.float64), firsts) / counts, counts)
