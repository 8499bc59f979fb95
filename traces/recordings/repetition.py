"""Repetition of a trace that is shorter than needed, as mahimahi repeats its files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from traces.errors import TraceError
from traces.trace import COLUMNS, Trace

_MOST_ROWS = 50_000_000


def repeated(trace: Trace, until_s: float) -> Trace:
    """Return the trace, started over until `until_s`.

    Raises:
        TraceError: The trace is not shorter, or there would be too many rows.
    """
    if not until_s > trace.end_s:
        raise TraceError(f"--loop {until_s:g}s has no effect: the recording lasts {trace.end_s:g} s")
    times = int(np.ceil(until_s / trace.end_s))
    if times * len(trace) > _MOST_ROWS:
        raise TraceError(
            f"--loop {until_s:g}s: expected at most {_MOST_ROWS} rows; found {times * len(trace)}"
        )
    starts_s = np.repeat(np.arange(times) * trace.end_s, len(trace))
    time_s = starts_s + np.tile(trace.time_s, times)
    rows = np.flatnonzero(time_s < until_s)
    time_s = time_s[rows]
    rows = rows % len(trace)
    columns = {name: getattr(trace, name)[rows] for name in COLUMNS if name != "time_s"}
    return replace(
        trace,
        header=trace.header.with_note(
            f"its {trace.end_s:g} s are repeated until {until_s:g} s; only the first have their UTC"
        ),
        time_s=time_s,
        end_s=until_s,
        extra={name: column[rows] for name, column in trace.extra.items()},
        **columns,
    )
