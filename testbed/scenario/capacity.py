"""What the links of satellites carry, and the rate at which they are offered a given load."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traces.trace import Trace

_HALVINGS = 60
Floats = NDArray[np.float64]


def carried_bytes(traces: Sequence[Trace], from_s: float, rate_cap_bit_s: float = math.inf) -> float:
    """Return the bytes that a satellite's links carry down after a time; of links that are up together, one.

    Args:
        traces: the links' traces, in order of preference.
        from_s: time of the first capture.
        rate_cap_bit_s: highest rate of a downlink.
    """
    lengths_s, rate_bit_s = _rates(traces, from_s)
    return float(lengths_s @ np.minimum(rate_bit_s, rate_cap_bit_s)) / 8


def _rates(traces: Sequence[Trace], from_s: float) -> tuple[Floats, Floats]:
    """Return the lengths of the spans from a time on, in seconds, and the rate of each, uncapped."""
    edges_s = np.unique(
        np.concatenate([*(np.append(trace.time_s, trace.end_s) for trace in traces), [from_s]])
    )
    edges_s = edges_s[edges_s >= from_s]
    starts_s, lengths_s = edges_s[:-1], np.diff(edges_s)
    rate_bit_s = np.zeros(len(starts_s))
    for trace in reversed(traces):
        row = np.searchsorted(trace.time_s, starts_s, side="right") - 1
        flows = (row >= 0) & (starts_s < trace.end_s) & trace.both_up[row]
        rate_bit_s = np.where(flows, trace.down_bit_s[row], rate_bit_s)
    return lengths_s, rate_bit_s


def rate_cap_for(load: float, offered_bytes: float, fleet: Sequence[tuple[Sequence[Trace], float]]) -> float:
    """Return the rate cap of all downlinks at which the offered bytes are `load` times what they carry.

    Args:
        load: the load; above 1 not everything comes down.
        offered_bytes: size of everything that all satellites capture.
        fleet: of each satellite the traces of its links, uncapped, and the time of its first capture.

    Raises:
        ValueError: even uncapped the links carry less than that.
    """
    spans = [_rates(traces, from_s) for traces, from_s in fleet]
    lengths_s, rate_bit_s = (np.concatenate(columns) for columns in zip(*spans, strict=True))

    def carried(cap_bit_s: float) -> float:
        return float(lengths_s @ np.minimum(rate_bit_s, cap_bit_s)) / 8

    wanted_bytes = offered_bytes / load
    if (most_bytes := carried(math.inf)) < wanted_bytes:
        raise ValueError(
            f"the links carry {most_bytes / 1e6:.3g} MB at most, a load of {offered_bytes / most_bytes:.2f}"
            if most_bytes
            else "the links carry nothing"
        )
    low_bit_s, high_bit_s = 0.0, max(trace.down_bit_s.max() for traces, _ in fleet for trace in traces)
    for _ in range(_HALVINGS):
        middle_bit_s = (low_bit_s + high_bit_s) / 2
        if carried(middle_bit_s) < wanted_bytes:
            low_bit_s = middle_bit_s
        else:
            high_bit_s = middle_bit_s
    return float(high_bit_s)
