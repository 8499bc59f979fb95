"""Traces with parts that are taken away or made worse: a link that is not always served, or a fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from traces.trace import COLUMNS, Bools, Trace

Way = Literal["down", "up"]
WAYS: tuple[Way, ...] = ("down", "up")
Span = tuple[float, float]


def only_during(trace: Trace, spans: Iterable[Span], note: str) -> Trace:
    """Return the trace with the link down outside of some spans of time.

    Args:
        trace: the trace.
        spans: (from, until) in seconds, in which the link stays as it is.
        note: the reason, for the header.
    """
    kept = list(spans)
    split = _split(trace, [edge for span in kept for edge in span])
    inside = _inside(split, kept)
    return replace(
        split,
        header=trace.header.with_note(note),
        downlink_up=split.downlink_up & inside,
        uplink_up=split.uplink_up & inside,
    )


def cut_off(trace: Trace, span: Span, note: str, ways: Sequence[Way] = WAYS) -> Trace:
    """Return the trace with directions of the link down during a span of time.

    Args:
        trace: the trace.
        span: (from, until) in seconds.
        note: the reason, for the header.
        ways: the directions.
    """
    split = _split(trace, span)
    outside = ~_inside(split, [span])
    changes = {f"{way}link_up": getattr(split, f"{way}link_up") & outside for way in ways}
    return replace(split, header=trace.header.with_note(note), **changes)


def degraded(
    trace: Trace, span: Span, note: str, *, factor: float = 1.0, loss: float = 0.0, ways: Sequence[Way] = WAYS
) -> Trace:
    """Return the trace with a lower rate, or more loss, during a span of time.

    Args:
        trace: the trace.
        span: (from, until) in seconds.
        note: the reason, for the header.
        factor: of the rate.
        loss: probability that a packet is lost, beside and independent of the trace's own.
        ways: the directions.
    """
    split = _split(trace, span)
    inside = _inside(split, [span])
    changes = {}
    for way in ways:
        rate_bit_s, lost = getattr(split, f"{way}_bit_s"), getattr(split, f"{way}_loss")
        changes[f"{way}_bit_s"] = np.where(inside, rate_bit_s * factor, rate_bit_s)
        changes[f"{way}_loss"] = np.where(inside, 1 - (1 - lost) * (1 - loss), lost)
    return replace(split, header=trace.header.with_note(note), **changes)


def _split(trace: Trace, edges_s: Iterable[float]) -> Trace:
    """Return the same trace with a row that begins at each of some times within it."""
    new_s = [edge_s for edge_s in edges_s if 0 < edge_s < trace.end_s]
    times_s = np.union1d(trace.time_s, new_s)
    if len(times_s) == len(trace):
        return trace
    rows = np.searchsorted(trace.time_s, times_s, side="right") - 1
    columns = {name: getattr(trace, name)[rows] for name in COLUMNS} | {"time_s": times_s}
    return replace(trace, extra={name: column[rows] for name, column in trace.extra.items()}, **columns)


def _inside(trace: Trace, spans: Iterable[Span]) -> Bools:
    """Return bool[n]: whether a row begins within one of the spans."""
    inside = np.zeros(len(trace), bool)
    for from_s, until_s in spans:
        inside |= (trace.time_s >= from_s) & (trace.time_s < until_s)
    return inside
