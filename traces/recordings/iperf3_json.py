"""JSON of iperf3: one document per test (`-J`), or one line per event (`--json-stream`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from traces.errors import TraceError
from traces.recordings.iperf3_session import Session
from traces.recordings.json_documents import json_documents, number_at

_KIND = "event"  # key of the lines of --json-stream
_SUMS = ("sum", "sum_bidir_reverse")


def sessions(data: bytes, name: str) -> Iterator[Session]:
    """Yield each test.

    Raises:
        TraceError: The file is not JSON of iperf3; the message names the line and what was expected.
    """
    streamed: dict[str, Any] = {}
    for where, document in json_documents(data, name):
        if not isinstance(document, dict):
            raise TraceError(f"{where}: expected an object of iperf3; found {str(document)[:40]!r}")
        says = document.get(_KIND)
        if says is None:
            yield _session(where, document)
            continue
        if says == "start" and streamed:
            yield _session(where, streamed)
            streamed = {}
        if says == "interval":
            streamed.setdefault("intervals", []).append(document.get("data"))
        else:
            streamed[str(says)] = document.get("data")
    if streamed:
        yield _session(name, streamed)


def _session(where: str, document: dict[str, Any]) -> Session:
    start, end = _object(document, "start"), _object(document, "end")
    settings = _object(start, "test_start")
    is_server = "connecting_to" not in start
    is_udp = str(settings.get("protocol", "")).upper() == "UDP"
    # Old versions do not say which sum is that of the sender.
    sends_first = (number_at(settings, "reverse") == 1) == is_server
    unix_s = number_at(start, "timestamp", "timesecs")
    session = Session(None if math.isnan(unix_s) else unix_s, error=str(document.get("error") or ""))
    for interval in document.get("intervals") or []:
        for key in _SUMS:
            part = _object(interval, key) if isinstance(interval, dict) else {}
            if not part:
                continue
            sends = bool(part.get("sender", sends_first == (key == "sum")))
            direction = "up" if sends != is_server else "down"
            _add(session, where, part, direction)
            if is_udp and sends:
                session.sent_by_udp.add(direction)
                lost, total = (number_at(end, key, count) for count in ("lost_packets", "packets"))
                if not is_server and total > 0 and 0 <= lost <= total:  # what the server said at the end
                    session.arrived[direction] = 1 - lost / total
    theirs = _object(document, "server_output_json")
    if theirs:
        session.replace_sent(_session(where, theirs))
    return session


def _add(session: Session, where: str, part: dict[str, Any], direction: str) -> None:
    begin_s, end_s, rate_bit_s = (number_at(part, key) for key in ("start", "end", "bits_per_second"))
    if part.get("omitted") is True:
        session.omitted.add((begin_s, end_s))
        return
    if not (0 <= begin_s <= end_s and rate_bit_s >= 0):
        raise TraceError(f"{where}: expected start, end and bits_per_second; found {str(part)[:60]!r}")
    session.intervals[direction].append((begin_s, end_s, rate_bit_s))
    lost, total = number_at(part, "lost_packets"), number_at(part, "packets")
    if lost >= 0 and total > 0:
        session.add_missed(direction, lost, total)


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}
