"""Fidelity of a link: the probes' measurements compared with the trace."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nodes.clocks.timescale import Timescale
from testbed.measure.probe import RTT_FRAME_BYTES, load_bit_s
from testbed.measure.requested import PacketLine, RequestedWay, Way
from testbed.measure.scenario_time import in_scenario_time, is_comparable
from traces.trace import Trace

Interval = tuple[float, float]
WAYS: tuple[Way, Way] = ("down", "up")
# Of each direction, when each probe entered the link (CLOCK_MONOTONIC, seconds) and the bytes before it.
QueuesMet = Mapping[Way, Sequence[tuple[float, float]]]
STAMPS_APART_S = 1e-3  # two clocks are read one after the other
SENDING_S = 0.1  # from the probe's stamp to the link, on a busy machine; probes come every 250 ms


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe: scenario time, the value requested by the trace at that time, the measured value."""

    time_s: float
    requested: float
    measured: float


@dataclass(frozen=True, slots=True)
class QueuedSample:
    """One probe that waited behind other packets, seconds.

    Attributes:
        time_s: scenario time.
        requested: delays that the trace requested.
        queue: time that the bytes before it take at the requested rates; None if the link cannot tell.
        measured: what it took.
    """

    time_s: float
    requested: float
    queue: float | None
    measured: float


