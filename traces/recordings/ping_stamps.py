"""Timestamps before the lines of ping: those of `ping -D`, of `ping | ts`, and of scripts.

    [1700182800.410606]                     ping -D; also without brackets, as ts '%.s' or ts %s
    Nov 17 02:00:00                         ts; without a year, so the start is not known
    2023-11-17 02:00:00.410606              ts '%F %.T'; the zone is that of --zone
    2023-11-17T02:00:00+01:00               date -Is
    Fri Nov 17 02:00:00 CET 2023:           date; abbreviations other than UTC and GMT need --zone
    02:00:00.410606                         ts %.T, ping --apple-time; without a date

A stamp in whole seconds does not tell when within the second: `spread` places the probes by their numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats
from traces.recordings.calendar_times import MONTHS
from traces.recordings.recording import EPOCH

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?(?: ?(?P<half>[AP]M))?"
)
_ZONE = r"(?: ?(?P<zone>Z|[+-]\d\d:?\d\d|[A-Z]{2,5}))?"
_WEEKDAY = r"(?:[A-Z][a-z]{2},? )?"
_FORMS = [
    re.compile(r"(?P<unix>\d{9,11})(?:\.(?P<fraction>\d{1,9}))?"),
    re.compile(rf"(?P<year>\d{{4}})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)(?:[T_]|,? ){_CLOCK}{_ZONE}"),
    re.compile(rf"{_WEEKDAY}(?P<day>\d{{1,2}}) (?P<name>[A-Z][a-z]{{2}}) (?P<year>\d{{4}}) {_CLOCK}{_ZONE}"),
    re.compile(
        rf"{_WEEKDAY}(?P<name>[A-Z][a-z]{{2}}) +(?P<day>\d{{1,2}}) {_CLOCK}{_ZONE}(?: (?P<year>\d{{4}}))?"
    ),
    re.compile(_CLOCK),
]
_DAY_S = 86_400.0
_YEAR, _LEAP_YEAR = 2001, 2000  # in place of one that is not in the file
_PAIRS = 60  # probes over which an interval is estimated from whole seconds


class Stamps:
    """The timestamps of a file's lines, which must be of one kind.

    Args:
        zone: time zone of stamps without one.
    """

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._found: list[tuple[str, re.Match[str] | None]] = []
        self._kind: str | None = None

    @property
    def kind(self) -> str:
        """The kind: "unix", "dated", "yearless", "daytime" or, without stamps, "none"."""
        return self._kind or "none"

    @property
    def first_line(self) -> str:
        """The file and the line of the first one."""
        return self._found[0][0] if self._found else ""

    @property
    def are_whole_seconds(self) -> bool:
        """Whether no stamp has a fraction of a second."""
        return self.kind != "none" and all(
            found is None or found["fraction"] is None for _, found in self._found
        )

    def add(self, where: str, text: str) -> None:
        """Add the text before a line.

        Raises:
            TraceError: It is no time, or of another kind than those before it.
        """
        text = text.strip().strip("[]:|, \t").strip()
        found = next((match for form in _FORMS if (match := form.fullmatch(text))), None) if text else None
        if text and found is None:
            raise TraceError(f"{where}: expected a time before the line of ping; found {text[:40]!r}")
        kind = _kind_of(found)
        if self._kind not in (None, kind):
            missing = "" if kind != "none" else ", as in the lines before it"
            raise TraceError(
                f"{where}: expected a timestamp of one kind before each line{missing}; found {text[:40]!r}"
            )
        self._kind = kind
        self._found.append((where, found))

    def seconds(self) -> Floats:
        """Return the times in s, since 1970 if `kind` is "unix" or "dated"; NaN without stamps.

        Raises:
            TraceError: A time is not within the calendar, or has no time zone.
        """
        if self.kind == "none":
            return np.full(len(self._found), np.nan)
        leap = any(found["name"] == "Feb" and int(found["day"]) == 29 for found in self._named())
        year = _LEAP_YEAR if leap else _YEAR
        times_s = np.array([self._second(where, found, year) for where, found in self._found if found])
        if self.kind in ("daytime", "yearless") and len(times_s):
            period_s = _DAY_S if self.kind == "daytime" else (365 + leap) * _DAY_S
            times_s += period_s * np.cumsum(np.diff(times_s, prepend=times_s[:1]) < -period_s / 2)
        return times_s

    def _named(self) -> list[re.Match[str]]:
        """Return stamps with the name of a month and without a year."""
        return [found for _, found in self._found if found and self.kind == "yearless"]

    def _second(self, where: str, found: re.Match[str], year: int) -> float:
        parts = found.groupdict()
        fraction = float(f"0.{parts.get('fraction') or 0}")
        if "unix" in parts:
            return float(found["unix"]) + fraction
        hour = int(found["hour"])
        if parts["half"]:
            hour = hour % 12 + (12 if parts["half"] == "PM" else 0)
        clock_s = hour * 3600 + int(found["minute"]) * 60 + int(found["second"]) + fraction
        if self.kind == "daytime":
            return clock_s
        try:
            month = MONTHS.index(parts["name"].lower()) + 1 if parts.get("name") else int(found["month"])
            day = datetime(int(parts["year"] or year), month, int(found["day"]), tzinfo=timezone.utc)
        except ValueError:
            raise TraceError(f"{where}: expected a day of the calendar; found {found[0]!r}") from None
        since_s = (day - EPOCH).total_seconds() + clock_s
        return since_s if self.kind == "yearless" else since_s - self._offset_s(where, found)

    def _offset_s(self, where: str, found: re.Match[str]) -> float:
        zone = found["zone"]
        if zone in ("Z", "UTC", "GMT"):
            return 0.0
        if zone and zone[0] in "+-":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            return offset.total_seconds() * (-1 if zone[0] == "-" else 1)
        if self._zone is None:
            raise TraceError(
                f"{where}: {found[0]!r} has no time zone; set it with --zone, such as --zone UTC"
            )
        return (self._zone.utcoffset(None) or timedelta(0)).total_seconds()


def _kind_of(found: re.Match[str] | None) -> str:
    if found is None:
        return "none"
    parts = found.groupdict()
    if "unix" in parts:
        return "unix"
    if "year" not in parts:
        return "daytime"
    return "dated" if parts["year"] else "yearless"


def likely_interval_s(number: Floats, stamp_s: Floats) -> float | None:
    """Return the simplest interval of probes that fits stamps in whole seconds; None if none can be told."""
    step = min(_PAIRS, len(number) - 1)
    if step < 1:
        return None
    counts, times_s = number[step:] - number[:-step], stamp_s[step:] - stamp_s[:-step]
    good = (counts > 0) & (times_s >= 0)
    if not good.any():
        return None
    count = float(np.median(counts[good]))
    interval_s = float(np.median(times_s[good] / counts[good]))
    for digits in range(4):
        simple_s = round(interval_s, digits)
        if simple_s > 0 and abs(simple_s - interval_s) <= 1 / count:
            return simple_s
    return interval_s if interval_s > 0 else None


def spread(number: Floats, stamp_s: Floats, delay_s: Floats, interval_s: float) -> Floats:
    """Return times within the seconds of the stamps, at which lines with these numbers came.

    Probes are sent at a constant interval as long as the stamps allow it.

    Args:
        number: number of each probe.
        stamp_s: whole second of each line.
        delay_s: time from the sending of the probe to the line.
        interval_s: the interval.
    """
    order = np.argsort(number, kind="stable")
    earliest_s = (stamp_s - delay_s)[order].tolist()
    steps_s = (np.diff(number[order]) * interval_s).tolist()
    # Forward, and then backward with the phase that is known at the end.
    sent_s = list(
        itertools.accumulate(zip(earliest_s[1:], steps_s, strict=True), _next, initial=earliest_s[0] + 0.5)
    )
    sent_s = list(
        itertools.accumulate(
            zip(earliest_s[-2::-1], [-step for step in reversed(steps_s)], strict=True),
            _next,
            initial=sent_s[-1],
        )
    )[::-1]
    times_s = np.empty(len(number))
    times_s[order] = np.array(sent_s) + delay_s[order]
    return times_s


def _next(before_s: float, bounds: Sequence[float] | tuple[float, float]) -> float:
    earliest_s, step_s = bounds
    return min(max(before_s + step_s, earliest_s), earliest_s + 1 - 1e-6)
