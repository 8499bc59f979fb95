"""Text of iperf3, of a client or a server, also with `--bidir`, `-P`, `-V`, `--timestamps` or `-f`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, lines_of, shown
from traces.recordings.calendar_times import MONTHS
from traces.recordings.iperf3_session import DIRECTIONS, Session

_ROW = re.compile(
    r"\[\s*(?P<id>\d+|SUM)\](?:\[(?P<role>[TR]X-[CS])\])?\s+(?P<begin>\d+\.\d+)-(?P<end>\d+\.\d+)\s+sec\s+"
    r"[\d.]+ [KMGT]?Bytes\s+(?P<rate>[\d.]+) (?P<unit>[KMGT]?)(?P<kind>bits|Bytes)/sec(?P<rest>.*)"
)
_SENDS = re.compile(r"\]\s*Interval\s+Transfer\s+(?:Bitrate|Bandwidth)\s+(?:Retr|Total Datagrams)")
_HEADING = re.compile(r"\[ ID\](?:\[Role\])? Interval\s+Transfer\s+(?:Bitrate|Bandwidth)")
_OTHER_IPERF = (b"Client connecting to", b"Server listening on TCP", b"Server listening on UDP")
_ERROR = re.compile(r"iperf3: (?:error|interrupt) - (.*)")
_LOST = re.compile(r"(-?\d+)/(\d+) \(")
_TIME = re.compile(r"Time: \w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC)")
_BITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BYTES = {"": 8.0, "K": 8 * 2.0**10, "M": 8 * 2.0**20, "G": 8 * 2.0**30, "T": 8 * 2.0**40}


_Rates = dict[str, dict[tuple[float, float], float]]


@dataclass
class _Output:
    """The part of the text that belongs to one test, at one end of it."""

    is_server: bool = False
    session: Session = field(default_factory=Session)
    is_udp: bool = False
    is_reverse: bool = False
    sends: bool | None = None
    sums: _Rates = field(default_factory=lambda: {way: {} for way in DIRECTIONS})
    streams: _Rates = field(default_factory=lambda: {way: {} for way in DIRECTIONS})

    def direction(self, role: str | None) -> str:
        """Return the direction of a row, by its role or else by the lines before it."""
        if role is not None:
            return "up" if role in ("TX-C", "RX-S") else "down"
        sends = self.is_reverse == self.is_server
        if self.is_server and self.sends is not None:
            sends = self.sends
        return "up" if sends != self.is_server else "down"

    def finished(self) -> Session:
        """Return the test, with the sums of parallel streams if iperf3 wrote them."""
        for way in DIRECTIONS:
            rates = self.sums[way] or self.streams[way]
            self.session.intervals[way] = [(begin, end, rate) for (begin, end), rate in sorted(rates.items())]
        return self.session


def sniff(head: bytes) -> bool:
    """Tell whether the beginning is text of iperf3, not of iperf 2."""
    if any(text in head for text in _OTHER_IPERF):
        return False
    text = head.decode("utf-8", "replace")
    return _HEADING.search(text) is not None or _ROW.search(text) is not None


def sessions(data: bytes, name: str) -> Iterator[Session]:
    """Yield each test.

    Raises:
        TraceError: A row cannot be read; the message names the line.
    """
    output, unix_s = _Output(), None
    client: _Output | None = None  # the client's end, while the server's output is read
    for number, line in lines_of(data):
        text = line[:LONGEST_LINE].decode("utf-8", "replace")
        is_client = "Connecting to host" in text
        if time := _TIME.search(text):
            unix_s = _unix_s(f"{name}, line {number}", time)
        elif text.strip() == "Server output:":
            client, output = output, _Output(is_server=True)
        elif is_client or ("Accepted connection from" in text and client is None):
            yield _whole(output, client)
            client, output = None, _Output(is_server=not is_client)
            output.session.unix_s, unix_s = unix_s, None
        else:
            _read_line(output, f"{name}, line {number}", text)
    yield _whole(output, client)


def _whole(output: _Output, client: _Output | None) -> Session:
    """Return the test of an output; of two ends, the client's with what the server received."""
    session = output.finished()
    if client is None:
        return session
    own = client.finished()
    own.replace_sent(session)
    return own


def _read_line(output: _Output, where: str, text: str) -> None:
    row = _ROW.search(text)
    if row is not None:
        _read_row(output, row)
        return
    output.is_reverse |= "Reverse mode, remote host" in text
    output.is_udp |= "Datagrams" in text or "protocol: UDP" in text
    if _HEADING.search(text):
        output.sends = _SENDS.search(text) is not None
    elif error := _ERROR.search(text):
        output.session.error = error[1].strip()
    elif " sec " in text and "/sec" in text:
        raise TraceError(f"{where}: expected an interval of iperf3; found {shown(text)}")


def _read_row(output: _Output, row: re.Match[str]) -> None:
    direction, rest = output.direction(row["role"]), row["rest"].rstrip()
    lost, total = map(int, found.groups()) if (found := _LOST.search(rest)) else (0, 0)
    if rest.endswith(("sender", "receiver")):
        if rest.endswith("receiver") and total and not output.is_server:
            output.session.arrived[direction] = 1 - max(lost, 0) / total  # at last that of all streams
        return
    span = (float(row["begin"]), float(row["end"]))
    if rest.endswith("(omitted)"):
        output.session.omitted.add(span)
        return
    factor = (_BITS if row["kind"] == "bits" else _BYTES)[row["unit"]]
    if row["id"] == "SUM":
        output.sums[direction][span] = float(row["rate"]) * factor
        return
    rates = output.streams[direction]
    rates[span] = rates.get(span, 0.0) + float(row["rate"]) * factor
    if found:
        output.session.add_missed(direction, max(lost, 0), total)
    elif output.is_udp:
        output.session.sent_by_udp.add(direction)


def _unix_s(where: str, time: re.Match[str]) -> float:
    day, month, year, hour, minute, second = time.groups()
    try:
        date = int(year), MONTHS.index(month.lower()) + 1, int(day)
        moment = datetime(*date, int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except ValueError:
        raise TraceError(f"{where}: expected a time; found {time[0]!r}") from None
    return moment.timestamp()
