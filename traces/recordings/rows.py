"""Changes of a recording's rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from traces.recordings.recording import Bools, Floats, Recording


def each_column(columns: dict[str, Floats], change: Callable[[Floats], Floats]) -> dict[str, Floats]:
    """Apply `change` to columns; an array that is used for two of them stays one array."""
    changed: dict[int, Floats] = {}
    for column in columns.values():
        if id(column) not in changed:
            changed[id(column)] = change(column)
    return {name: changed[id(column)] for name, column in columns.items()}


def each_flag(recording: Recording, change: Callable[[Bools], Bools]) -> dict[str, Any]:
    """Apply `change` to what is known of both directions' outages; one array for both stays one."""
    down, up = recording.downlink_up, recording.uplink_up
    new_down = None if down is None else change(down)
    new_up = new_down if up is down else None if up is None else change(up)
    return {"downlink_up": new_down, "uplink_up": new_up}


def merged_times(time_s: Floats, more_s: Floats) -> Floats:
    """Return the union of increasing times with a few more in any order."""
    more_s = np.unique(more_s)
    at = np.searchsorted(time_s, more_s)
    new = time_s[np.minimum(at, len(time_s) - 1)] != more_s
    return np.insert(time_s, at[new], more_s[new])


def rows_at(time_s: Floats, moments_s: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the index of the row that is valid at each moment; the first one before the beginning."""
    return np.maximum(np.searchsorted(time_s, moments_s, side="right") - 1, 0)


def with_rows_at(recording: Recording, moments_s: Floats) -> Recording:
    """Return the recording with rows at further times, which repeat the values before them."""
    moments_s = moments_s[(moments_s >= 0) & (moments_s < recording.end_s)]
    time_s = merged_times(recording.time_s, moments_s)
    if len(time_s) == len(recording.time_s):
        return recording
    rows = rows_at(recording.time_s, time_s)
    return replace(
        recording,
        time_s=time_s,
        values=each_column(recording.values, lambda column: column[rows]),
        substitutes=each_column(recording.substitutes, lambda column: column[rows]),
        **each_flag(recording, lambda flag: flag[rows]),
    )


def filled(name: str, column: Floats, notes: list[str]) -> Floats | None:
    """Replace each NaN by the value before it (at the beginning: after it); None if all are NaN."""
    known = np.isfinite(column)
    if known.all():
        return column
    if not known.any():
        return None
    last = np.maximum.accumulate(np.where(known, np.arange(len(column)), -1))
    notes.append(f"{name}: {int((~known).sum())} of {len(column)} rows hold the value measured before them")
    return np.asarray(column[np.where(last < 0, np.argmax(known), last)])
