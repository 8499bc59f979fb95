"""Traces of links that are up during given intervals, for tests of routes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np

from traces.trace import Trace, TraceHeader

START = datetime(2018, 1, 20, tzinfo=timezone.utc)


def contact_trace(
    *contacts: tuple[float, float], delay_s: float = 0.01, rate_bit_s: float = 1e6, end_s: float = 100.0
) -> Trace:
    """Return the trace of a link with these contacts, from begin to end, and the same both ways."""
    steps = [step for begin_s, until_s in contacts for step in ((begin_s, delay_s), (until_s, None))]
    return stepped_trace([(0.0, None), *steps], rate_bit_s, end_s)


def stepped_trace(
    steps: Sequence[tuple[float, float | None]], rate_bit_s: float = 1e6, end_s: float = 100.0
) -> Trace:
    """Return the trace of a link with a delay from each time on; None stands for no contact."""
    last = {time_s: delay for time_s, delay in steps if time_s < end_s}  # of two at one time the last
    time_s = np.array(list(last))
    up = np.array([delay is not None for delay in last.values()])
    delay_s = np.array([delay or 0.0 for delay in last.values()])
    rate = np.where(up, rate_bit_s, 0.0)
    return Trace(
        TraceHeader("A", "B", START, "a test"),
        time_s,
        up,
        up,
        rate,
        rate,
        delay_s,
        delay_s,
        up * 0.0,
        up * 0.0,
        end_s,
    )
