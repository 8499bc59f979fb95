"""From what a recording's client saw to a trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt

from nodes.clocks.offset import ClockOffset, Exchange
from testbed.errors import RecordError
from testbed.measure.path.record import ECHO_BYTES, PROBE_BYTES, Measured, Train
from traces.trace import Trace, TraceHeader

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTAGE_PROBES = 10  # as many probes in a row without an answer are a lost link, not lost packets
LOSS_WINDOW_S = 1.0
_AFTER_TRAIN_NS = 2_000_000
_STARVED_NS = 26_000_000  # between two probes that are 20 ms apart when the sender gets its processor
_UNDER_WAY_NS = 100_000_000
_UNEVEN_PERMILLE = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Echoes:
    """Answered probes in order of number; seconds from the start, delays in seconds."""

    number: npt.NDArray[np.int64]
    sent_s: Floats
    up_s: Floats
    down_s: Floats
    up_clean: Bools
    down_clean: Bools
    arrived: npt.NDArray[np.int64]


def trace_of(
    measured: Measured,
    *,
    step_s: float = 0.1,
    clock_bound_s: float | None = None,
    satellite: str = "server",
    station: str = "client",
    notes: tuple[str, ...] = (),
) -> Trace:
    """Make a trace: down is from the server to the client.

    Probes that shared the path with one of the recording's trains are left out. Serialisation is subtracted,
    so that the delay of an idle link remains.

    Args:
        measured: the client's measurements.
        step_s: length of a row.
        clock_bound_s: largest difference of the two clocks; None splits round trips in two, unless both ends
            shared a clock.
        satellite: name of the server's end.
        station: name of the client's end.
        notes: to be added to the trace's.

    Raises:
        RecordError: too little came back to make a trace of.
    """
    if not measured.up or not measured.down or len(measured.echoes) < 15:
        raise RecordError("too few packets came back to make a trace of; record for longer")
    echoes = _echoes(measured)
    trains, notes = _trains(measured, notes)
    end_s = (measured.end_ns - measured.start_ns) / 1e9
    rows = max(1, round(end_s / step_s))
    starts_s: Floats = np.multiply(np.arange(rows), step_s, dtype=np.float64).round(9)
    middles_s: Floats = starts_s + step_s / 2
    measures = {way: _rates(trains[way], measured.start_ns, middles_s, measured, way) for way in trains}
    rates = {way: rate_bit_s for way, (rate_bit_s, _) in measures.items()}
    extra = {f"{way}_train_away_s": away_s.round(3) for way, (_, away_s) in measures.items()}
    up_s = echoes.up_s - _at(rates["up"], starts_s, echoes.sent_s, PROBE_BYTES)
    down_s = echoes.down_s - _at(rates["down"], starts_s, echoes.sent_s, ECHO_BYTES)
    delays, probes, how = _delays(measured, echoes, up_s, down_s, clock_bound_s, starts_s, step_s)
    time_s, columns = _with_outages(echoes, measured, starts_s, {
        "down_bit_s": rates["down"], "up_bit_s": rates["up"], **delays, **_losses(echoes, starts_s),
        **extra, **probes,
    }, end_s)  # fmt: skip
    connected = columns.pop("up") > 0
    return Trace(
        header=TraceHeader(
            satellite=satellite,
            station=station,
            start_utc=_EPOCH + timedelta(microseconds=measured.start_ns // 1000),
            made_by="spaceverse trace record",
            notes=(
                "down is from the server to the client",
                how,
                f"rates from trains, {len(measured.down)} down and {len(measured.up)} up, medians of three",
                f"loss of probes within {LOSS_WINDOW_S:g} s; {OUTAGE_PROBES} in a row are a lost link",
                *notes,
            ),
        ),
        time_s=time_s,
        downlink_up=connected,
        uplink_up=connected,
        down_bit_s=columns["down_bit_s"],
        up_bit_s=columns["up_bit_s"],
        down_delay_s=columns["down_delay_s"],
        up_delay_s=columns["up_delay_s"],
        down_loss=columns["down_loss"],
        up_loss=columns["up_loss"],
        end_s=end_s,
        extra={name: columns[name] for name in (*extra, *probes)},
    )


def _trains(measured: Measured, notes: tuple[str, ...]) -> tuple[dict[str, list[Train]], tuple[str, ...]]:
    """Return the trains that tell the path's rate, by direction, and notes on those that do not."""
    kept: dict[str, list[Train]] = {}
    for way in ("up", "down"):
        trains = getattr(measured, way)
        kept[way] = [train for train in trains if train.kept_up]
        late = len(trains) - len(kept[way])
        if not kept[way]:
            kept[way] = trains
            notes = (*notes, f"{way}: the sender was the limit; the path is at least as fast as recorded")
        elif late:
            what = f"{late} of {len(trains)} trains {way} left out"
            notes = (*notes, f"{what}: their sender fell behind the path, which says nothing of its rate")
        even = [train for train in kept[way] if train.spread_permille <= _UNEVEN_PERMILLE]
        if 2 * len(even) >= len(kept[way]) > len(even):  # a path whose trains are never even is measured so
            what = f"{len(kept[way]) - len(even)} of {len(trains)} trains {way} left out"
            notes = (*notes, f"{what}: their frames came unevenly, by this machine's doing or the path's")
            kept[way] = even
    return kept, notes


