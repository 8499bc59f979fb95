"""Contact plans of ION (ionrc(5)): reading and writing.

    a contact +0 +600 1 2 125000         node 1 to node 2, one direction, 125000 BYTES per second
    a range +0 +600 1 2 1                1 light-second, both directions
    @ 2018/01/20-06:47:50                origin of +t; without it, the start of ION

Times are whole seconds, relative (+t) or absolute (yyyy/mm/dd-hh:mm:ss in UTC). A range is in whole
light-seconds, which is too coarse for orbits near the Earth. The delay must therefore be given or computed,
unless the plan's ranges are requested (`--range-delay`).
"""

from __future__ import annotations

import itertools
import re
from array import array
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np

from traces.errors import TraceError
from traces.numbers import LONGEST_LINE, Floats, lines_of, shown
from traces.recordings.recording import DELAYS, Assumptions, Recording
from traces.trace import Trace

_COMMAND = re.compile(rb"\s*a\s+(contact|range)\s", re.IGNORECASE)
_TIME = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})-(\d{1,2}):(\d{1,2}):(\d{1,2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST = 1e12
_MOST_S = 1e10
_WIDTH = 5  # line, begin, end, pair, value


@dataclass
class _Plan:
    """The lines of a plan: five float64 per line; a pair of nodes is stored as its index in `pairs`."""

    contacts: array[float] = field(default_factory=lambda: array("d"))
    ranges: array[float] = field(default_factory=lambda: array("d"))
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    reference: datetime | None = None
    relative: bool = False
    absolute: bool = False


def sniff(head: bytes) -> bool:
    """Tell whether the beginning has an `a contact` or `a range` line."""
    return any(_COMMAND.match(line) for line in head.split(b"\n"))


def read(data: bytes, name: str, assumptions: Assumptions) -> Recording:
    """Read the contacts of one pair of nodes in both directions.

    `assumptions.satellite` and `assumptions.station` are node numbers. If the plan has a single pair, they
    may be left out; the source of the first contact is then the satellite.

    Raises:
        TraceError: The file is invalid; the message names the line and what was expected.
    """
    plan = _plan(data, name)
    if not plan.contacts:
        raise TraceError(f"{name}, line 1: expected at least one line like 'a contact +0 +600 1 2 125000'")
    satellite, station, notes = _nodes(name, plan, assumptions)
    directions = {
        "down_bit_s": _of_pair(plan.contacts, plan.pairs.get((satellite, station))),
        "up_bit_s": _of_pair(plan.contacts, plan.pairs.get((station, satellite))),
    }
    for table in directions.values():
        _check_overlap(name, table)
    edges = np.unique(np.concatenate([table[:, 1:3].ravel() for table in directions.values()]))
    origin_s = float(edges[0]) if plan.absolute else 0.0
    edges = edges if edges[0] == origin_s else np.append(origin_s, edges)
    ranges = [plan.pairs.get(pair) for pair in ((satellite, station), (station, satellite))]
    tables = [_of_pair(plan.ranges, pair) for pair in ranges]
    if assumptions.range_delay:
        changes = np.concatenate([table[:, 1] for table in tables])
        edges = np.union1d(edges, changes[(changes > edges[0]) & (changes < edges[-1])])
    starts, end_s = edges[:-1], float(edges[-1]) - origin_s
    if not end_s < _MOST_S:
        raise TraceError(f"{name}: the contacts cover {end_s:g} s; expected at most {_MOST_S:g}")
    values = {key: _at(starts, table) * 8 for key, table in directions.items() if len(table)}
    flows = [values[key] > 0 for key in directions if key in values]  # of one direction, or of both
    notes.append("the plan has rates in bytes per second and times in whole seconds")
    if assumptions.range_delay:
        values |= _range_delays(name, starts, tables, notes)
    elif any(len(table) for table in tables):
        notes.append("the plan's ranges are not used, since they are in whole light-seconds")
    start_utc = _EPOCH + timedelta(seconds=origin_s) if plan.absolute else plan.reference
    return Recording(
        "ion",
        name,
        starts - origin_s,
        end_s,
        values,
        flows[0],
        flows[-1],
        start_utc,
        f"node {satellite}",
        f"node {station}",
        notes,
    )


def _plan(data: bytes, name: str) -> _Plan:
    plan = _Plan()
    for number, line in lines_of(data):
        where = f"{name}, line {number}"
        text = line[:LONGEST_LINE].decode("utf-8", "replace").split("#")[0]
        words = text.split()
        if words[:1] == ["@"] and len(words) == 2:
            plan.reference = _EPOCH + timedelta(seconds=_absolute(where, words[1]))
        if not _COMMAND.match(line):
            continue  # ionrc files have many other commands
        if len(words) not in (7, 8):
            raise TraceError(f"{where}: expected 'a {words[1]} FROM TO NODE NODE VALUE'; found {shown(line)}")
        begin_s, end_s = (_time(where, word, plan) for word in words[2:4])
        if end_s <= begin_s:
            raise TraceError(f"{where}: expected an end after the start; found {shown(line)}")
        if plan.relative and plan.absolute:
            raise TraceError(f"{where}: expected only +t or only absolute times; found {shown(line)}")
        pair = plan.pairs.setdefault((words[4], words[5]), len(plan.pairs))
        table = plan.contacts if words[1].lower() == "contact" else plan.ranges
        table.extend((number, begin_s, end_s, pair, _amount(where, words[6])))
    return plan


def _time(where: str, word: str, plan: _Plan) -> float:
    if word.startswith("+"):
        plan.relative = True
        return _amount(where, word[1:])
    plan.absolute = True
    return _absolute(where, word)


def _absolute(where: str, word: str) -> float:
    match = _TIME.fullmatch(word)
    try:
        year, month, day, hour, minute, second = map(int, match.groups() if match else ())
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        return (moment - _EPOCH).total_seconds()
    except ValueError:
        raise TraceError(f"{where}: expected +seconds or yyyy/mm/dd-hh:mm:ss; found {word[:40]!r}") from None


def _amount(where: str, word: str) -> float:
    if not (word.isascii() and word.isdigit() and len(word) <= 15 and int(word) <= _MOST):
        raise TraceError(f"{where}: expected a whole number, not negative; found {word[:40]!r}")
    return float(word)


def _nodes(name: str, plan: _Plan, assumptions: Assumptions) -> tuple[str, str, list[str]]:
    """Return the satellite's node, the station's node, and notes."""
    pairs = [
        pair for pair, number in plan.pairs.items() if (np.array(plan.contacts)[3::_WIDTH] == number).any()
    ]
    requested = (assumptions.satellite or "", assumptions.station or "")
    for pair in (requested, requested[::-1]):
        if pair in pairs:
            return requested[0], requested[1], []
    if len({frozenset(pair) for pair in pairs}) > 1:
        listed = ", ".join(f"{source} to {target}" for source, target in pairs[:8])
        raise TraceError(
            f"{name}: expected one pair of nodes; found {listed}; choose with --satellite and --station"
        )
    satellite, station = pairs[0]
    return (
        satellite,
        station,
        [f"node {satellite}, the source of the first contact, is taken for the satellite"],
    )


def _of_pair(lines: array[float], pair: int | None) -> Floats:
    table = np.array(lines, dtype=np.float64).reshape(-1, _WIDTH)
    table = table[table[:, 3] == (-1 if pair is None else pair)]
    return np.asarray(table[np.argsort(table[:, 1], kind="stable")])


def _check_overlap(name: str, table: Floats) -> None:
    over = np.flatnonzero(table[1:, 1] < table[:-1, 2])
    if over.size:
        later, earlier = table[over[0] + 1], table[over[0]]
        raise TraceError(
            f"{name}, line {later[0]:.0f}: expected no overlap with the contact of the same nodes in line"
            f" {earlier[0]:.0f}"
        )


def _at(times: Floats, table: Floats) -> Floats:
    """Return the value that is valid at each time; 0 where there is none."""
    if not len(table):
        return np.zeros(len(times))
    row = np.searchsorted(table[:, 1], times, side="right") - 1
    holds = (row >= 0) & (times < table[row, 2])
    return np.asarray(np.where(holds, table[row, 4], 0.0))


def _range_delays(name: str, starts: Floats, tables: list[Floats], notes: list[str]) -> dict[str, Floats]:
    if not any(len(table) for table in tables):
        raise TraceError(
            f"{name}: expected a line 'a range' for these nodes, which --range-delay needs; found none"
        )
    notes.append("delays are the plan's ranges, in whole light-seconds")
    delays = {}
    for column, own, other in zip(DELAYS, tables, tables[::-1], strict=True):
        table = own if len(own) else other  # a range is that of both directions, unless the other has its own
        row = np.clip(np.searchsorted(table[:, 1], starts, side="right") - 1, 0, len(table) - 1)
        delays[column] = table[row, 4]
    return delays


def write(trace: Trace, satellite: str = "1", station: str = "2") -> bytes:
    """Return a trace as a contact plan with mean rates in bytes per second, whole seconds, and no loss.

    A contact is shortened to its whole seconds. Ranges are rounded to whole light-seconds, as ION requires.

    Args:
        trace: the trace.
        satellite: node number of the satellite.
        station: node number of the station.

    Raises:
        TraceError: No contact contains a whole second, or the trace is longer than 10 million s.
    """
    if trace.end_s > 1e7:
        raise TraceError(
            f"the trace is {trace.end_s:g} s long; expected at most 10 million s for a contact plan"
        )
    reference = trace.header.start_utc.replace(microsecond=0)
    shift_s = (trace.header.start_utc - reference).total_seconds()
    lines = [f"@ {reference:%Y/%m/%d-%H:%M:%S}"]
    spans: list[tuple[int, int]] = []
    for way, source, target in (("down", satellite, station), ("up", station, satellite)):
        found = _contacts(trace, way, shift_s)
        lines += [f"a contact +{begin} +{end} {source} {target} {rate}" for begin, end, rate in found]
        spans += [(begin, end) for begin, end, _ in found]
    if not spans:
        raise TraceError("no contact of the trace contains a whole second, the resolution of ION's plans")
    delays = trace.down_delay_s[trace.downlink_up], trace.up_delay_s[trace.uplink_up]
    delay_s = round(float((delays[0] if delays[0].size else delays[1]).mean()))
    begin, end = min(begin for begin, _ in spans), max(end for _, end in spans)
    lines.append(f"a range +{begin} +{end} {satellite} {station} {delay_s}")
    return ("\n".join(lines) + "\n").encode()


def carried(plan: bytes, satellite: str = "1") -> dict[str, tuple[float, float]]:
    """Return the seconds of contact and the bytes that a plan of `write` holds in each direction."""
    totals = {"down": (0.0, 0.0), "up": (0.0, 0.0)}
    for line in plan.decode().splitlines():
        words = line.split()
        if words[:2] == ["a", "contact"]:
            direction = "down" if words[4] == satellite else "up"
            length_s, (total_s, total_bytes) = float(words[3]) - float(words[2]), totals[direction]
            totals[direction] = total_s + length_s, total_bytes + length_s * float(words[6])
    return totals


def _contacts(trace: Trace, way: str, shift_s: float) -> list[tuple[int, int, int]]:
    """Return begin, end (whole seconds) and bytes per second of each part of a contact with one rate."""
    edges_s = np.append(trace.time_s, trace.end_s) + shift_s
    up = getattr(trace, f"{way}link_up")
    bits = np.append(0.0, np.cumsum(np.diff(edges_s) * np.where(up, getattr(trace, f"{way}_bit_s"), 0.0)))
    up_s = np.append(0.0, np.cumsum(np.diff(edges_s) * up))
    seconds = np.arange(np.floor(edges_s[0]), np.floor(edges_s[-1]) + 1)
    if len(seconds) < 2:
        return []
    whole = np.diff(np.interp(seconds, edges_s, up_s)) > 1 - 1e-6
    rate = np.where(whole, np.round(np.diff(np.interp(seconds, edges_s, bits)) / 8, 0), 0.0).astype(np.int64)
    firsts = np.flatnonzero(np.append(True, rate[1:] != rate[:-1]))
    bounds = np.append(firsts, len(rate))
    return [
        (int(seconds[begin]), int(seconds[end - 1]) + 1, int(rate[begin]))
        for begin, end in itertools.pairwise(bounds.tolist())
        if rate[begin] > 0
    ]
