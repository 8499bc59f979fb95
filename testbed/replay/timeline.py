"""What a replayed link could carry, was offered and carried, and its round trips, second by second."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.measure.fidelity import WAYS, LinkFidelity
from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.measure.requested import RequestedWay, Way
from testbed.network.player import QUEUE_BYTES, QUEUE_S
from testbed.network.traffic import Readings
from traces.trace import Trace

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BIN_S = 1.0
LOOKS = 20  # at the delay of a bin, which may change fast
FULL_BYTES = 1514  # a direction is full while at least a frame waits


@dataclass(frozen=True)
class Bin:
    """One second of a replay, or the rest of one at its end.

    Rates are means over the bin, in bit/s of Ethernet frames, those of the probes included. What was carried
    counts in the second in which its serialisation ended, so that it compares with the rate of that time.

    Attributes:
        begin_s, end_s: scenario time.
        requested_rtt_s: mean of the trace's RTT while up: both delays and a probe's serialisation; None if it
            is down.
        measured_rtt_s: median of the probes that came back in this time; None without one.
        queue_s: median of the time that they were to wait in queues; None if unknown.
        probes, unanswered: how many came back, and how many were sent that were lost.
    """

    begin_s: float
    end_s: float
    down_requested_bit_s: float
    down_offered_bit_s: float
    down_carried_bit_s: float
    up_requested_bit_s: float
    up_offered_bit_s: float
    up_carried_bit_s: float
    requested_rtt_s: float | None
    measured_rtt_s: float | None
    queue_s: float | None
    probes: int
    unanswered: int


@dataclass(frozen=True)
class Carried:
    """One direction over the whole replay; bytes of Ethernet frames.

    Attributes:
        requested_bytes: what the trace's rates can carry in the time played.
        offered_bytes: what the host sent.
        carried_bytes: what arrived.
        full_s: how many seconds the programs kept the direction full, so that its rate was measured.
        full_requested_bit_s, full_carried_bit_s: means in those seconds; None without one.
        full_rate_error: median of carried / requested - 1 of those seconds; None without one.
        requested_loss: mean of the trace's loss over what was carried.
    """

    requested_bytes: float
    offered_bytes: int
    carried_bytes: int
    full_s: float
    full_requested_bit_s: float | None
    full_carried_bit_s: float | None
    full_rate_error: float | None
    requested_loss: float


@dataclass(frozen=True)
class Timeline:
    """A replay in bins of a second, and in total."""

    played_s: float
    bins: tuple[Bin, ...]
    carried: Mapping[Way, Carried]

    def to_json(self) -> dict[str, Any]:
        """Return the totals; the bins are in `to_csv`."""
        ways: dict[str, Any] = {
            way: {
                **asdict(its),
                "requested_bit_s": its.requested_bytes * 8 / self.played_s,
                "offered_bit_s": its.offered_bytes * 8 / self.played_s,
                "carried_bit_s": its.carried_bytes * 8 / self.played_s,
            }
            for way, its in self.carried.items()
        }
        return {"played_s": self.played_s, **ways}

    def to_csv(self) -> str:
        """Return the bins, a row each; empty where there is no value."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [field.name for field in fields(Bin)]
        writer.writerow(names)
        for one in self.bins:
            values = (getattr(one, name) for name in names)
            writer.writerow(["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values])
        return out.getvalue()


def timeline(
    trace: Trace,
    readings: Readings,
    start_monotonic_s: float,
    played_s: float,
    fidelity: LinkFidelity | None,
    *,
    bin_s: float = BIN_S,
) -> Timeline:
    """Return a replay as a timeline.

    Args:
        trace: what was played.
        readings: counters of the hosts' interfaces.
        start_monotonic_s: CLOCK_MONOTONIC of scenario second 0.
        played_s: scenario second at which the replay ended.
        fidelity: what the probes measured, if there were any.
        bin_s: length of a bin.
    """
    played_s = max(min(played_s, trace.end_s), 1e-3)
    ways = {way: RequestedWay(trace, way) for way in WAYS}
    edges_s = np.append(np.arange(math.ceil(played_s / bin_s)) * bin_s, played_s)
    lengths_s = np.diff(edges_s)
    rates: dict[str, Any] = {}
    carried: dict[Way, Carried] = {}
    for way, its in ways.items():
        curve = _Curve.of(readings, start_monotonic_s, way)
        requested_bits = its.bits(edges_s)
        _, _, delays_s, loss = its.at(edges_s)
        left_s = np.maximum.accumulate(edges_s + delays_s)
        offered_bytes = np.diff(np.interp(edges_s, curve.time_s, curve.offered_bytes))
        carried_bytes = np.diff(np.interp(left_s, curve.time_s, curve.carried_bytes))
        rates[f"{way}_requested_bit_s"] = (requested_bits / lengths_s).tolist()
        rates[f"{way}_offered_bit_s"] = (offered_bytes * 8 / lengths_s).tolist()
        rates[f"{way}_carried_bit_s"] = (carried_bytes * 8 / lengths_s).tolist()
        full = curve.full(its, edges_s) & np.isclose(lengths_s, bin_s)
        carried[way] = _total(
            curve, requested_bits / lengths_s, carried_bytes * 8 / lengths_s, lengths_s, full, loss[:-1]
        )
    requested_rtts_s = _requested_rtts_s(ways, edges_s)
    probed = _Probed(fidelity, bin_s)
    bins = tuple(
        Bin(
            begin_s=begin_s,
            end_s=end_s,
            **{name: values[n] for name, values in rates.items()},
            requested_rtt_s=requested_rtts_s[n],
            **probed.of(n),
        )
        for n, (begin_s, end_s) in enumerate(pairwise(edges_s.tolist()))
    )
    return Timeline(played_s, bins, carried)


@dataclass(frozen=True)
class _Curve:
    """Bytes offered and carried by one direction so far, over scenario time; they begin at second 0."""

    time_s: Floats
    offered_bytes: Floats
    carried_bytes: Floats

    @classmethod
    def of(cls, readings: Readings, start_monotonic_s: float, way: Way) -> _Curve:
        if not len(readings.monotonic_s):
            return cls(np.zeros(1), np.zeros(1), np.zeros(1))
        time_s = readings.monotonic_s - start_monotonic_s
        offered, carried = (
            (readings.satellite_sent, readings.ground_received)
            if way == "down"
            else (readings.ground_sent, readings.satellite_received)
        )
        return cls(
            time_s,
            offered - np.interp(0.0, time_s, offered),
            carried - np.interp(0.0, time_s, carried),
        )

    def full(self, its: RequestedWay, edges_s: Floats) -> Bools:
        """Return in which bins what was offered kept a queue all the time.

        The queue is computed from the bytes offered, so that a link that carries too little is seen. Bursts
        between two readings count as spread over the time: it is rather too short.
        """
        _, rates_bit_s, _, _ = its.at(self.time_s)
        longest_bytes = np.maximum(QUEUE_BYTES, rates_bit_s / 8 * QUEUE_S)[1:]
        more_bytes = np.diff(self.offered_bytes) - its.bits(self.time_s) / 8
        waiting_bytes = [0.0]
        for more, longest in zip(more_bytes.tolist(), longest_bytes.tolist(), strict=True):
            waiting_bytes.append(min(max(0.0, waiting_bytes[-1] + more), longest))
        first = np.searchsorted(self.time_s, edges_s[:-1], side="left").tolist()
        last = np.searchsorted(self.time_s, edges_s[1:], side="right").tolist()
        return np.array(
            [min(waiting_bytes[i:j], default=0.0) >= FULL_BYTES for i, j in zip(first, last, strict=True)]
        )


def _total(
    curve: _Curve, requested: Floats, carried: Floats, lengths_s: Floats, full: Bools, loss: Floats
) -> Carried:
    bits = carried * lengths_s
    return Carried(
        requested_bytes=float((requested * lengths_s).sum() / 8),
        offered_bytes=round(float(curve.offered_bytes[-1])),
        carried_bytes=round(float(curve.carried_bytes[-1])),
        full_s=float(lengths_s[full].sum()),
        full_requested_bit_s=float(requested[full].mean()) if full.any() else None,
        full_carried_bit_s=float(carried[full].mean()) if full.any() else None,
        full_rate_error=float(np.median(carried[full] / requested[full])) - 1 if full.any() else None,
        requested_loss=float((loss * bits).sum() / bits.sum()) if bits.sum() else 0.0,
    )


def _requested_rtts_s(ways: Mapping[Way, RequestedWay], edges_s: Floats) -> list[float | None]:
    """Return of each bin the mean RTT of a probe while both directions are up; None if they never are."""
    shares = (np.arange(LOOKS) + 0.5) / LOOKS
    looks_s = edges_s[:-1, None] + np.diff(edges_s)[:, None] * shares
    up = np.ones(looks_s.shape, dtype=bool)
    rtts_s = np.zeros(looks_s.shape)
    for its in ways.values():
        way_up, rates_bit_s, delays_s, _ = its.at(looks_s)
        up &= way_up
        rtts_s += delays_s + RTT_FRAME_BYTES * 8 / np.where(way_up, rates_bit_s, 1.0)
    counts = up.sum(axis=1)
    means_s = (rtts_s * up).sum(axis=1) / np.maximum(counts, 1)
    return [float(mean_s) if count else None for mean_s, count in zip(means_s, counts, strict=True)]


class _Probed:
    """What the probes of each bin measured."""

    def __init__(self, fidelity: LinkFidelity | None, bin_s: float) -> None:
        self._bin_s = bin_s
        self._rtts_s: defaultdict[int, list[float]] = defaultdict(list)
        self._queues_s: defaultdict[int, list[float]] = defaultdict(list)
        self._unanswered: Counter[int] = Counter()
        if fidelity is None:
            return
        for one in fidelity.rtt:
            self._add(one.time_s, one.measured, 0.0)
        for queued in fidelity.queued_rtt:
            self._add(queued.time_s, queued.measured, queued.queue)
        self._unanswered.update(int(sent_s // bin_s) for sent_s in fidelity.unanswered_s)

    def _add(self, time_s: float, rtt_s: float, queue_s: float | None) -> None:
        self._rtts_s[int(time_s // self._bin_s)].append(rtt_s)
        if queue_s is not None:
            self._queues_s[int(time_s // self._bin_s)].append(queue_s)

    def of(self, number: int) -> dict[str, Any]:
        """Return the fields of one bin."""
        rtts_s, queues_s = self._rtts_s[number], self._queues_s[number]
        return {
            "measured_rtt_s": float(np.median(rtts_s)) if rtts_s else None,
            "queue_s": float(np.median(queues_s)) if queues_s else None,
            "probes": len(rtts_s),
            "unanswered": self._unanswered[number],
        }
