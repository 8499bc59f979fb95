"""Output of `ping -D`: `[1700182800.410606] 64 bytes from ADDRESS: icmp_seq=1 ttl=63 time=60.6 ms`.

The timestamp is that of the reply's arrival. icmp_seq has 16 bits and wraps around; a number without a reply
is a loss. All other lines (the first line, errors, statistics) are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, blocks_of, plain_table
from traces.recordings.recording import (
    Assumptions,
    Recording,
    from_epoch,
    halves,
    in_order,
    sampled,
)

_REPLY = re.compile(
    rb"\[(\d{1,12}(?:\.\d{1,9})?)\] \d+ bytes from .*icmp_seq=(\d{1,5}) .*time=(\d{1,7}(?:\.\d{1,6})?) ms"
)
_UNSTAMPED = re.compile(rb"\d+ bytes from .*icmp_seq=\d+ .*time=[\d.]+ ms")
_EPOCH_START, _EPOCH_END = 0.28e9, 9.2e9
_WRAP = 65536
_SHAPE = re.compile(rb"\[[\d.]+(\] \d+ bytes from [^\n]*?icmp_seq=)\d+( [^\n]*?time=)[\d.]+( ms[^\n]*)")
_BLOCK_BYTES, _PART_BYTES = 32 << 20, 1 << 20
_PIECE_BYTES = 1 << 18  # small enough for the processor's cache
_LONGEST_LINE = 400


def sniff(head: bytes) -> bool:
    """Tell whether the beginning has a reply in the output of ping, with or without -D."""
    return any(_REPLY.match(line) or _UNSTAMPED.match(line) for line in head.split(b"\n")[:50])


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the replies in the output of `ping -D`.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    parts = list(_parts(data, 0, len(data), min(_BLOCK_BYTES, max(_PART_BYTES, len(data) // 16))))
    stamp_s, sequence, rtt_ms = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not stamp_s.size:
        raise TraceError(f"{name}, {_first_other_line(data)}")
    good = (stamp_s > _EPOCH_START) & (stamp_s < _EPOCH_END)
    if not good.all():
        bad = stamp_s[int(np.argmin(good))]
        line = data.count(b"\n", 0, max(data.find(b"[%d" % int(bad)), 0)) + 1
        raise TraceError(
            f"{name}, line {line}: expected [seconds since 1970], as ping -D prints; found {bad:g}"
        )
    notes: list[str] = []
    number = unwrapped(sequence)
    sent_s = stamp_s - rtt_ms / 1e3
    rtt_s = rtt_ms / 1e3
    if not (number[1:] > number[:-1]).all():
        first = np.sort(np.unique(number, return_index=True)[1])
        if len(first) < len(number):
            notes.append(f"{len(number) - len(first)} duplicate replies were ignored")
        sent_s, rtt_s, number = sent_s[first], rtt_s[first], number[first]
    sent_s, columns = in_order(sent_s, {"rtt": rtt_s, "number": number}, notes)
    values = halves(columns["rtt"], notes)
    loss = _loss(columns["number"], sent_s, assumptions)
    notes.append(
        f"loss is the share of icmp_seq without a reply within {assumptions.loss_window_s:g} s,"
        " divided between both directions"
    )
    values |= {"down_loss": loss, "up_loss": loss}
    start_utc = from_epoch(name, float(sent_s[0]))
    return sampled("ping", name, sent_s, values, assumptions, notes, start_utc=start_utc)


def unwrapped(sequence: Floats) -> Floats:
    """Return sequence numbers that continue where 16 bits wrap around; a late reply goes back a little."""
    steps = np.diff(sequence, prepend=sequence[:1])
    steps = (steps + _WRAP / 2) % _WRAP - _WRAP / 2
    return np.asarray(np.cumsum(steps) + sequence[0])


def _loss(number: Floats, sent_s: Floats, assumptions: Assumptions) -> Floats:
    """Return the loss per direction, from the numbers that are missing in each window."""
    windows = np.floor((sent_s - sent_s[0]) / assumptions.loss_window_s)
    firsts = np.flatnonzero(np.append(True, windows[1:] != windows[:-1]))
    counts = np.diff(np.append(firsts, len(number)))
    step = np.maximum(np.diff(number, prepend=number[0] - 1), 0)
    sent = np.add.reduceat(step, firsts)
    lost = np.where(sent > 0, np.clip(1 - counts / np.maximum(sent, 1), 0, 1), 0.0)
    return np.repeat(1 - np.sqrt(1 - lost), counts)


def _parts(data: bytes, begin: int, end: int, size: int) -> Iterator[list[Floats]]:
    """Yield timestamp, icmp_seq and time of replies: at once if all lines are alike, else line by line."""
    for first, last in blocks_of(data, begin, end, size):
        block = data[first:last]
        table = _alike(block)
        if table is not None:
            yield table
        elif size > _PART_BYTES:
            yield from _parts(data, first, last, _PART_BYTES)
        else:
            replies = (_REPLY.match(line) for line in block.split(b"\n") if len(line) < _LONGEST_LINE)
            rows = [tuple(map(float, reply.groups())) for reply in replies if reply]
            yield list(np.array(rows, dtype=np.float64).reshape(-1, 3).T)


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


def _first_other_line(data: bytes) -> str:
    for number, line in enumerate(data[: 1 << 16].split(b"\n"), start=1):
        if _UNSTAMPED.match(line):
            return f"line {number}: expected a timestamp before the reply; record with ping -D"
    return "line 1: expected a line like '[1700182800.41] 64 bytes from ...: icmp_seq=1 ttl=63 time=60.6 ms'"