def _echoes(measured: Measured) -> Echoes:
    table = np.frombuffer(measured.echoes, dtype=np.int64).reshape(-1, 5)
    table = table[np.unique(table[:, 0], return_index=True)[1]]
    sent_ns = np.frombuffer(measured.sent_ns, dtype=np.int64)[table[:, 0]]
    starved = _starved(np.frombuffer(measured.sent_ns, dtype=np.int64))
    return Echoes(
        number=table[:, 0],
        sent_s=(sent_ns - measured.start_ns) / 1e9,
        up_s=(table[:, 1] - sent_ns) / 1e9,
        down_s=(table[:, 3] - table[:, 2]) / 1e9,
        up_clean=_clean(table[:, 1], measured.up) & ~starved[table[:, 0]],
        down_clean=_clean(table[:, 3], measured.down) & ~starved[table[:, 0]],
        arrived=table[:, 4],
    )


def _starved(sent_ns: npt.NDArray[np.int64]) -> Bools:
    """Return which probes were under way or sent while this machine gave its sender no processor."""
    starved = np.zeros(len(sent_ns), dtype=bool)
    for before in np.flatnonzero(np.diff(sent_ns) > _STARVED_NS):
        begin, end = sent_ns[before] - _UNDER_WAY_NS, sent_ns[before + 1]
        starved[(sent_ns >= begin) & (sent_ns <= end)] = True
    return starved


def _clean(arrived_ns: npt.NDArray[np.int64], trains: list[Train]) -> Bools:
    """Return which packets did not arrive among or just behind the frames of a train."""
    clean = np.ones(len(arrived_ns), dtype=bool)
    for train in trains:
        clean &= (arrived_ns < train.first_ns) | (arrived_ns > train.last_ns + _AFTER_TRAIN_NS)
    return clean


def _rates(
    trains: list[Train], start_ns: int, times_s: Floats, measured: Measured, way: str
) -> tuple[Floats, Floats]:
    """Return the rate of the train nearest to each time, and how far away it is, seconds.

    The trains' middles are in the receiver's clock.
    """
    middle_s = np.array([((one.first_ns + one.last_ns) / 2 - start_ns) / 1e9 for one in trains])
    if way == "up" and not measured.same_clock:
        table = np.frombuffer(measured.echoes, dtype=np.int64).reshape(-1, 5)
        sent_ns = np.frombuffer(measured.sent_ns, dtype=np.int64)[table[:, 0]]
        stamps_s = (np.column_stack([sent_ns, table[:, 1:4]]) - start_ns) / 1e9
        try:
            clock = ClockOffset.of([Exchange(*row) for row in stamps_s.tolist()])
        except ValueError as error:
            raise RecordError(f"a clock of the two ends was set meanwhile ({error}); record again") from error
        middle_s = np.array([clock.own_s(time_s) for time_s in middle_s])
    rate_bit_s = np.array([one.rate_bit_s for one in trains])
    if len(trains) > 2:  # one train met a change, or other work; steps stay where they are
        threes = np.stack([rate_bit_s[:-2], rate_bit_s[1:-1], rate_bit_s[2:]])
        rate_bit_s[1:-1] = np.median(threes, axis=0)
    after = np.clip(np.searchsorted(middle_s, times_s), 1, max(1, len(trains) - 1))
    if len(trains) == 1:
        return np.full(len(times_s), rate_bit_s[0]), np.abs(times_s - middle_s[0])
    nearer_before = times_s - middle_s[after - 1] < middle_s[after] - times_s
    nearest = np.where(nearer_before, after - 1, after)
    return np.asarray(rate_bit_s[nearest]), np.abs(times_s - middle_s[nearest])


def _at(rate_bit_s: Floats, starts_s: Floats, times_s: Floats, frame_bytes: int) -> Floats:
    """Return how long a frame's serialisation took at each time."""
    row = np.clip(np.searchsorted(starts_s, times_s, side="right") - 1, 0, len(starts_s) - 1)
    return np.asarray(frame_bytes * 8 / rate_bit_s[row])


