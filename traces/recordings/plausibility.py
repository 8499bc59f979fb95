"""Checks between the detected format or unit and the values that came of it."""

from __future__ import annotations

import numpy as np

from traces.errors import TraceError
from traces.recordings.recording import DELAYS, RATES, Recording

LONGEST_DELAY_S = 10.0
_SAMPLES = 10_000
_SHORT_S, _FAST_BIT_S = 1.0, 5e8
_SLOWEST_BIT_S, _FASTEST_BIT_S = 1e3, 1e11
_SHORTEST_DELAY_S = 1e-4  # of light over 30 km
_SLOW_MAHIMAHI_BIT_S = 1e3
_USUAL_MAHIMAHI_BIT_S = (1e5, 2e9)


def check_detected(recording: Recording) -> None:
    """Raise TraceError if the values speak against the format that was detected from integers alone.

    The format is not checked if the user named it.
    """
    if recording.form != "mahimahi":
        return
    rate_bit_s = recording.values["down_bit_s"]
    lengths_s = np.diff(recording.time_s, append=recording.end_s)
    mean_bit_s = float(lengths_s @ rate_bit_s) / recording.end_s
    described = f"{recording.end_s:g} s at {mean_bit_s / 1e6:.6g} Mbit/s"
    if recording.end_s < _SHORT_S and mean_bit_s >= _FAST_BIT_S:
        reason = f"as mahimahi's milliseconds they are {described}"
    elif mean_bit_s < _SLOW_MAHIMAHI_BIT_S and len(rate_bit_s) > 1:
        reason = f"as mahimahi's milliseconds they are {described}, mostly an outage"
    else:
        return
    raise TraceError(
        f"{recording.name}: the file has only rising integers, and {reason}; expected --from mahimahi if"
        " this is right, --delay-from if they are delays, or a declaration with --columns"
    )


def doubts(recording: Recording) -> list[str]:
    """Return a note for each column whose values are implausible in their unit."""
    notes = []
    if recording.form == "mahimahi":
        lengths_s = np.diff(recording.time_s, append=recording.end_s)
        mean_bit_s = float(lengths_s @ recording.values["down_bit_s"]) / recording.end_s
        if not _USUAL_MAHIMAHI_BIT_S[0] <= mean_bit_s <= _USUAL_MAHIMAHI_BIT_S[1]:
            notes.append(f"doubt: the capacity is {mean_bit_s / 1e6:.4g} Mbit/s; check that the lines are ms")
    for name in (*RATES, *DELAYS):
        column = recording.values.get(name)
        column = np.empty(0) if column is None else column[:: len(column) // _SAMPLES + 1]
        known = column[np.isfinite(column) & (column > 0)]
        if not known.size:
            continue
        typical = float(np.median(known))
        if name in DELAYS and typical > LONGEST_DELAY_S:
            notes.append(f"doubt: {name} is typically {typical:g} s; check its unit")
        if name in DELAYS and typical < _SHORTEST_DELAY_S:
            notes.append(
                f"doubt: {name} is typically {typical:g} s, too short for a satellite; check its unit"
            )
        if name in RATES and not _SLOWEST_BIT_S <= typical <= _FASTEST_BIT_S:
            notes.append(f"doubt: {name} is typically {typical:g} bit/s; check its unit")
    return notes
