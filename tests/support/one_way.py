"""A trace in which each direction goes down by itself."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from traces.trace import Trace, TraceHeader


def one_way_trace(*, rate_bit_s: float = 4e6, delay_s: float = 0.01, step_s: float = 10.0) -> Trace:
    """Return four rows of `step_s`: both directions up, only the downlink, only the uplink, none.

    The uplink has a quarter of the downlink's rate, and twice its delay.
    """
    down, up = np.array([True, True, False, False]), np.array([True, False, True, False])
    none = np.zeros(4)
    return Trace(
        TraceHeader("S", "G", datetime(2024, 1, 1, tzinfo=timezone.utc), "a test"),
        np.arange(4) * step_s,
        down,
        up,
        np.where(down, rate_bit_s, 0.0),
        np.where(up, rate_bit_s / 4, 0.0),
        np.where(down, delay_s, 0.0),
        np.where(up, 2 * delay_s, 0.0),
        none,
        none,
        end_s=4 * step_s,
    )