def _delays(
    measured: Measured,
    echoes: Echoes,
    up_s: Floats,
    down_s: Floats,
    clock_bound_s: float | None,
    starts_s: Floats,
    step_s: float,
) -> tuple[dict[str, Floats], dict[str, Floats], str]:
    """Return both delays for each row, of how many probes (0: it holds what was before), and how."""
    if measured.same_clock or clock_bound_s is not None:
        bound = (
            "both ends shared one clock"
            if measured.same_clock
            else f"clocks differ by at most {clock_bound_s:g} s"
        )
        how = f"one-way delays: {bound}"
        wanted = {"up_delay_s": (up_s, echoes.up_clean), "down_delay_s": (down_s, echoes.down_clean)}
    else:
        both = echoes.up_clean & echoes.down_clean
        half_s = (up_s + down_s) / 2
        how = "each one-way delay is half a round trip: the clocks of the ends are not known to agree"
        wanted = {"up_delay_s": (half_s, both), "down_delay_s": (half_s, both)}
    delays = {name: _medians(echoes.sent_s, *pair, starts_s, step_s) for name, pair in wanted.items()}
    bounds_s = np.append(starts_s, starts_s[-1] + step_s)
    probes = {
        name.replace("delay_s", "probes"): np.histogram(echoes.sent_s[clean], bounds_s)[0].astype(np.float64)
        for name, (_, clean) in wanted.items()
    }
    return delays, probes, how


def _medians(sent_s: Floats, delay_s: Floats, clean: Bools, starts_s: Floats, step_s: float) -> Floats:
    """Return the median of each row's clean probes; a row without any holds the one before it."""
    if not clean.any():
        raise RecordError("every probe shared the path with a train; the path is too slow to be recorded")
    rows = np.floor(sent_s[clean] / step_s)
    medians = np.full(len(starts_s), np.nan)
    for row in np.unique(rows):
        if 0 <= row < len(starts_s):
            medians[int(row)] = np.median(delay_s[clean][rows == row])
    known = np.flatnonzero(np.isfinite(medians))
    if not known.size:
        raise RecordError("no probe was answered in time; record for longer")
    held = known[np.clip(np.searchsorted(known, np.arange(len(medians)), side="right") - 1, 0, None)]
    return np.asarray(np.maximum(medians[held], 0.0).round(9))


def _losses(echoes: Echoes, starts_s: Floats) -> dict[str, Floats]:
    """Return the share of probes lost each way around each row: the server's count tells which way."""
    asked = np.diff(echoes.number)
    there = np.clip(np.diff(echoes.arrived), 1, asked)
    counted = asked < OUTAGE_PROBES
    window = np.floor(echoes.sent_s[1:] / LOSS_WINDOW_S)
    found: dict[str, Floats] = {}
    for name, tried, lost in (("up_loss", asked, asked - there), ("down_loss", there, there - 1)):
        share = np.zeros(len(starts_s))
        for one in np.unique(window[counted]):
            inside = counted & (window == one)
            share[np.floor(starts_s / LOSS_WINDOW_S) == one] = lost[inside].sum() / tried[inside].sum()
        found[name] = share
    return found


def _with_outages(
    echoes: Echoes, measured: Measured, starts_s: Floats, columns: dict[str, Floats], end_s: float
) -> tuple[Floats, dict[str, Floats]]:
    """Cut rows where the link went away and came back, to a probe's distance; add the column `up`."""
    sent_s = (np.frombuffer(measured.sent_ns, dtype=np.int64) - measured.start_ns) / 1e9
    answered = np.concatenate([[-1], echoes.number, [len(sent_s)]])
    long = np.flatnonzero(np.diff(answered) > OUTAGE_PROBES)
    spans = []
    for before in long:
        first, last = int(answered[before]) + 1, int(answered[before + 1])
        spans.append((float(sent_s[first]), float(sent_s[last]) if last < len(sent_s) else end_s))
    edges = [edge for span in spans for edge in span if 0 < edge < end_s]
    time_s = np.union1d(starts_s[starts_s < end_s], edges)
    row = np.clip(np.searchsorted(starts_s, time_s, side="right") - 1, 0, len(starts_s) - 1)
    up = np.ones(len(time_s))
    for begin_s, finish_s in spans:
        up[(time_s >= begin_s) & (time_s < finish_s)] = 0.0
    return time_s, {
        "up": up,
        **{name: np.where(up > 0, column[row], 0.0) for name, column in columns.items()},
    }
