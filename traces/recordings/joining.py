"""Delays from elsewhere: another recording at the same UTC, or an orbit.

Both are joined before the gaps are treated, while the recording's seconds are still UTC. The result has a row
wherever one of the two changes.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from traces.errors import StaleElementsWarning, TraceError
from traces.recordings.recording import DELAYS, EPOCH, LOSSES, Bools, Floats, Orbit, Recording
from traces.recordings.rows import rows_at, with_rows_at
from traces.trace import Trace

ORBIT_STEP_S = 1.0
_MOST_ROWS = 2_000_000
_EDGE_S = 0.01  # two files that end within this time end together
_STALE_AFTER_DAYS = 7.0


class _Delays(NamedTuple):
    time_s: Floats
    values: dict[str, Floats]
    known: dict[str, Bools]
    end_s: float
    start_utc: datetime | None
    source: str
    gaps_s: Floats
    has_losses: bool


def with_delays_of(recording: Recording, delays: Trace | Recording, names: list[str]) -> Recording:
    """Return the recording with the delays of another, at the same UTC if both have it.

    Args:
        recording: the recording, whose `start_utc` is None if it is not known.
        delays: the other one.
        names: the columns to take from it, which must be some of DELAYS.

    Raises:
        TraceError: The two do not overlap, or the other one has no delays.
    """
    other = _of_trace(delays) if isinstance(delays, Trace) else _of_recording(delays)
    shift_s, how = 0.0, "at the same second from the start of both"
    if recording.start_utc is not None and other.start_utc is not None:
        shift_s, how = (recording.start_utc - other.start_utc).total_seconds(), "at the same UTC"
        if not -recording.end_s < shift_s < other.end_s:
            raise TraceError(f"the recording of the delays covers another time, which is {-shift_s:g} s away")
    which = "" if len(names) == len(DELAYS) else f" ({', '.join(names)})"
    notes = [*recording.notes, f"delays{which} are from {other.source}, {how}"]
    begin_s, end_s = -shift_s, other.end_s - shift_s
    gaps_s = [gap for gap in ((0.0, begin_s), (end_s, recording.end_s)) if gap[1] - gap[0] > _EDGE_S]
    if gaps_s:
        total_s = sum(end - begin for begin, end in gaps_s)
        notes.append(f"{other.source} does not cover {total_s:.6g} s of the recording, which are a gap")
    unused_s = max(-begin_s, 0.0) + max(end_s - recording.end_s, 0.0)
    if unused_s > _EDGE_S:
        notes.append(f"{unused_s:.6g} s of {other.source} lie outside the recording and are not used")
    if len(other.gaps_s):
        inner_s = float((other.gaps_s[:, 1] - other.gaps_s[:, 0]).sum())
        notes.append(f"{other.source} has gaps of {inner_s:.6g} s in total: the last delay is held there")
    if other.has_losses:
        notes.append(
            f"{other.source} also tells of losses or outages, which are not used: only its delays are"
        )
    known = {name: np.flatnonzero(other.known[name]) for name in names}
    if not all(rows.size for rows in known.values()):
        raise TraceError(f"expected delays in {other.source}; it has none")
    joined = with_rows_at(recording, other.time_s[np.unique(np.concatenate([*known.values()]))] - shift_s)
    values = {}
    for name, rows in known.items():
        at = rows_at(other.time_s[rows], joined.time_s + shift_s)
        values[name] = other.values[name][rows[at]]
    return replace(
        joined,
        values=joined.values | values,
        notes=notes,
        gaps_s=np.concatenate([joined.gaps_s, np.array(gaps_s).reshape(-1, 2)]),
    )


def _of_trace(trace: Trace) -> _Delays:
    start_utc = trace.header.start_utc if trace.header.start_utc != EPOCH else None
    values = {name: getattr(trace, name) for name in DELAYS}
    source = trace.header.made_by
    known = dict(zip(DELAYS, (trace.downlink_up, trace.uplink_up), strict=True))
    has_losses = not trace.both_up.all() or any(getattr(trace, name).any() for name in LOSSES)
    return _Delays(trace.time_s, values, known, trace.end_s, start_utc, source, np.empty((0, 2)), has_losses)


def _of_recording(recording: Recording) -> _Delays:
    source = f"{recording.form} recording {recording.name.rsplit('/', 1)[-1]}"
    if recording.orbits and not any(name in recording.values for name in DELAYS):
        recording = with_orbit_delays(recording, list(DELAYS))
    missing = [name for name in DELAYS if name not in recording.values]
    if missing:
        raise TraceError(f"expected delays in {source}; it is without {' and '.join(missing)}")
    losses = (np.nan_to_num(recording.values[name]) for name in LOSSES if name in recording.values)
    has_losses = not all(up.all() for up in recording.ups()) or any(loss.any() for loss in losses)
    both = np.logical_and(*(np.isfinite(recording.values[name]) for name in DELAYS))
    known = dict.fromkeys(DELAYS, both)
    return _Delays(
        recording.time_s,
        recording.values,
        known,
        recording.end_s,
        recording.start_utc,
        source,
        recording.gaps_s,
        has_losses,
    )


def with_orbit_delays(recording: Recording, names: list[str]) -> Recording:
    """Return the recording with delays in vacuum, computed each second in which the link is up.

    Raises:
        TraceError: The link is up for too long.
    """
    start_utc = recording.start_utc or EPOCH
    recording = with_rows_at(recording, _seconds_up(recording))
    time_s = recording.time_s
    up = np.logical_or(*recording.ups())
    orbits = recording.orbits
    which = rows_at(np.array([orbit.begin_s for orbit in orbits]), time_s)
    delay_s = np.zeros(len(time_s))
    notes = list(recording.notes)
    oldest_days = 0.0
    for number, orbit in enumerate(orbits):
        rows = np.flatnonzero(up & (which == number))
        if not rows.size:
            continue
        delay_s[rows] = _delay_s(orbit, start_utc, time_s[rows])
        moments = (start_utc + timedelta(seconds=float(time_s[row])) for row in (rows[0], rows[-1]))
        ages_days = (abs((moment - orbit.elements.epoch_utc).total_seconds()) / 86_400 for moment in moments)
        oldest_days = max(oldest_days, *ages_days)
    names_of = dict.fromkeys(f"{orbit.elements.name} over {orbit.place.name}" for orbit in orbits)
    each = f", with {len(orbits)} element sets, each in its own time" if len(orbits) > 1 else ""
    notes.append(f"delay computed from the orbit of {', '.join(names_of)}{each}")
    if oldest_days > _STALE_AFTER_DAYS:
        stale = f"elements are up to {oldest_days:.1f} days from their epoch: delays may be wrong"
        notes.append(stale)
        warnings.warn(f"{recording.name}: {stale}", StaleElementsWarning, stacklevel=2)
    return replace(recording, values=recording.values | dict.fromkeys(names, delay_s), notes=notes)


def _delay_s(orbit: Orbit, start_utc: datetime, time_s: Floats) -> Floats:
    from traces.orbits.orbit import look_angles  # slow to import
    from traces.radio.link_budget import one_way_delay_s

    look = look_angles(orbit.elements, orbit.place, start_utc, time_s)
    delay_s: Floats = np.round(one_way_delay_s(look.slant_range_m), 9)
    return delay_s


def _seconds_up(recording: Recording) -> Floats:
    """Return each second of each time in which the link is up, from its beginning."""
    up = np.logical_or(*recording.ups())
    edges = np.flatnonzero(np.diff(up, prepend=False, append=False))
    bounds_s = np.append(recording.time_s, recording.end_s)[edges]
    if (bounds_s[1::2] - bounds_s[::2]).sum() / ORBIT_STEP_S > _MOST_ROWS:
        raise TraceError(
            f"expected contacts of at most {_MOST_ROWS} s in total, for which delays are computed"
        )
    spans = zip(bounds_s[::2].tolist(), bounds_s[1::2].tolist(), strict=True)
    return np.concatenate([np.empty(0), *(np.arange(begin, end, ORBIT_STEP_S) for begin, end in spans)])