@dataclass(frozen=True)
class LinkFidelity:
    """Requested and measured values of one link; errors are measured minus requested.

    RTTs are those of probes that met no other traffic on the way. What is requested of a packet is what holds
    as it enters each direction, see `testbed.measure.requested`.

    Attributes:
        clock_bound_s: largest error that the clocks can have added; 0 if both ends are namespaces of one
            kernel.
        probe_load_bit_s: highest load of one direction by the probe itself.
        down_delay, up_delay: one-way delays of the same RTT probes; empty without a common clock.
        queued_rtt: of the probes that met other packets.
        unanswered_s: when probes were sent that were lost, scenario seconds.
        load: load of the machine (`ProcessorLoad.record`); None if it was not measured.
        counters: the shaper's counters by direction; None if it has none.
    """

    link: str
    shaper: str
    trace: str
    clock_bound_s: float
    probe_load_bit_s: float
    rtt: tuple[Sample, ...]
    rtt_behind_traffic: int
    down_rate: tuple[Sample, ...]
    up_rate: tuple[Sample, ...]
    down_delay: tuple[Sample, ...] = ()
    up_delay: tuple[Sample, ...] = ()
    queued_rtt: tuple[QueuedSample, ...] = ()
    unanswered_s: tuple[float, ...] = ()
    load: Mapping[str, Any] | None = None
    counters: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Return requested against measured, as a small table."""
        figures = self.summary()
        rows: list[tuple[str, ...]] = [("", "requested", "measured", "error", "samples")]
        rtt = [figures[name] for name in ("requested_rtt_s", "measured_rtt_s", "rtt_error_p50_s")]
        rows.append(("RTT, ms", *(_shown(value, 1e3) for value in rtt), str(len(self.rtt))))
        if figures["queued_wait_s"] is not None:
            names = ("queued_expected_rtt_s", "queued_measured_rtt_s", "queued_rtt_error_p50_s")
            queued = [figures[name] for name in names]
            cells = (*(_shown(value, 1e3) for value in queued), str(len(self.queued_rtt)))
            rows.append(("RTT + queue, ms", *cells))
        for way in ("down", "up"):
            rate = [figures[f"{end}_{way}_bit_s"] for end in ("requested", "measured")]
            error, samples = figures[f"{way}_rate_error"], figures[f"{way}_rate_samples"]
            shown = "-" if error is None else f"{error:+.1%}"
            rows.append(
                (f"rate {way}, Mbit/s", *(_shown(value, 1e-6) for value in rate), shown, str(samples))
            )
        heading = f"link {self.link}, shaper {self.shaper}; medians\n"
        return heading + "\n".join(
            f"{row[0]:<18}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows
        )

    def rtt_error_s(self, percentile: float) -> float | None:
        """Return a percentile of |RTT error|, seconds; None without a sample."""
        return _error_percentile(self.rtt, percentile)

    def queued_rtt_error_s(self, percentile: float) -> float | None:
        """Return a percentile of |RTT error| of the probes that met a queue of known length, or None."""
        errors = [abs(s.measured - s.requested - s.queue) for s in self.queued_rtt if s.queue is not None]
        return float(np.percentile(errors, percentile)) if errors else None

    def rate_error(self, samples: Sequence[Sample]) -> float | None:
        """Return the median of measured / requested - 1; None without a sample."""
        return float(np.median([s.measured / s.requested - 1 for s in samples])) if samples else None

    def summary(self) -> dict[str, Any]:
        """Return the figures without the samples."""
        return {
            "link": self.link,
            "shaper": self.shaper,
            "trace": self.trace,
            "clock_bound_s": self.clock_bound_s,
            "probe_load_bit_s": self.probe_load_bit_s,
            "rtt_samples": len(self.rtt),
            "rtt_samples_behind_traffic": self.rtt_behind_traffic,
            "requested_rtt_s": _median([s.requested for s in self.rtt]),
            "measured_rtt_s": _median([s.measured for s in self.rtt]),
            "rtt_error_p50_s": self.rtt_error_s(50),
            "rtt_error_p99_s": self.rtt_error_s(99),
            "queued_rtt_samples": len(self.queued_rtt),
            "queued_requested_rtt_s": _median([s.requested for s in self.queued_rtt]),
            "queued_wait_s": _median([s.queue for s in self.queued_rtt if s.queue is not None]),
            "queued_expected_rtt_s": _median(
                [s.requested + s.queue for s in self.queued_rtt if s.queue is not None]
            ),
            "queued_measured_rtt_s": _median([s.measured for s in self.queued_rtt]),
            "queued_rtt_error_p50_s": self.queued_rtt_error_s(50),
            "queued_rtt_error_p99_s": self.queued_rtt_error_s(99),
            "rtt_unanswered": len(self.unanswered_s),
            "down_delay_error_p50_s": _error_percentile(self.down_delay, 50),
            "up_delay_error_p50_s": _error_percentile(self.up_delay, 50),
            "requested_down_bit_s": _median([s.requested for s in self.down_rate]),
            "measured_down_bit_s": _median([s.measured for s in self.down_rate]),
            "down_rate_error": self.rate_error(self.down_rate),
            "down_rate_samples": len(self.down_rate),
            "requested_up_bit_s": _median([s.requested for s in self.up_rate]),
            "measured_up_bit_s": _median([s.measured for s in self.up_rate]),
            "up_rate_error": self.rate_error(self.up_rate),
            "up_rate_samples": len(self.up_rate),
            "load": self.load,
            "counters": self.counters,
        }

    def to_json(self) -> dict[str, Any]:
        """Return summary and samples."""
        return {
            **self.summary(),
            "rtt": [asdict(s) for s in self.rtt],
            "queued_rtt": [asdict(s) for s in self.queued_rtt],
            "unanswered_s": list(self.unanswered_s),
            "down_rate": [asdict(s) for s in self.down_rate],
            "up_rate": [asdict(s) for s in self.up_rate],
            "down_delay": [asdict(s) for s in self.down_delay],
            "up_delay": [asdict(s) for s in self.up_delay],
        }


def _error_percentile(samples: Sequence[Sample], percentile: float) -> float | None:
    errors = [abs(s.measured - s.requested) for s in samples]
    return float(np.percentile(errors, percentile)) if errors else None


def _shown(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.3f}"


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def compare(
    *,
    link: str,
    shaper: str,
    trace_name: str,
    trace: Trace,
    scale: Timescale,
    logs: tuple[Path, Path],
    busy: Sequence[Interval],
    queues_met: QueuesMet | None = None,
) -> LinkFidelity:
    """Compare the records of the two probes with the trace.

    Args:
        link: the link's name.
        shaper: the shaper's name and how it works.
        trace_name: the trace's file name.
        trace: the requested link.
        scale: scenario time.
        logs: records of the probes at the satellite's end and at the ground's.
        busy: intervals of scenario time in which other traffic was on the link. RTT probes that met it are
            counted but not compared, since they measure a queue. Trains that met it are left out.
        queues_met: what the link told of the queues that the probes met, if it did. Then each RTT probe is
            compared, in `rtt` or in `queued_rtt`. At speed 1 only.
    """
    start_monotonic_s = scale.start_monotonic_s
    ways = {way: RequestedWay(trace, way) for way in WAYS}
    trains = {way: _Trains(_trains(log, ways[way], scale)) for way, log in zip(WAYS, logs[::-1], strict=True)}
    others = _Busy(busy)
    unanswered_s = [
        record["monotonic_s"] - start_monotonic_s for record in records(logs[0], "unanswered", scale)
    ]
    rtt: list[Sample] = []
    one_way: dict[Way, list[Sample]] = {"down": [], "up": []}
    queued: list[QueuedSample] = []
    behind, last_sent_s = 0, 0.0
    for probe in round_trips(logs[0], ways, scale, queues_met or {}):
        last_sent_s = probe.sent_s
        requested_s = sum(probe.requested_s.values())
        if probe.queue_s is None and (
            others.meets(probe.sent_s, probe.arrived_s) or any(trains[way].delay(probe, way) for way in WAYS)
        ):
            behind += 1
            queued.append(QueuedSample(probe.arrived_s, requested_s, None, probe.rtt_s))
            continue
        if probe.queue_s:
            queued.append(QueuedSample(probe.arrived_s, requested_s, probe.queue_s, probe.rtt_s))
            continue
        rtt.append(Sample(probe.arrived_s, requested_s, probe.rtt_s))
        for way, measured_s in probe.measured_s.items():
            one_way[way].append(Sample(probe.arrived_s, probe.requested_s[way], measured_s))
    contact_rate, first_speed = trace.down_bit_s[trace.downlink_up], scale.pieces[0].speed
    return LinkFidelity(
        link=link,
        shaper=shaper,
        trace=trace_name,
        clock_bound_s=0.0,
        probe_load_bit_s=load_bit_s(float(contact_rate.max()), first_speed) if contact_rate.size else 0.0,
        rtt=tuple(rtt),
        rtt_behind_traffic=behind,
        down_rate=trains["down"].rates(others),
        up_rate=trains["up"].rates(others),
        down_delay=tuple(one_way["down"]),
        up_delay=tuple(one_way["up"]),
        queued_rtt=tuple(queued),
        # Packets never overtake: one without an answer is lost once a later one has been answered.
        unanswered_s=tuple(sent_s for sent_s in unanswered_s if 0 <= sent_s < last_sent_s),
    )


@dataclass(frozen=True)
class RoundTrip:
    """A probe there and back, scenario seconds.

    Attributes:
        sent_s, arrived_s: when it was sent, and when its reply was there.
        rtt_s: what it took, without the time of the program that answered.
        entered_s: when the probe or its reply entered each direction.
        requested_s: what each direction was to take.
        measured_s: what each direction took; empty without a common clock.
        queue_s: what the bytes before it took at the requested rates, both ways; None if unknown.
    """

    sent_s: float
    arrived_s: float
    rtt_s: float
    entered_s: Mapping[Way, float]
    requested_s: Mapping[Way, float]
    measured_s: Mapping[Way, float]
    queue_s: float | None


def round_trips(
    log: Path,
    ways: Mapping[Way, RequestedWay],
    scale: Timescale,
    queues_met: QueuesMet,
) -> Iterator[RoundTrip]:
    """Yield the answered probes that had a contact all the way, in the order in which they were sent.

    Each direction is asked what it requested when the packet entered it: the request as it was sent, its
    reply as it left the other end. The delay may have changed meanwhile.
    """
    lines = {way: PacketLine(ways[way]) for way in WAYS}
    start_monotonic_s = scale.start_monotonic_s
    for record in sorted(records(log, "rtt", scale), key=lambda record: int(record["sequence"])):
        there, back = WAYS[::-1] if record.get("asked_by") == "ground" else WAYS
        turnaround_s = record.get("turnaround_s", 0.0)
        arrived_s = record["monotonic_s"] - start_monotonic_s
        sent_s = arrived_s - record["rtt_s"] - turnaround_s
        if not (ways[there].is_up(sent_s) and ways[back].is_up(arrived_s)):
            continue
        requested_s = {there: lines[there].leaves_s(sent_s, RTT_FRAME_BYTES) - sent_s}
        # A board's kernel answers at once. When it did is not measured: as the probe was to be there.
        replied_s = sent_s + record.get("there_s", requested_s[there]) + turnaround_s
        requested_s[back] = lines[back].leaves_s(replied_s, RTT_FRAME_BYTES) - replied_s
        measured_s = {there: record["there_s"], back: record["back_s"]} if "there_s" in record else {}
        entered_s = {there: sent_s, back: replied_s}
        queues_s = [
            _queue_s(ways[way], entered_s[way], requested_s[way], start_monotonic_s, queues_met.get(way, ()))
            for way in WAYS
        ]
        queue_s = None if None in queues_s else sum(q for q in queues_s if q is not None)
        yield RoundTrip(sent_s, arrived_s, record["rtt_s"], entered_s, requested_s, measured_s, queue_s)


def _queue_s(
    way: RequestedWay,
    entered_s: float,
    requested_s: float,
    start_monotonic_s: float,
    met: Sequence[tuple[float, float]],
) -> float | None:
    """Return how much longer a probe was to take because of the queue that it met; None if none is known."""
    next_ = bisect_left(met, (start_monotonic_s + entered_s - STAMPS_APART_S,))
    if next_ == len(met) or met[next_][0] - start_monotonic_s > entered_s + SENDING_S:
        return None
    at_s, waiting_bytes = met[next_]
    if not waiting_bytes:
        return 0.0
    at_s -= start_monotonic_s
    return max(0.0, way.leaves_behind_s(at_s, RTT_FRAME_BYTES, waiting_bytes) - at_s - requested_s)


@dataclass(frozen=True)
class _Train:
    """A train of packets, scenario seconds, and its rate, requested and measured."""

    sent_s: float
    arrived_s: float
    dispersion_s: float
    rate: Sample

    def delays(self, probe: RoundTrip, way: Way) -> bool:
        """Return whether a probe waits for the train's packets, or for them to arrive before it."""
        entered_s = probe.entered_s[way]
        # Half as long again: the first packet's serialisation comes before the dispersion is counted.
        waits = self.sent_s <= entered_s <= self.sent_s + 1.5 * self.dispersion_s
        return waits or self.sent_s <= entered_s < self.arrived_s > entered_s + probe.requested_s[way]


