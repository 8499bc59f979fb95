"""CSV files of WetLinks (net_ping, net_iperf) and Starlink on the Road (iperf), recorded in Osnabrück.

Each row has the start and end of its measurement. Ping is in ms and % loss, iperf in bit/s. WetLinks writes
times in ISO 8601 with a time zone. Starlink on the Road writes them without one, so `--zone` is required.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, lines_of, number_or_none, shown
from traces.recordings.csv_text import csv_fields
from traces.recordings.gaps import gaps_after
from traces.recordings.recording import LOSSES, SATURATED, Assumptions, Recording
from traces.recordings.sampling import NOT_MEASURED, halves, in_order, parse_unix_s

_COMMON = {"timestamp_start", "timestamp_end", "ip_protocol"}
_PING = {"packet_loss", "ping_avg"}
_IPERF = {"download", "upload", "transport_protocol"}
_KINDS = ("site_name", "target", "server", "ip_protocol", "transport_protocol")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def sniff_wetlinks_ping(head: bytes) -> bool:
    """Tell whether the first line names WetLinks' ping columns."""
    return _names(head) >= _COMMON | _PING


def sniff_wetlinks_iperf(head: bytes) -> bool:
    """Tell whether the first line names WetLinks' iperf columns."""
    return _COMMON | _IPERF | {"site_name"} <= _names(head)


def sniff_road_iperf(head: bytes) -> bool:
    """Tell whether the first line names the iperf columns of Starlink on the Road."""
    return _names(head) >= _COMMON | _IPERF and "site_name" not in _names(head)


