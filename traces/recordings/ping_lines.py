"""The lines about probes in the output of ping: replies, probes without an answer, and errors.

    64 bytes from ADDRESS: icmp_seq=1 ttl=63 time=60.6 ms       iputils, macOS, toybox; other languages
    64 bytes from ADDRESS: seq=1 ttl=63 time=60.6 ms            busybox
    no answer yet for icmp_seq=2                                iputils, with -O
    Request timeout for icmp_seq 2                              macOS, BSD
    From ADDRESS icmp_seq=3 Destination Host Unreachable        iputils

A timestamp may stand before each line (see `traces.recordings.ping_stamps`). The first line of a run
(`PING ...`) tells with which number it begins: 1 with iputils, 0 with others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import tzinfo

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, blocks_of, lines_of, plain_table, shown
from traces.recordings.ping_stamps import Stamps

_STAMPED = re.compile(
    rb"\[(\d{1,12}(?:\.\d{1,9})?)\] \d+ bytes from (.*?)[:,]? icmp_seq=(\d{1,5}) .*"
    rb"time=(\d{1,7}(?:\.\d{1,6})?) ms"
)
_REPLY = re.compile(
    rb"(.*?)\b\d+ [Bb]ytes \S+ (.*?)[:,]? (?:icmp_)?seq=(\d{1,5})\b.*?=(\d{1,7}(?:\.\d{1,6})?) ms"
)
_OTHER = re.compile(
    rb"(.*?)(?:(no answer yet for icmp_seq=|Request timeout for icmp_seq )|From .*icmp_seq=)(\d{1,5})(?!\d)"
)
_STAMP = re.compile(rb"\[(\d{1,12}(?:\.\d{1,9})?)\] ")
_HEADER = re.compile(rb"(?:.*[\s\]:])?PING\d? .*?(bytes of data|data bytes|$)")
_SUMMARY = re.compile(rb"(?:.*[\s\]:])?(\d{1,9}) packets transmitted, .*?(?:, time (\d{1,12})ms)?\s*$")
_SHAPE = re.compile(rb"\[[\d.]+(\] \d+ bytes from [^\n]*?icmp_seq=)\d+( [^\n]*?time=)[\d.]+( ms[^\n]*)")
_BLOCK_BYTES, _PART_BYTES = 32 << 20, 1 << 20
_PIECE_BYTES = 1 << 18  # small enough for the processor's cache
_LONGEST_LINE = 400
NO_ANSWER, ERROR = -1.0, -2.0  # in place of a round trip


@dataclass(frozen=True)
class Lines:
    """Lines about probes, in the order of the file: float64[n] each.

    Args:
        stamp_s: timestamps; NaN if the file has none.
        sequence: icmp_seq.
        rtt_ms: round trips; NO_ANSWER or ERROR for other lines.
        begins_here: indices before which a run of ping begins, and the number of its first probe.
        sent_by: for some indices, the number of probes that the run that ends there has sent.
        interval_s: for some of these indices, the mean interval of that run's probes.
        repeated: indices of replies that ping calls duplicates.
    """

    stamp_s: Floats
    sequence: Floats
    rtt_ms: Floats
    begins_here: tuple[tuple[int, int], ...] = ()
    sent_by: tuple[tuple[int, int], ...] = ()
    interval_s: tuple[tuple[int, float], ...] = ()
    repeated: tuple[int, ...] = ()


def sniff(head: bytes) -> bool:
    """Tell whether the beginning has a reply in the output of ping."""
    return any(_REPLY.match(line) for line in head.split(b"\n") if len(line) < _LONGEST_LINE)


def lines_of_ping(data: bytes, name: str, zone: tzinfo | None) -> tuple[Lines, Stamps | None]:
    """Return the lines about probes, and their timestamps; None for those of `ping -D`.

    Raises:
        TraceError: A timestamp is invalid, or some lines have none.
    """
    begin = data[: 4 * _PART_BYTES].split(b"\n")
    if not any(_STAMPED.match(line) for line in begin if len(line) < _LONGEST_LINE):
        return _any_lines(data, name, zone)
    size = min(_BLOCK_BYTES, max(_PART_BYTES, len(data) // 16))
    return _joined(list(_parts(data, name, 0, len(data), size))), None


def _joined(parts: list[Lines]) -> Lines:
    starts = np.cumsum([0, *(len(part.stamp_s) for part in parts)]).tolist()
    pairs = list(zip(starts, parts, strict=False))
    return Lines(
        np.concatenate([part.stamp_s for part in parts]),
        np.concatenate([part.sequence for part in parts]),
        np.concatenate([part.rtt_ms for part in parts]),
        tuple((start + row, number) for start, part in pairs for row, number in part.begins_here),
        tuple((start + row, count) for start, part in pairs for row, count in part.sent_by),
    )


def _parts(data: bytes, name: str, begin: int, end: int, size: int) -> Iterator[Lines]:
    """Yield the lines of ping -D: at once if all are replies of one shape, else line by line."""
    for first, last in blocks_of(data, begin, end, size):
        block = data[first:last]
        table = _alike(block)
        if table is not None:
            yield Lines(table[0], table[1], table[2])
        elif size > _PART_BYTES:
            yield from _parts(data, name, first, last, _PART_BYTES)
        else:
            yield _stamped_lines(block, name, data.count(b"\n", 0, first) + 1)


def _stamped_lines(block: bytes, name: str, first_line: int) -> Lines:
    table = _Table()
    for number, line in enumerate(block.split(b"\n"), start=first_line):
        if len(line) >= _LONGEST_LINE:
            continue
        if reply := _STAMPED.match(line):
            table.add_reply(f"{name}, line {number}", float(reply[1]), reply)
        elif (other := _OTHER.match(line)) and (stamp := _STAMP.fullmatch(other[1])):
            table.add(float(stamp[1]), other[3], NO_ANSWER if other[2] else ERROR)
        elif other or _REPLY.match(line):
            raise TraceError(
                f"{name}, line {number}: expected a timestamp, as in other lines; found {shown(line)}"
            )
        else:
            table.add_other(line)
    return table.lines()


def _any_lines(data: bytes, name: str, zone: tzinfo | None) -> tuple[Lines, Stamps]:
    stamps, table = Stamps(zone), _Table()
    for number, line in lines_of(data):
        if len(line) >= _LONGEST_LINE:
            continue
        reply = _REPLY.match(line)
        found = reply or _OTHER.match(line)
        if found is None:
            table.add_other(line)
            continue
        stamps.add(f"{name}, line {number}", found[1].decode("utf-8", "replace"))
        if reply:
            if b"DUP!" in line:
                table.repeated.append(len(table.rows))
            table.add_reply(f"{name}, line {number}", math.nan, reply)
        else:
            table.add(math.nan, found[3], NO_ANSWER if found[2] else ERROR)
    return replace(table.lines(), stamp_s=stamps.seconds()), stamps


class _Table:
    """Rows of lines, and the lines between them."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []
        self.repeated: list[int] = []
        self._host: bytes | None = None
        self._begins: list[tuple[int, int]] = []
        self._sent_by: list[tuple[int, int]] = []
        self._interval_s: list[tuple[int, float]] = []

    def add(self, stamp_s: float, sequence: bytes, rtt_ms: float) -> None:
        self.rows.append((stamp_s, float(sequence), rtt_ms))

    def add_reply(self, where: str, stamp_s: float, reply: re.Match[bytes]) -> None:
        """Add a reply, whose second group is the host.

        Raises:
            TraceError: It came from another host than those before it in this run.
        """
        if self._host is None:
            self._host = reply[2]
        elif self._host != reply[2]:
            raise TraceError(
                f"{where}: expected replies of {shown(self._host)} only; found {shown(reply[2])}"
            )
        self.add(stamp_s, reply[3], float(reply[4]))

    def add_other(self, line: bytes) -> None:
        if header := _HEADER.match(line):
            self._host = None
            self._begins.append((len(self.rows), 0 if header[1] == b"data bytes" else 1))
        elif summary := _SUMMARY.match(line):
            self._host = None
            count = int(summary[1])
            self._sent_by.append((len(self.rows), count))
            if summary[2] and count > 1:
                self._interval_s.append((len(self.rows), int(summary[2]) / 1e3 / (count - 1)))

    def lines(self) -> Lines:
        table = np.array(self.rows, dtype=np.float64).reshape(-1, 3).T
        return Lines(
            table[0],
            table[1],
            table[2],
            tuple(self._begins),
            tuple(self._sent_by),
            tuple(self._interval_s),
            tuple(self.repeated),
        )


def _alike(block: bytes) -> list[Floats] | None:
    """Parse replies that differ from the first only in their three numbers; None if there are others."""
    first = block[:_LONGEST_LINE].split(b"\n", 1)[0]
    shape = _SHAPE.fullmatch(first) if len(first) < _LONGEST_LINE else None
    if shape is None:
        return None
    before_sequence, before_time, tail = shape.groups()
    pieces = []
    for place in blocks_of(block, 0, len(block), _PIECE_BYTES):
        piece = block[slice(*place)].removesuffix(b"\n")
        if not (piece.startswith(b"[") and piece.endswith(tail)):
            return None
        piece = piece[1 : len(piece) - len(tail)].replace(before_sequence, b",").replace(before_time, b",")
        pieces.append(piece.replace(tail + b"\n[", b"\n"))
    text = b"\n".join(pieces)
    return plain_table(text, 0, len(text), 3)
