"""What the links of satellites carry, and the rate at which they are offered a given load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    _, lengths_s, rate_bit_s = _rates(traces, from_s)
    return float(lengths_s @ np.minimum(rate_bit_s, rate_cap_bit_s)) / 8


def _rates(
    traces: Sequence[Trace], from_s: float, also_s: Sequence[float] | Floats = ()
) -> tuple[Floats, Floats, Floats]:
    """Return the starts and lengths of the spans from a time on, in seconds, and the rate of each, uncapped.

    Spans begin where a trace changes, and at the times `also_s`.
    """
    edges_s = np.unique(
        np.concatenate([*(np.append(trace.time_s, trace.end_s) for trace in traces), [from_s], also_s])
    )
    edges_s = edges_s[edges_s >= from_s]
    starts_s, lengths_s = edges_s[:-1], np.diff(edges_s)
    rate_bit_s = np.zeros(len(starts_s))
    for trace in reversed(traces):
        row = np.searchsorted(trace.time_s, starts_s, side="right") - 1
        flows = (row >= 0) & (starts_s < trace.end_s) & trace.both_up[row]
        rate_bit_s = np.where(flows, trace.down_bit_s[row], rate_bit_s)
    return starts_s, lengths_s, rate_bit_s


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
    _, lengths_s, rate_bit_s = (np.concatenate(columns) for columns in zip(*spans, strict=True))

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


@dataclass(frozen=True)
class BacklogCurve:
    """The bytes that wait on a satellite over time, if it sends each image whole and in turn.

    Args:
        time_s: float64[n], increasing; a capture has its time twice, with the backlog before and after it.
        size_bytes: float64[n], the backlog, with straight lines in between.
    """

    time_s: Floats
    size_bytes: Floats

    @property
    def most_bytes(self) -> float:
        """The largest backlog."""
        return float(self.size_bytes.max())

    @property
    def most_at_s(self) -> float:
        """When the backlog is largest, for the first time."""
        return float(self.time_s[self.size_bytes.argmax()])

    @property
    def left_bytes(self) -> float:
        """The backlog at the end."""
        return float(self.size_bytes[-1])

    @property
    def empty_s(self) -> float | None:
        """When the last image is down; None if not all are by the end."""
        if self.left_bytes > 0:
            return None
        waiting = np.flatnonzero(self.size_bytes > 0)
        return float(self.time_s[waiting[-1] + 1]) if len(waiting) else 0.0


def backlog_curve(traces: Sequence[Trace], captures: Sequence[tuple[float, int]]) -> BacklogCurve:
    """Return the backlog of a satellite from second 0 to the end of its traces.

    The reflection formula of a fluid queue: with N(t) the bytes captured minus those that the links could
    carry until t, the backlog is N(t) minus the least N until then.

    Args:
        traces: the traces of the satellite's links, in order of preference.
        captures: (time in seconds, size in bytes) of each image.
    """
    at_s = np.array([time_s for time_s, _ in captures])
    sizes = np.array([size for _, size in captures], dtype=np.float64)
    in_order = np.argsort(at_s, kind="stable")
    at_s, captured = at_s[in_order], np.concatenate([[0.0], np.cumsum(sizes[in_order])])
    starts_s, lengths_s, rate_bit_s = _rates(traces, 0.0, also_s=at_s)
    edges_s = np.append(starts_s, starts_s[-1] + lengths_s[-1])
    carried = np.concatenate([[0.0], np.cumsum(lengths_s * rate_bit_s / 8)])
    before = captured[np.searchsorted(at_s, edges_s, side="left")] - carried
    after = captured[np.searchsorted(at_s, edges_s, side="right")] - carried
    least = np.minimum.accumulate(np.minimum(before, 0.0))
    before, after = before - least, after - least
    time_s, size_bytes = np.repeat(edges_s, 2), np.column_stack([before, after]).ravel()
    drained = np.flatnonzero((after[:-1] > 0) & (before[1:] == 0))  # spans in which the last byte leaves
    empty_s = starts_s[drained] + after[drained] * 8 / rate_bit_s[drained]
    return BacklogCurve(
        np.insert(time_s, 2 * drained + 2, empty_s), np.insert(size_bytes, 2 * drained + 2, 0.0)
    )
