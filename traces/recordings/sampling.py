"""Parts of readers: times, order, gaps between samples, round trips and loss."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.numbers import NOTHING
from traces.recordings.gaps import gaps_after
from traces.recordings.recording import DELAYS, EPOCH, Floats, Recording

NOT_MEASURED = NOTHING | dict.fromkeys(
    (b"false", b"n/a", b"#n/a", b"n.a.", b"-", b"--", b"-nan"), float("nan")
)
"""Texts of a CSV field without a measurement, in lower case."""
_MOST_S = 1e10


def parse_unix_s(text: str, where: str, zone: tzinfo | None) -> float:
    """Parse a time in ISO 8601 as seconds since 1970.

    Args:
        text: the time.
        where: file and line, for error messages.
        zone: time zone of a time without one; None to reject it.

    Raises:
        TraceError: The text is not a time within the calendar, or has no time zone.
    """
    text = text.strip()
    plain = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text  # Python 3.10 does not accept Z
    try:
        moment = datetime.fromisoformat(plain)
        if moment.tzinfo is not None or zone is not None:
            return ((moment if moment.tzinfo else moment.replace(tzinfo=zone)) - EPOCH).total_seconds()
    except (ValueError, OverflowError):
        expected = "a time in ISO 8601 such as 2024-01-11T10:06:39Z"
        raise TraceError(f"{where}: expected {expected}; found {text[:40]!r}") from None
    raise TraceError(f"{where}: {text[:40]!r} has no time zone; set it with --zone, such as --zone UTC")


def from_epoch(name: str, seconds: float) -> datetime:
    """Return the UTC of a Unix time; `name` is the file's name in error messages."""
    try:
        return EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise TraceError(
            f"{name}: expected a time within the calendar; found {seconds:g} s since 1970"
        ) from None


def in_order(time: Floats, columns: dict[str, Floats], notes: list[str]) -> tuple[Floats, dict[str, Floats]]:
    """Sort rows by time, and keep the last of rows with the same time; both are noted."""
    if not (time[1:] > time[:-1]).all():
        order = np.argsort(time, kind="stable")
        moved = int((time[1:] < time[:-1]).sum())
        time, columns = time[order], {name: column[order] for name, column in columns.items()}
        last = np.append(time[1:] != time[:-1], True)
        if moved:
            notes.append(f"rows were out of order in {moved} places; they were sorted by time")
        if not last.all():
            notes.append(f"{int((~last).sum())} rows with the same time as the next one are left out")
            time, columns = time[last], {name: column[last] for name, column in columns.items()}
    return time, columns


def sampled(
    form: str,
    name: str,
    time_s: Floats,
    values: dict[str, Floats],
    notes: list[str],
    **more: Any,
) -> Recording:
    """Return a recording of samples at increasing times (of any origin), each valid until the next."""
    time_s = time_s - time_s[0]
    steps_s = np.diff(time_s)
    step_s = float(np.median(steps_s)) if steps_s.size else 1.0
    end_s = float(time_s[-1] + step_s)
    check_length(name, end_s)
    if steps_s.size and steps_s.max() - step_s > max(2 * step_s, 1.0):
        more["gaps_s"] = gaps_after(time_s, np.full(len(time_s), step_s))
    return Recording(form, name, time_s, end_s, values, notes=notes, **more)


def check_length(name: str, end_s: float) -> None:
    """Raise TraceError if a recording is too long to be one."""
    if not (np.isfinite(end_s) and end_s < _MOST_S):
        raise TraceError(f"{name}: the times cover {end_s:g} s; expected at most {_MOST_S:g}")


def halves(rtt_s: Floats, notes: list[str]) -> dict[str, Floats]:
    """Return half of each round trip as the one-way delays, with a note."""
    notes.append("only round trips were recorded: each one-way delay is half a round trip")
    return dict.fromkeys(DELAYS, rtt_s / 2)
