"""The pass that `spaceverse verify` plays: the steepest real one, or a piece of the user's trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import numpy as np

from traces.make import make_trace
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import station
from traces.orbits.tle import FLOCK_TLE
from traces.trace import COLUMNS, Trace

# Of all passes of the shipped set's fastest 14 satellites over the 13 stations of the catalogue on 20 January
# 2018 that rise above 80 degrees, the one whose delay changes fastest: 23.9 us a second, 4.4 to 0.8 ms.
SATELLITE, STATION = "FLOCK 2E-2", "Awarua"
START_UTC = datetime(2018, 1, 20, 22, 52, 20, tzinfo=timezone.utc)
LENGTH_S = 372.0
CHANGE_S = 0.1  # 10 Hz
LEAD_S = 0.5  # before AOS and after LOS


def steepest_pass(step_s: float) -> Trace:
    """Return the whole pass, a row for every `step_s` of it, played at ten rows a second.

    So its delay changes `step_s` x 10 times as fast as a real one's: all its delays and rates come by, and
    a link that follows this follows the real one.
    """
    whole = make_trace(
        find_satellite(read_elements(FLOCK_TLE), SATELLITE),
        station(STATION),
        START_UTC,
        LENGTH_S,
        step_s=step_s,
    )
    return quickened(whole, step_s / CHANGE_S)


def quickened(trace: Trace, factor: float) -> Trace:
    """Return the same rows, `factor` times as fast."""
    columns = {name: getattr(trace, name) for name in COLUMNS}
    columns["time_s"] = trace.time_s / factor
    note = f"played {factor:g} times as fast"
    header = replace(trace.header, notes=(*trace.header.notes, note))
    return Trace(header=header, end_s=trace.end_s / factor, **columns)


def steepest_piece(trace: Trace, length_s: float) -> Trace:
    """Return the piece of `length_s` in a contact whose delay changes most, or a shorter trace whole."""
    if trace.end_s <= length_s:
        return trace
    change_s = np.abs(np.diff(trace.down_delay_s)) * (trace.downlink_up[1:] & trace.downlink_up[:-1])
    travelled_s = np.concatenate([[0.0], np.cumsum(change_s)])
    starts_s = trace.time_s[trace.time_s + length_s <= trace.end_s]
    ends = np.searchsorted(trace.time_s, starts_s + length_s, side="left") - 1
    up = np.interp(starts_s + length_s / 2, trace.time_s, trace.up)
    best = int(np.argmax(travelled_s[ends] - travelled_s[: len(starts_s)] + 1e-9 * up))
    return trace.cut(float(starts_s[best]), float(starts_s[best]) + length_s)
