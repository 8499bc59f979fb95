"""Output of iperf3, as text or as JSON (`-J`, `--json-stream`), of a client or a server.

The client is the ground: what it sends is the uplink, and what it receives (`-R`, `--bidir`) the downlink.
Streams in parallel (`-P`) are added up. Intervals that iperf3 omits (`-O`) are left out, and so is the last
one if it is far shorter than the others.

A UDP sender knows what it sent, and learns only at the end how much of that arrived; its rates are multiplied
by this share. Datagrams that a receiver missed are not taken for loss: a test of capacity sends more than the
link carries, so that the queue drops the rest, and the rate says so already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats
from traces.recordings import iperf3_json, iperf3_text
from traces.recordings.iperf3_session import DIRECTIONS, Session
from traces.recordings.recording import SATURATED, Assumptions, Recording
from traces.recordings.rows import rows_at
from traces.recordings.sampling import check_length, from_epoch

_SHORTEST = 0.1  # of the usual interval
_GAP_S = 1.0


def sniff(head: bytes) -> bool:
    """Tell whether the beginning is that of iperf3's text or JSON."""
    if head.lstrip()[:1] in (b"{", b"["):
        return b'"test_start"' in head or re.search(rb'"version":\s*"iperf 3', head) is not None
    return iperf3_text.sniff(head)


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the rates of each interval.

    Raises:
        TraceError: The file is invalid, or has no intervals; the message says what was expected.
    """
    is_json = data.lstrip()[:1] in (b"{", b"[")
    tests = list((iperf3_json if is_json else iperf3_text).sessions(data, name))
    reasons = [test.error for test in tests if test.error]
    tests = [test for test in tests if any(test.intervals.values())]
    if not tests:
        says = f"; iperf3 says: {reasons[0][:80]}" if reasons else ""
        raise TraceError(f"{name}, line 1: expected intervals of iperf3, as with -i 1; found none{says}")
    notes = [SATURATED, "rates are iperf3's payload; the link carried a few per cent more"]
    notes.append("iperf3's client is the ground: what it sent is the uplink")
    notes += [f"iperf3 ended early: {reason[:80]}" for reason in reasons[:1]]
    for test in tests:
        _without_short_intervals(test, notes)
        _scale_to_arrived(test, notes)
    starts_s, start_s = _starts(tests, notes)
    edges_s = np.array([(begin, end) for begin, end, _ in _all(tests, starts_s)])
    end_s = float(edges_s[:, 1].max())
    check_length(name, end_s)
    time_s = np.unique(edges_s[:, 0])
    values = {}
    for direction in DIRECTIONS:
        column = _column(time_s, list(_all(tests, starts_s, direction)))
        if np.isfinite(column).any():
            values[f"{direction}_bit_s"] = column
    time_s[0] = 0.0  # the first interval begins within a few us
    start_utc = None if start_s is None else from_epoch(name, start_s)
    omitted = sum(len(test.omitted) for test in tests)
    if omitted:
        notes.append(f"intervals that iperf3 omitted are left out: {omitted}")
    notes = list(dict.fromkeys(notes))
    return Recording(
        "iperf3", name, time_s, end_s, values, start_utc=start_utc, notes=notes, gaps_s=_gaps(edges_s)
    )


def _all(
    tests: list[Session], starts_s: list[float], direction: str | None = None
) -> Iterator[tuple[float, float, float]]:
    """Yield begin, end and rate of each interval, in order within each direction."""
    for test, start_s in zip(tests, starts_s, strict=True):
        for way in DIRECTIONS if direction is None else (direction,):
            for begin_s, end_s, rate_bit_s in test.intervals[way]:
                yield begin_s + start_s, end_s + start_s, rate_bit_s


def _column(time_s: Floats, intervals: list[tuple[float, float, float]]) -> Floats:
    """Return the rate at each time; NaN outside of the intervals."""
    if not intervals:
        return np.full(len(time_s), math.nan)
    begin_s, end_s, rate_bit_s = np.array(sorted(intervals)).T
    rows = rows_at(begin_s, time_s)
    inside = (time_s >= begin_s[rows]) & (time_s < end_s[rows])
    return np.where(inside, rate_bit_s[rows], math.nan)


def _starts(tests: list[Session], notes: list[str]) -> tuple[list[float], float | None]:
    """Return the start of each test after the first one's, and that one's Unix time if it is known."""
    known = [test.unix_s for test in tests if test.unix_s is not None]
    lasts_s = [max(end for rows in test.intervals.values() for _, end, _ in rows) for test in tests]
    if len(known) == len(tests) and known == sorted(known):
        starts_s, reach_s = [], 0.0
        for unix_s, last_s in zip(known, lasts_s, strict=True):  # stamps are whole seconds
            starts_s.append(max(unix_s - known[0], reach_s))
            reach_s = starts_s[-1] + last_s
    else:
        starts_s = [0.0, *np.cumsum(lasts_s)[:-1].tolist()]
        if len(tests) > 1:
            notes.append(
                f"the file has {len(tests)} tests without a time: each follows the one before at once"
            )
    return starts_s, known[0] if known and tests[0].unix_s is not None else None


def _gaps(edges_s: Floats) -> Floats:
    edges_s = edges_s[np.argsort(edges_s[:, 0], kind="stable")]
    reach_s = np.maximum.accumulate(edges_s[:, 1])[:-1]
    long = edges_s[1:, 0] - reach_s > _GAP_S
    return np.stack([reach_s[long], edges_s[1:, 0][long]], axis=1)


def _without_short_intervals(test: Session, notes: list[str]) -> None:
    for direction, rows in test.intervals.items():
        lasts_s = [end - begin for begin, end, _ in rows]
        least_s = _SHORTEST * float(np.median(lasts_s)) if rows else 0.0
        kept = [row for row, last_s in zip(rows, lasts_s, strict=True) if last_s >= max(least_s, 1e-6)]
        note = "intervals that last less than a tenth of the usual time are left out"
        if len(kept) < len(rows) and note not in notes:
            notes.append(note)
        test.intervals[direction] = kept


def _scale_to_arrived(test: Session, notes: list[str]) -> None:
    """Multiply the rates of a UDP sender by the share that arrived; note what a receiver missed."""
    for direction in sorted(test.sent_by_udp):
        share, word = test.arrived.get(direction), f"{direction}link"
        if share is None:
            notes.append(f"doubt: the rates of the {word} are what UDP sent; how much arrived is not known")
        elif share < 1:
            notes.append(f"rates of the {word} are what UDP sent, times the {share:.4g} of it that arrived")
            test.intervals[direction] = [(b, e, rate * share) for b, e, rate in test.intervals[direction]]
    for direction, (lost, total) in sorted(test.missed.items()):
        if lost:
            notes.append(
                f"UDP lost {lost / total:.4g} of its datagrams on the {direction}link: this is taken for an"
                f" excess over the capacity, not for loss; if it is loss, add --{direction}-loss"
            )
