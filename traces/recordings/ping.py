"""Output of `ping -D`: `[1700182800.410606] 64 bytes from ADDRESS: icmp_seq=1 ttl=63 time=60.6 ms`.

The timestamp is that of the reply's arrival. icmp_seq has 16 bits and wraps around; a number without a reply
is a loss. `ping -O` adds `[...] no answer yet for icmp_seq=2`, printed when the next probe is sent. Numbers
of errors ("Destination Host Unreachable") were sent too. The first line (`PING ...`) begins a run, whose
numbers start at 1, and the statistics say how many probes were sent, so that losses at either end are known.
Other lines are ignored.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats, blocks_of, plain_table
from traces.recordings.gaps import gaps_after
from traces.recordings.probes import Unanswered, each_way, probed_link
from traces.recordings.recording import DELAYS, LOSSES, Assumptions, Recording
from traces.recordings.sampling import check_length, from_epoch, halves, in_order

_REPLY = re.compile(
    rb"\[(\d{1,12}(?:\.\d{1,9})?)\] \d+ bytes from .*icmp_seq=(\d{1,5}) .*time=(\d{1,7}(?:\.\d{1,6})?) ms"
)
_OTHER = re.compile(rb"\[(\d{1,12}(?:\.\d{1,9})?)\] (?:(no answer yet) for |From .*)icmp_seq=(\d{1,5})(?!\d)")
_SUMMARY = re.compile(rb"(\d{1,9}) packets transmitted, ")
_UNSTAMPED = re.compile(rb"\d+ bytes from .*icmp_seq=\d+ .*time=[\d.]+ ms")
_EPOCH_START, _EPOCH_END = 0.28e9, 9.2e9
_WRAP = 65536
_SHAPE = re.compile(rb"\[[\d.]+(\] \d+ bytes from [^\n]*?icmp_seq=)\d+( [^\n]*?time=)[\d.]+( ms[^\n]*)")
_BLOCK_BYTES, _PART_BYTES = 32 << 20, 1 << 20
_PIECE_BYTES = 1 << 18  # small enough for the processor's cache
_LONGEST_LINE = 400
_SAMPLES = 10_000
_NO_ANSWER, _ERROR = -1.0, -2.0  # in place of a round trip
_USUAL_INTERVAL_S = 1.0  # that of ping without -i


def sniff(head: bytes) -> bool:
    """Tell whether the beginning has a reply in the output of ping, with or without -D."""
    return any(_REPLY.match(line) or _UNSTAMPED.match(line) for line in head.split(b"\n")[:50])


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the probes in the output of `ping -D`.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    runs = _runs(data, name)
    notes: list[str] = []
    for run in runs:
        notes += [note for note in run.notes if note not in notes]
    sent_s = np.concatenate([run.sent_s for run in runs]) if len(runs) > 1 else runs[0].sent_s
    rtt_s = np.concatenate([run.rtt_s for run in runs]) if len(runs) > 1 else runs[0].rtt_s
    if len(runs) > 1:
        notes.append(f"the file has {len(runs)} runs of ping")
    sent_s, columns = in_order(sent_s, {"rtt": rtt_s}, notes)
    spans_s = np.array(sorted((run.begin_s, run.end_s) for run in runs))
    origin_s, end_s = float(spans_s[0, 0]), float(spans_s[:, 1].max())
    check_length(name, end_s - origin_s)
    unanswered = _shifted(runs, origin_s)
    link = probed_link(
        sent_s - origin_s,
        unanswered,
        end_s - origin_s,
        window_s=assumptions.loss_window_s,
        outage_s=assumptions.outage_s,
    )
    values = halves(columns["rtt"], notes)
    if len(link.time_s) != len(sent_s):
        values = dict.fromkeys(DELAYS, values[DELAYS[0]][link.answered])
    values |= dict.fromkeys(LOSSES, each_way(link.loss) if len(unanswered.count) else link.loss)
    notes.append(
        f"loss is the share of icmp_seq without a reply within {assumptions.loss_window_s:g} s in which they"
        " were sent, divided between both directions"
    )
    if link.outage_s:
        notes.append(
            f"no probe was answered for {assumptions.outage_s:g} s or more, {link.outage_s:.6g} s in total:"
            " the link is down"
        )
    return Recording(
        "ping", name, link.time_s, end_s - origin_s, values, link.up, from_epoch(name, origin_s), notes=notes,
        gaps_s=_gaps(runs, spans_s - origin_s, origin_s),
    )  # fmt: skip


@dataclass(frozen=True)
class _Lines:
    """Lines about probes, in the order of the file: float64[n] each.

    Args:
        stamp_s: timestamps.
        sequence: icmp_seq.
        rtt_ms: round trips; _NO_ANSWER or _ERROR for other lines.
        begins_here: indices before which a run of ping begins.
        sent_by: for some indices, the number of probes that the run that ends there has sent.
    """

    stamp_s: Floats
    sequence: Floats
    rtt_ms: Floats
    begins_here: tuple[int, ...] = ()
    sent_by: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Run:
    """The probes of one run of ping; times in seconds since 1970."""

    sent_s: Floats
    rtt_s: Floats
    unanswered: Unanswered
    begin_s: float
    end_s: float
    gaps_s: Floats
    notes: tuple[str, ...]


def _runs(data: bytes, name: str) -> list[_Run]:
    """Return the runs in which at least one time is known.

    Raises:
        TraceError: There is no reply, or a timestamp is none of ping -D.
    """
    size = min(_BLOCK_BYTES, max(_PART_BYTES, len(data) // 16))
    parts = list(_parts(data, 0, len(data), size))
    lines = _joined(parts)
    if not (lines.rtt_ms >= 0).any():
        if lines.rtt_ms.size:
            raise TraceError(f"{name}, line 1: expected a reply; none of the probes was answered")
        raise TraceError(f"{name}, {_first_other_line(data)}")
    good = (lines.stamp_s > _EPOCH_START) & (lines.stamp_s < _EPOCH_END)
    if not good.all():
        bad = lines.stamp_s[int(np.argmin(good))]
        line = data.count(b"\n", 0, max(data.find(b"[%d" % int(bad)), 0)) + 1
        raise TraceError(
            f"{name}, line {line}: expected [seconds since 1970], as ping -D prints; found {bad:g}"
        )
    headers = set(lines.begins_here)
    bounds = {0, len(lines.stamp_s), *headers, *(row for row, _ in lines.sent_by), *_restarts(lines)}
    edges = sorted(bounds)
    sent_by = dict(lines.sent_by)
    runs = []
    for begin, end in itertools.pairwise(edges):
        rows = slice(begin, end)
        part = _Lines(lines.stamp_s[rows], lines.sequence[rows], lines.rtt_ms[rows])
        run = _run(part, has_header=begin in headers, transmitted=sent_by.get(end))
        if run is not None:
            runs.append(run)
    return runs


def _joined(parts: list[_Lines]) -> _Lines:
    starts = np.cumsum([0, *(len(part.stamp_s) for part in parts)]).tolist()
    return _Lines(
        np.concatenate([part.stamp_s for part in parts]),
        np.concatenate([part.sequence for part in parts]),
        np.concatenate([part.rtt_ms for part in parts]),
        tuple(start + row for start, part in zip(starts, parts, strict=False) for row in part.begins_here),
        tuple((start + r, n) for start, part in zip(starts, parts, strict=False) for r, n in part.sent_by),
    )


def _restarts(lines: _Lines) -> list[int]:
    """Return the indices at which the numbers start over although the time goes on."""
    rows = np.flatnonzero(lines.rtt_ms != _ERROR)
    sequence, stamp_s = lines.sequence[rows], lines.stamp_s[rows]
    backward = sequence[1:] <= sequence[:-1]
    if not backward.any():
        return []
    interval_s = _interval_s(sequence, stamp_s)
    sent_s = stamp_s - np.where(lines.rtt_ms[rows] < 0, interval_s, lines.rtt_ms[rows] / 1e3)
    before_s = np.maximum.accumulate(sent_s)
    step = (np.diff(sequence) + _WRAP / 2) % _WRAP - _WRAP / 2
    later_s = sent_s[1:] - before_s[:-1]
    restart = (step <= 0) & (later_s > max(0.5 * interval_s, 1e-3))
    restart |= (step > 10) & (later_s < 0.5 * step * interval_s)
    return [int(row) for row in rows[1:][backward & restart]]


def _interval_s(number: Floats, time_s: Floats) -> float:
    """Return the usual time between two probes."""
    pairs = np.arange(0, len(number) - 1, len(number) // _SAMPLES + 1)
    steps, times_s = number[pairs + 1] - number[pairs], time_s[pairs + 1] - time_s[pairs]
    good = (steps > 0) & (times_s > 0)
    if not good.any():
        return _USUAL_INTERVAL_S
    next_one = good & (steps == 1)
    good = next_one if next_one.any() else good
    return float(np.median(times_s[good] / steps[good]))


def _run(lines: _Lines, *, has_header: bool, transmitted: int | None) -> _Run | None:
    """Return one run of ping; None if it has no times."""
    number = unwrapped(lines.sequence)
    answered = lines.rtt_ms >= 0
    timed = lines.rtt_ms != _ERROR
    if not timed.any():
        return None
    notes = []
    came_back = slice(None) if answered.all() else answered  # a slice copies nothing
    rtt_s = lines.rtt_ms[came_back] / 1e3
    sent_s, replies = lines.stamp_s[came_back] - rtt_s, number[came_back]
    if not (replies[1:] > replies[:-1]).all():
        unique, first = np.unique(replies, return_index=True)
        if len(first) < len(replies):
            notes.append(f"{len(replies) - len(first)} duplicate replies were ignored")
        sent_s, rtt_s, replies = sent_s[first], rtt_s[first], unique
    interval_s = _interval_s(replies, sent_s) if len(replies) > 1 else _interval_s(number, lines.stamp_s)
    if timed.all() and answered.all():
        known, known_s, came = replies, sent_s, np.broadcast_to(True, len(replies))
    else:
        silent = np.flatnonzero(lines.rtt_ms == _NO_ANSWER)
        silent = silent[~np.isin(number[silent], replies)]
        known, first = np.unique(np.append(replies, number[silent]), return_index=True)
        known_s = np.append(sent_s, lines.stamp_s[silent] - interval_s)[first]
        came = np.append(np.ones(len(replies), bool), np.zeros(len(silent), bool))[first]
    leading, trailing = _beyond(lines, number, known, interval_s, has_header, transmitted)
    unanswered, gaps_s = _series(known, known_s, came, interval_s, leading, trailing)
    begin_s = float(known_s[0]) - leading * interval_s
    end_s = float(known_s[-1]) + (trailing + 1) * interval_s
    return _Run(sent_s, rtt_s, unanswered, begin_s, end_s, gaps_s, tuple(notes))


def _beyond(
    lines: _Lines,
    number: Floats,
    known: Floats,
    interval_s: float,
    has_header: bool,
    transmitted: int | None,
) -> tuple[int, int]:
    """Return how many probes were lost before the first and after the last one whose time is known."""
    first, last = float(number.min()), float(number.max())
    missing = None if transmitted is None else max(transmitted - int(last - first + 1), 0)
    leading = int(first) - 1 if has_header or missing is not None else 0
    if not 0 <= leading < _WRAP / 2 or (missing is not None and leading > missing):
        leading = 0
    trailing = 0 if missing is None else missing - leading
    in_flight = np.ceil(max(float(lines.rtt_ms.max()), 0.0) / 1e3 / interval_s)
    if trailing <= in_flight:
        trailing = 0  # these may have been on their way when ping was stopped
    return leading + int(known[0] - first), trailing + int(last - known[-1])


def _series(
    known: Floats, known_s: Floats, came: Floats, interval_s: float, leading: int, trailing: int
) -> tuple[Unanswered, Floats]:
    """Return the unanswered probes, and the gaps in which none was sent.

    Args:
        known: numbers of the probes whose time is known, increasing.
        known_s: times at which they were sent.
        came: whether they were answered.
        interval_s: the usual time between two probes.
        leading: number of unanswered probes before the first of them.
        trailing: number of unanswered probes after the last of them.
    """
    steps, times_s = np.diff(known), np.diff(known_s)
    between = np.flatnonzero(steps > 1)
    # Probes are not further apart than usual: what is left of the time is a gap.
    step_s = np.maximum(times_s / steps, 1e-9)
    step_s = np.where(step_s > 2 * interval_s, interval_s, step_s)
    lasts_s = np.append(step_s * steps, interval_s)
    gaps_s = gaps_after(known_s, np.where(np.append(steps, 1) > 1, lasts_s, interval_s))
    alone = np.flatnonzero(np.logical_not(came))
    first_s = [known_s[between] + step_s[between], known_s[alone], known_s[:1] - leading * interval_s]
    first_s.append(known_s[-1:] + interval_s)
    counts = [steps[between] - 1, np.ones(len(alone)), np.array([leading]), np.array([trailing])]
    all_steps_s = [step_s[between], np.full(len(alone), interval_s), np.full(2, interval_s)]
    # Between two answered probes is one run; their rank tells it.
    rank = np.cumsum(came)
    runs = [rank[between], rank[alone], np.zeros(1), rank[-1:]]
    where = [known[between] + 0.5, known[alone], np.array([-np.inf]), np.array([np.inf])]
    order = np.argsort(np.concatenate(where), kind="stable")
    columns = (np.concatenate(column)[order] for column in (first_s, all_steps_s, counts, runs))
    unanswered = Unanswered(*(column.astype(np.float64) for column in columns))
    return unanswered.picked(unanswered.count > 0), gaps_s


def _shifted(runs: list[_Run], origin_s: float) -> Unanswered:
    """Return the unanswered probes of all runs, in seconds from `origin_s`."""
    parts = []
    number = 0.0
    for run in runs:
        part = run.unanswered
        parts.append(replace(part, first_s=part.first_s - origin_s, run=part.run + number))
        number += len(run.sent_s) + 1
    return Unanswered(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("first_s", "step_s", "count", "run")
        )
    )


def _gaps(runs: list[_Run], spans_s: Floats, origin_s: float) -> Floats:
    """Return the gaps within the runs and between them."""
    reach_s = np.maximum.accumulate(spans_s[:, 1])[:-1]
    between = np.stack([reach_s, spans_s[1:, 0]], axis=1)
    between = between[between[:, 1] - between[:, 0] > 1.0]
    return np.concatenate([between, *(run.gaps_s - origin_s for run in runs)])


def unwrapped(sequence: Floats) -> Floats:
    """Return sequence numbers that continue where 16 bits wrap around; a late reply goes back a little."""
    steps = np.diff(sequence, prepend=sequence[:1])
    if len(steps) and np.abs(steps).max() < _WRAP / 2:
        return sequence
    steps = (steps + _WRAP / 2) % _WRAP - _WRAP / 2
    return np.asarray(np.cumsum(steps) + sequence[0])


def _parts(data: bytes, begin: int, end: int, size: int) -> Iterator[_Lines]:
    """Yield the lines about probes: at once if all are replies of one shape, else line by line."""
    for first, last in blocks_of(data, begin, end, size):
        block = data[first:last]
        table = _alike(block)
        if table is not None:
            yield _Lines(table[0], table[1], table[2])
        elif size > _PART_BYTES:
            yield from _parts(data, first, last, _PART_BYTES)
        else:
            yield _line_by_line(block)


def _line_by_line(block: bytes) -> _Lines:
    rows: list[tuple[float, float, float]] = []
    begins, sent_by = [], []
    for line in block.split(b"\n"):
        if len(line) >= _LONGEST_LINE:
            continue
        if reply := _REPLY.match(line):
            rows.append((float(reply[1]), float(reply[2]), float(reply[3])))
        elif other := _OTHER.match(line):
            rows.append((float(other[1]), float(other[3]), _NO_ANSWER if other[2] else _ERROR))
        elif line.startswith(b"PING "):
            begins.append(len(rows))
        elif summary := _SUMMARY.match(line):
            sent_by.append((len(rows), int(summary[1])))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return _Lines(table[0], table[1], table[2], tuple(begins), tuple(sent_by))


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