def read_wetlinks_ping(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read WetLinks' net_ping: average round trips and loss.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    recording, lasts_s = _read(data, name, assumptions, "wetlinks-ping", ("ping_avg", "packet_loss"))
    percent, rtt_ms = recording.values.pop("packet_loss"), recording.values.pop("ping_avg")
    if (np.nan_to_num(percent) > 100).any():
        raise TraceError(f"{name}: expected packet_loss from 0 to 100 %; found {np.nanmax(percent):g}")
    recording.notes.append("the loss of round trips is divided between both directions")
    recording.values |= halves(rtt_ms / 1e3, recording.notes)
    recording.values |= dict.fromkeys(LOSSES, 1 - np.sqrt(1 - percent / 100))
    recording.downlink_up = recording.uplink_up = ~(percent == 100)
    if not recording.uplink_up.all():
        recording.notes.append("rows with 100 % loss: the link is down")
    return replace(recording, gaps_s=gaps_after(recording.time_s, lasts_s))


def read_wetlinks_iperf(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read WetLinks' net_iperf: download and upload rates.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return _read_iperf(data, name, assumptions, "wetlinks-iperf")


def read_road_iperf(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read Starlink on the Road's iperf.csv: download and upload rates, times without a zone.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    return _read_iperf(data, name, assumptions, "road-iperf")


def _read_iperf(data: bytes, name: str, assumptions: Assumptions, form: str) -> Recording:
    recording, lasts_s = _read(data, name, assumptions, form, ("download", "upload"))
    values = recording.values
    recording.values = {"down_bit_s": values["download"], "up_bit_s": values["upload"]}
    recording.notes += [SATURATED, "rates are iperf's payload; the link carried a few per cent more"]
    return replace(recording, gaps_s=gaps_after(recording.time_s, lasts_s))


def _names(head: bytes) -> set[str]:
    line = head.split(b"\n", 1)[0].decode("utf-8", "replace")
    return {part.removesuffix("(%)") for part in csv_fields(line)}


def _read(
    data: bytes, name: str, assumptions: Assumptions, form: str, wanted: Sequence[str]
) -> tuple[Recording, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Read start, end and two columns; return the recording and the duration of each row."""
    lines = lines_of(data)
    heads = [part.strip().removesuffix("(%)") for part in _fields(next(lines, (1, b""))[1])]
    try:
        places = [heads.index(key) for key in ("timestamp_start", "timestamp_end", *wanted)]
    except ValueError:
        expected = ", ".join(("timestamp_start", "timestamp_end", *wanted))
        raise TraceError(f"{name}, line 1: expected column names with {expected}") from None
    kinds = _Kinds(heads, assumptions.station)
    numbers = array("d")
    for number, line in lines:
        if not line.strip():
            continue
        fields = _fields(line)
        if len(fields) != len(heads):
            raise TraceError(f"{name}, line {number}: expected {len(heads)} columns; found {shown(line)}")
        where = f"{name}, line {number}"
        if not kinds.count(fields):
            continue
        start_s, end_s = (parse_unix_s(fields[place], where, assumptions.zone) for place in places[:2])
        values = [number_or_none(fields[place].encode(), NOT_MEASURED) for place in places[2:]]
        if any(value is None or value < 0 for value in values):
            raise TraceError(f"{where}: expected {' and '.join(wanted)}, not negative; found {shown(line)}")
        if not 0 < end_s - start_s < 1e7:
            raise TraceError(f"{where}: expected timestamp_end after timestamp_start; found {shown(line)}")
        numbers.extend((start_s, end_s, *values))  # type: ignore[arg-type]  # None was rejected above
    kinds.check(name)
    recording, lasts_s = _recording(np.array(numbers).reshape(-1, 4), name, form, wanted, kinds.site)
    recording.notes += kinds.notes()
    return recording, lasts_s


class _Kinds:
    """What kinds of measurements the rows are of, such as the site and the protocol.

    Args:
        heads: names of the columns.
        station: the site that is asked for, if there is one.
    """

    def __init__(self, heads: list[str], station: str | None) -> None:
        self._places = {key: heads.index(key) for key in _KINDS if key in heads}
        self._station = station
        self._counts: dict[str, dict[str, int]] = {key: {} for key in self._places}
        self._others: set[str] = set()

    @property
    def site(self) -> str | None:
        """The site, if the file has it."""
        return next(iter(self._counts.get("site_name", {})), None)

    def count(self, fields: list[str]) -> bool:
        """Count a row; return False if it is of another site than the one that is asked for."""
        place = self._places.get("site_name")
        if place is not None and self._station and fields[place].lower() != self._station.lower():
            self._others.add(fields[place])
            return False
        for key, place in self._places.items():
            self._counts[key][fields[place]] = self._counts[key].get(fields[place], 0) + 1
        return True

    def check(self, name: str) -> None:
        """Raise TraceError if there is no row, or rows are of several sites."""
        if not any(self._counts.values()):
            there = f" of {self._station}; found those of {', '.join(sorted(self._others)[:6])}"
            where = f"{name}, line 2: expected at least one row of measurements"
            raise TraceError(where + (there if self._others else ""))
        sites = sorted(self._counts.get("site_name", {}))
        if len(sites) > 1:
            raise TraceError(
                f"{name}: expected one site; found {', '.join(sites[:6])}; choose with --station"
            )

    def notes(self) -> list[str]:
        """Return a note for each kind of which there are several."""
        return [
            f"doubt: rows of several kinds are mixed: {key} is "
            + ", ".join(f"{value} in {count} rows" for value, count in sorted(counts.items())[:6])
            for key, counts in self._counts.items()
            if len(counts) > 1
        ]


def _recording(
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    name: str,
    form: str,
    wanted: Sequence[str],
    station: str | None,
) -> tuple[Recording, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    notes: list[str] = []
    columns = dict(zip(("end", *wanted), table[:, 1:].T, strict=True))
    start_s, columns = in_order(table[:, 0], columns, notes)
    ends_s = columns.pop("end") - start_s[0]
    time_s = start_s - start_s[0]
    start_utc = _EPOCH + timedelta(seconds=float(start_s[0]))
    recording = Recording(
        form, name, time_s, float(ends_s[-1]), columns, start_utc=start_utc, station=station, notes=notes
    )
    return recording, ends_s - time_s


def _fields(line: bytes) -> list[str]:
    return csv_fields(line[:LONGEST_LINE].decode("utf-8", "replace"))
