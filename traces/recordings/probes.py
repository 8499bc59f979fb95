"""Probes that were not answered: loss where they were sent, and outages where no probe came back.

A run of unanswered probes that lasts long enough is an outage, in which the link is down. All others count as
loss within the window of time in which they were sent. Probes of an outage count in no window, so that the
second after an outage does not inherit its loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from traces.recordings.recording import Bools, Floats
from traces.recordings.rows import merged_times, rows_at

_RESOLUTION_S = 1e-6  # of float64 seconds since 1970, with a margin


@dataclass(frozen=True)
class Unanswered:
    """Series of unanswered probes at a constant interval, in order of time; float64[n] each.

    Args:
        first_s: time at which the first probe of the series was sent.
        step_s: interval of its probes.
        count: number of its probes.
        run: number of the run of unanswered probes to which the series belongs; increasing.
    """

    first_s: Floats
    step_s: Floats
    count: Floats
    run: Floats

    def picked(self, which: Bools) -> Unanswered:
        """Return some of the series."""
        return Unanswered(*(column[which] for column in (self.first_s, self.step_s, self.count, self.run)))


@dataclass(frozen=True)
class ProbedLink:
    """The result of probes that were sent at known times; float64[n] and bool[n] with rows at `time_s`.

    Args:
        time_s: times of the rows: those of the answered probes, and changes of loss and outages.
        answered: index of the answered probe whose round trip is valid.
        loss: share of the probes that were lost.
        up: False in an outage.
        outage_s: total time of outages.
    """

    time_s: Floats
    answered: np.ndarray[tuple[int], np.dtype[np.intp]]
    loss: Floats
    up: Bools | None
    outage_s: float


def probed_link(
    answered_s: Floats, unanswered: Unanswered, end_s: float, *, window_s: float, outage_s: float
) -> ProbedLink:
    """Return loss and outages over time.

    Args:
        answered_s: times at which the answered probes were sent, increasing, from 0 or above.
        unanswered: the others.
        end_s: end of the recording.
        window_s: interval over which lost probes are counted.
        outage_s: duration from which on a run of two or more unanswered probes is an outage.
    """
    if not len(unanswered.count):
        rows = np.arange(len(answered_s))
        return ProbedLink(answered_s, rows, np.broadcast_to(0.0, len(answered_s)), None, 0.0)
    in_outage, outages_s = _outages(answered_s, unanswered, end_s, outage_s)
    change_s, share = _shares(answered_s, unanswered.picked(~in_outage), window_s)
    time_s = merged_times(answered_s, np.concatenate([[0.0], change_s, outages_s.ravel()]))
    time_s = time_s[time_s < end_s]
    inside = np.searchsorted(outages_s[:, 0], time_s, side="right")
    down = (inside > 0) & (time_s < np.append(0.0, outages_s[:, 1])[inside])
    return ProbedLink(
        time_s,
        rows_at(answered_s, time_s),
        share[rows_at(change_s, time_s)],
        ~down,
        float((outages_s[:, 1] - outages_s[:, 0]).sum()),
    )


def _outages(
    answered_s: Floats, unanswered: Unanswered, end_s: float, outage_s: float
) -> tuple[Bools, Floats]:
    """Tell which series belong to outages; return begin and end of each outage, float64[m, 2]."""
    firsts = np.flatnonzero(np.append(True, unanswered.run[1:] != unanswered.run[:-1]))
    lasts = np.append(firsts[1:], len(unanswered.run)) - 1
    begin_s = unanswered.first_s[firsts]
    last_end_s = unanswered.first_s[lasts] + unanswered.step_s[lasts] * unanswered.count[lasts]
    after = np.searchsorted(answered_s, begin_s, side="right")
    next_s = np.append(answered_s, end_s)[after]
    # The link is down until the next answered probe was sent, unless probing had stopped before it.
    stop_s = np.where(next_s - last_end_s < 0.5 * unanswered.step_s[lasts], next_s, last_end_s)
    stop_s = np.minimum(stop_s, next_s)
    count = np.add.reduceat(unanswered.count, firsts)
    # A tolerance, since sums of intervals are not exact.
    long = (count >= 2) & (stop_s - begin_s >= outage_s * (1 - 1e-6))
    long &= stop_s > begin_s
    return np.repeat(long, lasts - firsts + 1), np.stack([begin_s[long], stop_s[long]], axis=1)


def _shares(answered_s: Floats, unanswered: Unanswered, window_s: float) -> tuple[Floats, Floats]:
    """Return the times at which the share of lost probes changes, and the shares; window by window."""
    windows = np.floor((answered_s + _RESOLUTION_S) / window_s)
    firsts = np.flatnonzero(np.append(True, windows[1:] != windows[:-1]))
    came = np.diff(np.append(firsts, len(windows)))
    # A series is cut at the windows' bounds.
    first_s = unanswered.first_s + _RESOLUTION_S
    low = np.floor(first_s / window_s)
    last_s = first_s + unanswered.step_s * (unanswered.count - 1)
    pieces = (np.floor(last_s / window_s) - low + 1).astype(np.int64)
    series = np.repeat(np.arange(len(low)), pieces)
    lost_windows = low[series] + np.arange(len(series)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin, end = (
        np.ceil((edge_s - first_s[series]) / unanswered.step_s[series])
        for edge_s in (lost_windows * window_s, (lost_windows + 1) * window_s)
    )
    lost = np.minimum(end, unanswered.count[series]) - np.maximum(begin, 0.0)
    every, index = np.unique(np.concatenate([windows[firsts], lost_windows]), return_inverse=True)
    sent_lost = np.bincount(index[len(firsts) :], np.maximum(lost, 0.0), len(every))
    sent = sent_lost + np.bincount(index[: len(firsts)], came, len(every))
    share = sent_lost / np.maximum(sent, 1.0)
    changed = np.append(True, share[1:] != share[:-1])
    return every[changed] * window_s, share[changed]


def each_way(share: Floats) -> Floats:
    """Return the loss of one direction from that of round trips, for two directions with the same loss."""
    return np.asarray(1 - np.sqrt(1 - share))


@dataclass(frozen=True)
class Outages:
    """Rows of probes within outages.

    Args:
        inside: bool[n], whether a probe belongs to an outage.
        first: index of the first probe of each outage.
        count: number of probes of each outage.
    """

    inside: Bools
    first: np.ndarray[tuple[int], np.dtype[np.intp]]
    count: np.ndarray[tuple[int], np.dtype[np.intp]]


def runs_of(lost: Bools, time_s: Floats, outage_s: float) -> Outages:
    """Find the runs of two or more lost probes that last at least `outage_s`, if each probe has a row."""
    edges = np.flatnonzero(np.diff(lost, prepend=False, append=False))
    first, end = edges[::2], edges[1::2]
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    lasts_s = np.append(time_s, time_s[-1] + step_s)[end] - time_s[first]
    long = (end - first >= 2) & (lasts_s >= outage_s * (1 - 1e-6))
    first, count = first[long], (end - first)[long]
    change = np.zeros(len(lost) + 1, dtype=np.int8)
    change[first], change[first + count] = 1, -1
    return Outages(np.cumsum(change[:-1]) > 0, first, count)


def inside_all(outages: Outages, lost: Bools) -> Bools:
    """Tell which probes belong to outages in which all probes are `lost`."""
    inside = np.zeros(len(lost), dtype=bool)
    if len(outages.first):
        lost_before = np.append(0, np.cumsum(lost))
        whole = lost_before[outages.first + outages.count] - lost_before[outages.first] == outages.count
        for first, count in zip(outages.first[whole].tolist(), outages.count[whole].tolist(), strict=True):
            inside[first : first + count] = True
    return inside


def shares_lost(lost: Bools, counted: Bools, time_s: Floats, window_s: float) -> Floats:
    """Return for each probe the share of lost ones among the counted probes in its window of time."""
    if not lost.any():
        return np.zeros(len(lost))
    windows = np.floor((time_s - time_s[0]) / window_s)
    firsts = np.flatnonzero(np.append(True, windows[1:] != windows[:-1]))
    sent = np.add.reduceat(counted.astype(np.float64), firsts)
    share = np.add.reduceat((lost & counted).astype(np.float64), firsts) / np.maximum(sent, 1.0)
    return np.repeat(share, np.diff(np.append(firsts, len(windows))))