def trains_sent(logs: Iterable[Path], scale: Timescale) -> list[Interval]:
    """Return when trains were on their way, by the records of the probes that received them."""
    found = []
    for log in logs:
        for record in records(log, "train", scale):
            arrived_s = record["monotonic_s"] - scale.start_monotonic_s
            found.append((arrived_s - record["there_s"], arrived_s))
    return found


def _trains(log: Path, way: RequestedWay, scale: Timescale) -> list[_Train]:
    """Return the trains that met no end of a contact."""
    trains = []
    for record in records(log, "train", scale):
        arrived_s = record["monotonic_s"] - scale.start_monotonic_s
        sent_s = arrived_s - record["there_s"]
        if not (way.is_up(sent_s) and way.is_up(arrived_s)):
            continue
        count, size_bytes = record["packets"], record["frame_bytes"]
        first_s, last_s = (way.serialised_s(sent_s, n * size_bytes * 8) for n in (1, count))
        line = PacketLine(way)
        left_s = [line.leaves_s(sent_s, size_bytes) for _ in range(count)]
        # A delay that changes meanwhile moves the packets apart or together; their rate is the same.
        moved_s = (left_s[-1] - left_s[0]) - (last_s - first_s)
        measured_s = record["dispersion_s"] - moved_s
        if measured_s > 0 and last_s > first_s:
            bits = (count - 1) * size_bytes * 8
            trains.append(
                _Train(
                    sent_s,
                    arrived_s,
                    record["dispersion_s"],
                    Sample(arrived_s, bits / (last_s - first_s), bits / measured_s),
                )
            )
    return trains


