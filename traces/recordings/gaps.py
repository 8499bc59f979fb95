"""Times in which nothing was measured, and their treatment.

A reader only says where the gaps are. They are treated when the recording has been joined with others at the
same UTC, since cutting a gap out changes the times of everything after it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from traces.errors import TraceError
from traces.recordings.recording import Floats, Recording
from traces.recordings.rows import each_column, each_flag, with_rows_at


def gaps_after(time_s: Floats, lasts_s: Floats) -> Floats:
    """Return the gaps between the end of row i, after `lasts_s[i]`, and the next row; float64[m, 2]."""
    free_s = np.diff(time_s) - lasts_s[:-1]
    long = np.flatnonzero(free_s > np.maximum(2 * lasts_s[:-1], 1.0))
    return np.stack([time_s[long] + lasts_s[long], time_s[long + 1]], axis=1)


def with_gaps_treated(recording: Recording, treatment: str) -> Recording:
    """Hold the last values in the gaps, take the link down ("down"), or cut the gaps out ("close").

    Raises:
        TraceError: Nothing would be left.
    """
    gaps_s = _disjoint(recording.gaps_s, recording.end_s)
    if not len(gaps_s):
        return recording
    total_s = float((gaps_s[:, 1] - gaps_s[:, 0]).sum())
    count = "1 gap" if len(gaps_s) == 1 else f"{len(gaps_s)} gaps"
    note = f"{count}, {total_s:.6g} s in total, in which nothing was measured"
    if treatment == "hold":
        return _noted(recording, f"{note}: the last value is held (see --gaps)")
    recording = with_rows_at(recording, gaps_s.ravel())
    inside = np.searchsorted(gaps_s[:, 0], recording.time_s, side="right")
    in_gap = (inside > 0) & (recording.time_s < gaps_s[inside - 1, 1])
    if treatment == "close":
        note = f"{note}: cut out, so later UTC times are wrong by up to this much"
        return _noted(_without(recording, gaps_s, in_gap, total_s), note)
    down, up = recording.ups()
    new_down = down & ~in_gap
    new_up = new_down if up is down else up & ~in_gap
    return _noted(replace(recording, downlink_up=new_down, uplink_up=new_up), f"{note}: the link is down")


def _without(
    recording: Recording, gaps_s: Floats, in_gap: np.ndarray[tuple[int], np.dtype[np.bool_]], total_s: float
) -> Recording:
    if in_gap.all():
        raise TraceError("nothing is left without the gaps; use --gaps hold or --gaps down")
    kept = ~in_gap
    removed_s = np.append(0.0, np.cumsum(gaps_s[:, 1] - gaps_s[:, 0]))
    time_s = recording.time_s[kept]
    start_utc = recording.start_utc
    if in_gap[0] and start_utc is not None:
        start_utc += timedelta(seconds=float(gaps_s[0, 1]))
    return replace(
        recording,
        time_s=time_s - removed_s[np.searchsorted(gaps_s[:, 1], time_s, side="right")],
        end_s=recording.end_s - total_s,
        values=each_column(recording.values, lambda column: column[kept]),
        **each_flag(recording, lambda flag: flag[kept]),
        start_utc=start_utc,
    )


def _disjoint(gaps_s: Floats, end_s: float) -> Floats:
    """Return the gaps within 0 to `end_s`, in order of time, with those that touch merged."""
    gaps_s = np.clip(gaps_s[np.argsort(gaps_s[:, 0], kind="stable")], 0, end_s)
    gaps_s = gaps_s[gaps_s[:, 1] > gaps_s[:, 0]]
    if len(gaps_s) < 2:
        return gaps_s
    reach_s = np.maximum.accumulate(gaps_s[:, 1])
    firsts = np.flatnonzero(np.append(True, gaps_s[1:, 0] > reach_s[:-1]))
    return np.stack([gaps_s[firsts, 0], np.maximum.reduceat(gaps_s[:, 1], firsts)], axis=1)


def _noted(recording: Recording, note: str) -> Recording:
    return replace(recording, notes=[*recording.notes, note])
