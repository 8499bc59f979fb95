"""Output of ping: with the timestamps of `ping -D` or of `ping | ts`, or without any (`--interval`).

A reply's timestamp is that of its arrival. icmp_seq has 16 bits and wraps around; a number without a reply is
a loss. A probe without an answer (`ping -O`, macOS) has a line that is printed when the next probe is sent.
Numbers of errors ("Destination Host Unreachable") were sent too. The first line (`PING ...`) begins a run,
whose first number it tells, and the statistics say how many probes were sent, so that losses at either end
are known. Other lines are ignored.

Without timestamps, probes were sent every `--interval`, or at the mean interval that the statistics tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from traces.errors import TraceError
from traces.numbers import Floats
from traces.recordings.gaps import gaps_after
from traces.recordings.ping_lines import ERROR, NO_ANSWER, Lines, lines_of_ping, sniff
from traces.recordings.ping_stamps import Stamps, likely_interval_s, spread
from traces.recordings.probes import Unanswered, each_way, probed_link
from traces.recordings.recording import DELAYS, LOSSES, Assumptions, Recording, both_ways
from traces.recordings.sampling import check_length, from_epoch, halves, in_order

__all__ = ["read", "sniff", "unwrapped"]

_EPOCH_START, _EPOCH_END = 0.28e9, 9.2e9
_WRAP = 65536
_SAMPLES = 10_000
_USUAL_INTERVAL_S = 1.0  # that of ping without -i
_FEW = 3  # probes, of which the times may be anything
_MOST_BACKWARD = 0.2  # share of the probes
_DIFFERS = 0.2  # share by which --interval may differ from the statistics


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the probes in the output of ping.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    notes: list[str] = []
    lines, stamps = lines_of_ping(data, name, assumptions.zone)
    runs, has_utc = _runs(lines, stamps, name, data, assumptions, notes)
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
        "ping",
        name,
        link.time_s,
        end_s - origin_s,
        values,
        start_utc=from_epoch(name, origin_s) if has_utc else None,
        notes=notes,
        gaps_s=_gaps(runs, spans_s - origin_s, origin_s),
        **both_ways(link.up),
    )


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


def _runs(
    lines: Lines, stamps: Stamps | None, name: str, data: bytes, assumptions: Assumptions, notes: list[str]
) -> tuple[list[_Run], bool]:
    """Return the runs in which at least one time is known, and whether their times are UTC.

    Raises:
        TraceError: There is no reply, or no time that can be used.
    """
    if not (lines.rtt_ms >= 0).any():
        if lines.rtt_ms.size:
            raise TraceError(f"{name}, line 1: expected a reply; none of the probes was answered")
        expected = "'[1700182800.41] 64 bytes from ...: icmp_seq=1 ttl=63 time=60.6 ms'"
        raise TraceError(f"{name}, line 1: expected a line like {expected}")
    kind = "unix" if stamps is None else stamps.kind
    if assumptions.interval_s is not None and kind != "none" and not (stamps and stamps.are_whole_seconds):
        raise TraceError(f"{name}: --interval has no effect, as the lines have timestamps")
    if kind == "unix":
        _check_unix(lines, name, data)
    edges = {0, len(lines.stamp_s), *(row for row, _ in (*lines.begins_here, *lines.sent_by))}
    if kind == "none":
        edges |= set(_unstamped_restarts(lines, edges))
        where = stamps.first_line if stamps else name
        lines = _with_stamps(lines, sorted(edges), where, assumptions.interval_s, notes)
    elif stamps is not None and stamps.are_whole_seconds:
        edges |= set(_restarts(lines, 1.0))
        lines = _within_seconds(lines, sorted(edges), name, assumptions.interval_s, notes)
    else:
        edges |= set(_restarts(lines, 0.0))
    if kind in ("yearless", "daytime"):
        notes.append("the timestamps do not tell the day: --start sets the time of the beginning")
    first_number, sent_by = dict(lines.begins_here), dict(lines.sent_by)
    runs = []
    for begin, end in itertools.pairwise(sorted(edges)):
        rows = slice(begin, end)
        part = Lines(lines.stamp_s[rows], lines.sequence[rows], lines.rtt_ms[rows])
        run = _run(part, first_number.get(begin), sent_by.get(end))
        if run is not None:
            backward = np.diff(run.sent_s) <= 0
            if len(backward) > _FEW and backward.mean() > _MOST_BACKWARD:
                raise TraceError(
                    f"{name}: expected timestamps that rise with icmp_seq; those of ts -i do not"
                )
            runs.append(run)
    return runs, kind in ("unix", "dated")


def _check_unix(lines: Lines, name: str, data: bytes) -> None:
    good = (lines.stamp_s > _EPOCH_START) & (lines.stamp_s < _EPOCH_END)
    if not good.all():
        bad = lines.stamp_s[int(np.argmin(good))]
        line = data.count(b"\n", 0, max(data.find(b"[%d" % int(bad)), 0)) + 1
        raise TraceError(
            f"{name}, line {line}: expected [seconds since 1970], as ping -D prints; found {bad:g}"
        )


def _unstamped_restarts(lines: Lines, edges: Iterable[int]) -> list[int]:
    """Return the indices at which the numbers start over: a first number that this run had already."""
    edges, repeated = set(edges), set(lines.repeated)
    rows: list[int] = []
    seen: set[float] = set()
    for row in np.flatnonzero(lines.sequence <= 1).tolist():
        if row in edges:
            seen = set()
        number = float(lines.sequence[row])
        wrapped = row > 0 and lines.sequence[row - 1] > _WRAP - 10
        if row in repeated or wrapped or lines.rtt_ms[row] == ERROR:
            continue
        if number in seen:
            rows.append(row)
            seen = set()
        seen.add(number)
    return rows


def _with_stamps(
    lines: Lines, edges: list[int], where: str, interval_s: float | None, notes: list[str]
) -> Lines:
    """Return the lines with times from 0: probes were sent at a constant interval."""
    first_number, sent_by, recorded_s = map(dict, (lines.begins_here, lines.sent_by, lines.interval_s))
    stamp_s, start_s = np.zeros(len(lines.stamp_s)), 0.0
    for begin, end in itertools.pairwise(edges):
        number = unwrapped(lines.sequence[begin:end])
        step_s = interval_s if interval_s is not None else recorded_s.get(end)
        if step_s is None:
            raise TraceError(
                f"{where}: expected a timestamp; record with ping -D, or say with --interval the time between"
                " two probes, which is 1s for ping without -i"
            )
        if interval_s is not None and abs(recorded_s.get(end, step_s) - step_s) > _DIFFERS * step_s:
            notes.append(
                f"doubt: by its statistics ping sent a probe every {recorded_s[end]:.4g} s, not {step_s:g} s"
            )
        first = min(float(first_number.get(begin, number.min())), float(number.min()))
        rtt_ms = lines.rtt_ms[begin:end]
        since_s = np.where(rtt_ms >= 0, rtt_ms / 1e3, step_s)
        stamp_s[begin:end] = start_s + (number - first) * step_s + since_s
        start_s += max(float(number.max() - first) + 1, sent_by.get(end, 0)) * step_s
        source = "--interval" if interval_s is not None else "ping's statistics"
        notes.append(f"the lines have no timestamps: probes were sent every {step_s:.6g} s ({source})")
    return replace(lines, stamp_s=stamp_s)


def _within_seconds(
    lines: Lines, edges: list[int], name: str, interval_s: float | None, notes: list[str]
) -> Lines:
    """Return the lines with times within the whole seconds of their stamps."""
    recorded_s = dict(lines.interval_s)
    stamp_s = lines.stamp_s.copy()
    for begin, end in itertools.pairwise(edges):
        rows = begin + np.flatnonzero(lines.rtt_ms[begin:end] != ERROR)
        if not rows.size:
            continue
        number = unwrapped(lines.sequence[rows])
        step_s = interval_s or recorded_s.get(end) or likely_interval_s(number, stamp_s[rows])
        if step_s is None:
            if rows.size > _FEW:
                raise TraceError(f"{name}: the timestamps are all in one second; add --interval")
            step_s = _USUAL_INTERVAL_S
        rtt_ms = lines.rtt_ms[rows]
        stamp_s[rows] = spread(number, stamp_s[rows], np.where(rtt_ms >= 0, rtt_ms / 1e3, step_s), step_s)
        notes.append(
            f"timestamps are whole seconds: within them, probes were sent every {step_s:.4g} s"
            " (see --interval)"
        )
    return replace(lines, stamp_s=stamp_s)


def _restarts(lines: Lines, resolution_s: float) -> list[int]:
    """Return the indices at which the numbers start over although the time goes on."""
    rows = np.flatnonzero(lines.rtt_ms != ERROR)
    sequence, stamp_s = lines.sequence[rows], lines.stamp_s[rows]
    backward = sequence[1:] <= sequence[:-1]
    if not backward.any():
        return []
    interval_s = _interval_s(sequence, stamp_s)
    sent_s = stamp_s - np.where(lines.rtt_ms[rows] < 0, interval_s, lines.rtt_ms[rows] / 1e3)
    before_s = np.maximum.accumulate(sent_s)
    step = (np.diff(sequence) + _WRAP / 2) % _WRAP - _WRAP / 2
    later_s = sent_s[1:] - before_s[:-1]
    restart = (step <= 0) & (later_s > max(0.5 * interval_s, 1e-3) + resolution_s)
    restart |= (step > 10) & (later_s < 0.5 * step * interval_s - resolution_s)
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


def _run(lines: Lines, first_number: int | None, transmitted: int | None) -> _Run | None:
    """Return one run of ping; None if it has no times."""
    number = unwrapped(lines.sequence)
    answered = lines.rtt_ms >= 0
    timed = lines.rtt_ms != ERROR
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
        silent = np.flatnonzero(lines.rtt_ms == NO_ANSWER)
        silent = silent[~np.isin(number[silent], replies)]
        known, first = np.unique(np.append(replies, number[silent]), return_index=True)
        known_s = np.append(sent_s, lines.stamp_s[silent] - interval_s)[first]
        came = np.append(np.ones(len(replies), bool), np.zeros(len(silent), bool))[first]
    leading, trailing = _beyond(lines, number, known, interval_s, first_number, transmitted)
    unanswered, gaps_s = _series(known, known_s, came, interval_s, leading, trailing)
    begin_s = float(known_s[0]) - leading * interval_s
    end_s = float(known_s[-1]) + (trailing + 1) * interval_s
    return _Run(sent_s, rtt_s, unanswered, begin_s, end_s, gaps_s, tuple(notes))


def _beyond(
    lines: Lines,
    number: Floats,
    known: Floats,
    interval_s: float,
    first_number: int | None,
    transmitted: int | None,
) -> tuple[int, int]:
    """Return how many probes were lost before the first and after the last one whose time is known."""
    first, last = float(number.min()), float(number.max())
    missing = None if transmitted is None else max(transmitted - int(last - first + 1), 0)
    begins_with = 1 if first_number is None else first_number
    leading = int(first) - begins_with if first_number is not None or missing is not None else 0
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