class _Busy:
    """Times in which other traffic was on the link."""

    def __init__(self, intervals: Sequence[Interval]) -> None:
        self._begins_s: list[float] = []
        self._ends_s: list[float] = []
        for begin_s, end_s in sorted(intervals):
            if self._ends_s and begin_s <= self._ends_s[-1]:
                self._ends_s[-1] = max(self._ends_s[-1], end_s)
            else:
                self._begins_s.append(begin_s)
                self._ends_s.append(end_s)

    def meets(self, from_s: float, to_s: float) -> bool:
        """Return whether there was some between two moments."""
        last = bisect_right(self._begins_s, to_s) - 1
        return last >= 0 and self._ends_s[last] >= from_s


class _Trains:
    """The trains of one direction, in the order in which they were sent."""

    def __init__(self, trains: Sequence[_Train]) -> None:
        self._trains = sorted(trains, key=lambda train: train.sent_s)
        self._sent_s = [train.sent_s for train in self._trains]
        self._longest_s = max((train.arrived_s - train.sent_s for train in trains), default=0.0)

    def delay(self, probe: RoundTrip, way: Way) -> bool:
        """Return whether a probe waits for one of them."""
        entered_s = probe.entered_s[way]
        # One and a half times its length a train is said to be in the way.
        first = bisect_left(self._sent_s, entered_s - 1.5 * self._longest_s)
        last = bisect_right(self._sent_s, entered_s)
        return any(train.delays(probe, way) for train in self._trains[first:last])

    def rates(self, busy: _Busy) -> tuple[Sample, ...]:
        """Return requested and measured rate of those that met no other traffic."""
        return tuple(one.rate for one in self._trains if not busy.meets(one.sent_s, one.arrived_s))


def records(log: Path, kind: str, scale: Timescale | None = None) -> list[dict[str, Any]]:
    """Return what a probe has recorded of one kind, "rtt" or "train", in scenario time if that is given."""
    if not log.exists():
        return []
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a probe that was killed
            continue
        if record["kind"] == kind and is_comparable(record, scale):
            found.append(in_scenario_time(record, scale))
    return found
