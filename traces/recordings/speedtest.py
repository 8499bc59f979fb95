"""Results of speed tests: Ookla's `speedtest`, the Python `speedtest-cli`, and `librespeed-cli`; CSV or JSON.

    speedtest -f csv, tsv   header or not, rates in bytes per second, no time: `--interval` between two rows,
                            or a first column with the time, as scripts write it
    speedtest -f json       `bandwidth` in bytes per second
    speedtest-cli --csv     rates in bit/s; also without a header
    speedtest-cli --json    rates in bit/s
    librespeed-cli          CSV and JSON, rates in Mbit/s

Each result holds until the next. The latency is a round trip on the idle link, and a loss is that of round
trips.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, Floats, number_or_none
from traces.recordings.csv_text import csv_fields, csv_rows
from traces.recordings.json_documents import json_documents, number_at
from traces.recordings.probes import each_way
from traces.recordings.recording import LOSSES, SATURATED, Assumptions, Recording
from traces.recordings.sampling import NOT_MEASURED, from_epoch, halves, in_order, parse_unix_s, sampled

_BYTE_S, _MBIT_S = 8.0, 1e6
_OOKLA = ["server name", "server id", "latency", "jitter", "packet loss", "download", "upload"]
_OOKLA += ["download bytes", "upload bytes", "share url"]
_CLI = ["server id", "sponsor", "server name", "timestamp", "distance", "ping", "download", "upload"]
_CLI += ["share", "ip address"]
_LIBRE = ["timestamp", "server name", "address", "ping", "jitter", "download", "upload", "share", "ip"]
_TIMES = ("timestamp", "date", "time", "datetime")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
_JSON_KEYS = (b'"bandwidth"', b'"ping"')


@dataclass(frozen=True)
class _Result:
    """One test: Unix time (NaN if unknown), rates, round trip, share of lost round trips (NaN if unknown)."""

    unix_s: float
    down_bit_s: float
    up_bit_s: float
    rtt_s: float
    loss: float


def sniff(head: bytes) -> bool:
    """Tell whether the beginning is that of the results of a speed test."""
    if head.lstrip()[:1] in (b"{", b"["):
        return b'"download"' in head and b'"upload"' in head and any(key in head for key in _JSON_KEYS)
    return _layout(_first(head)) is not None


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read results in order of time.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    is_json = data.lstrip()[:1] in (b"{", b"[")
    results = list((_json if is_json else _csv)(data, name, assumptions))
    if not results:
        raise TraceError(f"{name}, line 2: expected at least one result of a speed test; found none")
    table = np.array([(r.unix_s, r.down_bit_s, r.up_bit_s, r.rtt_s, r.loss) for r in results]).T
    notes = [SATURATED, "each speed test holds until the next one"]
    time_s, start_utc = table[0], None
    if np.isnan(time_s).any():
        time_s = _times_without_stamps(name, len(results), assumptions.interval_s, notes)
    elif assumptions.interval_s is not None:
        raise TraceError(f"{name}: --interval has no effect, as the results have times")
    else:
        start_utc = from_epoch(name, float(time_s.min()))
    keys = ("down_bit_s", "up_bit_s", "rtt", "loss")
    time_s, columns = in_order(time_s, dict(zip(keys, table[1:], strict=True)), notes)
    rtt_s, loss = columns.pop("rtt"), columns.pop("loss")
    if np.isfinite(rtt_s).any():
        columns |= halves(rtt_s, notes)
    if np.isfinite(loss).any():
        notes.append("loss is that of round trips, divided between both directions")
        columns |= dict.fromkeys(LOSSES, each_way(loss))
    if len(time_s) == 1:
        notes.append("the file has one test only, which makes a trace of 1 s: --loop lengthens it")
    return sampled("speedtest", name, time_s, columns, notes, start_utc=start_utc)


def _times_without_stamps(name: str, count: int, interval_s: float | None, notes: list[str]) -> Floats:
    if count > 1 and interval_s is None:
        raise TraceError(
            f"{name}: expected the time of each of the {count} tests; add --interval, the time between two"
        )
    if interval_s is not None:
        notes.append(f"the tests have no times: --interval {interval_s:g} s between two of them")
    return np.arange(count, dtype=np.float64) * (interval_s or 1.0)


def _first(head: bytes) -> list[str]:
    line = head.split(b"\n", 1)[0][:LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
    return csv_fields(line, _separator(line))


def _separator(line: str) -> str:
    return "\t" if "\t" in line else ","


def _layout(fields: list[str]) -> tuple[list[str], float, bool] | None:
    """Return the names of the columns, the unit of the rates in bit/s, and whether the line has the names."""
    names = [re.sub(r"^idle | \(bytes\)$", "", field.lower()) for field in fields]
    for known, unit in ((_OOKLA, _BYTE_S), (_CLI, 1.0), (_LIBRE, _MBIT_S)):
        wanted = {"latency", "packet loss", "download", "upload"} if known is _OOKLA else set(known[-8:])
        if wanted <= set(names):
            return names, unit, True
    if len(fields) >= len(_OOKLA) and fields[9].startswith(("http://", "https://")):
        return _OOKLA, _BYTE_S, False
    if len(fields) == len(_CLI) and _STAMP.match(fields[3]):
        return _CLI, 1.0, False
    if len(fields) == len(_LIBRE) and _STAMP.match(fields[0]) and fields[2].startswith("http"):
        return _LIBRE, _MBIT_S, False
    return None


def _csv(data: bytes, name: str, assumptions: Assumptions) -> Iterator[_Result]:
    layout = _layout(_first(data))
    if layout is None:
        raise TraceError(f"{name}, line 1: expected the columns of a speed test, such as download and upload")
    names, unit, has_names = layout
    places = {column: names.index(column) for column in dict.fromkeys(names)}
    time = next((places[key] for key in _TIMES if key in places), None)
    width = max(places[key] for key in ("download", "upload")) + 1
    separator = _separator(data.split(b"\n", 1)[0].decode("utf-8", "replace"))
    for number, fields in csv_rows(data, name, 0, separator):
        if has_names and [field.lower() for field in fields] == [field.lower() for field in _first(data)]:
            continue  # the names, which are repeated if files were joined
        where = f"{name}, line {number}"
        if len(fields) < width:
            raise TraceError(f"{where}: expected {len(names)} columns of a speed test; found {len(fields)}")
        yield _Result(
            math.nan if time is None else parse_unix_s(fields[time], where, assumptions.zone),
            _value(where, fields, places, ("download",)) * unit,
            _value(where, fields, places, ("upload",)) * unit,
            _value(where, fields, places, ("latency", "ping")) / 1e3,
            _share(where, _value(where, fields, places, ("packet loss",))),
        )


def _value(where: str, fields: list[str], places: dict[str, int], keys: tuple[str, ...]) -> float:
    """Return a number that is not negative; NaN if nothing was measured, or there is no such column."""
    key = next((key for key in keys if key in places and places[key] < len(fields)), None)
    if key is None:
        return math.nan
    value = number_or_none(fields[places[key]].encode(), NOT_MEASURED)
    if value is None or value < 0:
        raise TraceError(f"{where}: expected a number for {key}; found {fields[places[key]][:40]!r}")
    return value


def _share(where: str, percent: float) -> float:
    if percent > 100:
        raise TraceError(f"{where}: expected a packet loss from 0 to 100 %; found {percent:g}")
    return percent / 100


def _json(data: bytes, name: str, assumptions: Assumptions) -> Iterator[_Result]:
    for where, record in json_documents(data, name):
        if not isinstance(record, dict):
            raise TraceError(f"{where}: expected the object of a speed test; found {str(record)[:40]!r}")
        if record.get("type", "result") != "result":
            continue  # progress and messages of Ookla's -f jsonl
        stamp = record.get("timestamp")
        unix_s = math.nan if stamp is None else parse_unix_s(str(stamp), where, assumptions.zone)
        down, up, rtt_ms = (_json_number(record, key) for key in ("download", "upload", "ping"))
        unit = _unit_of(record)
        if not (down >= 0 or up >= 0):
            raise TraceError(f"{where}: expected 'download' and 'upload' of a speed test; found no rates")
        loss = _share(where, number_at(record, "packetLoss"))
        yield _Result(unix_s, down * unit, up * unit, rtt_ms / 1e3, loss)


def _json_number(record: dict[str, Any], key: str) -> float:
    if isinstance(record.get(key), dict):
        return number_at(record, key, "latency" if key == "ping" else "bandwidth")
    return number_at(record, key)


def _unit_of(record: dict[str, Any]) -> float:
    """Return the unit of the rates in bit/s: each program has its own."""
    if isinstance(record.get("download"), dict):
        return _BYTE_S
    return _MBIT_S if "jitter" in record else 1.0  # only librespeed-cli has it at this level
