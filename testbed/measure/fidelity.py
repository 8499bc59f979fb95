"""Fidelity of a link: the probes' measurements compared with the trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from testbed.measure.probe import RTT_FRAME_BYTES, load_bit_s
from traces.trace import Trace

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe: scenario time, the value requested by the trace at that time, the measured value."""

    time_s: float
    requested: float
    measured: float


@dataclass(frozen=True)
class LinkFidelity:
    """Requested and measured values of one link; errors are measured minus requested.

    RTTs are those of probes that met no other traffic on the way.

    Attributes:
        clock_bound_s: largest error that the clocks can have added; 0 if both ends are namespaces of one
            kernel.
        probe_load_bit_s: highest load of one direction by the probe itself.
        down_delay, up_delay: one-way delays of the same RTT probes; empty without a common clock.
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
    load: Mapping[str, Any] | None = None
    counters: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Return requested against measured, as a small table."""
        figures = self.summary()
        rows: list[tuple[str, ...]] = [("", "requested", "measured", "error", "samples")]
        rtt = [figures[name] for name in ("requested_rtt_s", "measured_rtt_s", "rtt_error_p50_s")]
        rows.append(("RTT, ms", *(_shown(value, 1e3) for value in rtt), str(len(self.rtt))))
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


def requested_rtt_s(trace: Trace, time_s: float) -> float:
    """Return the RTT of a probe that enters an idle link at `time_s`: both delays and its serialisation."""
    return sum(requested_one_way_s(trace, time_s))


def requested_one_way_s(trace: Trace, time_s: float) -> tuple[float, float]:
    """Return delay plus serialisation of an RTT probe on an idle link at `time_s`, down and up, seconds."""
    row = trace.row_at(time_s)
    bits = RTT_FRAME_BYTES * 8
    return row.down_delay_s + bits / row.down_bit_s, row.up_delay_s + bits / row.up_bit_s


def compare(
    *,
    link: str,
    shaper: str,
    trace_name: str,
    trace: Trace,
    start_monotonic_s: float,
    satellite_log: Path,
    ground_log: Path,
    busy: Sequence[Interval],
) -> LinkFidelity:
    """Compare the records of the two probes with the trace.

    Args:
        link: the link's name.
        shaper: the shaper's name and how it works.
        trace_name: the trace's file name.
        trace: the requested link.
        start_monotonic_s: CLOCK_MONOTONIC of scenario second 0.
        satellite_log: records of the probe at the satellite's end.
        ground_log: records of the probe at the ground's end.
        busy: intervals of scenario time in which other traffic was on the link. RTT probes that met it are
            counted but not compared, since they measure a queue. Trains that met it are left out.
    """
    rtt: list[Sample] = []
    ways: tuple[list[Sample], list[Sample]] = ([], [])
    behind = 0
    trains = _train_intervals(ground_log, trace, "down_delay_s", start_monotonic_s)
    trains += _train_intervals(satellite_log, trace, "up_delay_s", start_monotonic_s)
    for record in _read(satellite_log):
        time_s = record["monotonic_s"] - start_monotonic_s
        if record["kind"] != "rtt" or not _steady(trace, time_s - record["rtt_s"], time_s):
            continue
        if _meets([*busy, *trains], time_s - record["rtt_s"], time_s):
            behind += 1
        else:
            sent_s = time_s - record["rtt_s"]
            rtt.append(Sample(time_s, requested_rtt_s(trace, sent_s), record["rtt_s"]))
            if "there_s" not in record:  # with a board's own clock, only the round trip is known
                continue
            requested_s = requested_one_way_s(trace, sent_s)
            for way, requested, name in zip(ways, requested_s, ("there_s", "back_s"), strict=True):
                way.append(Sample(time_s, requested, record[name]))
    contact_rate = [row.down_bit_s for row in trace.rows() if row.up]
    return LinkFidelity(
        link=link,
        shaper=shaper,
        trace=trace_name,
        clock_bound_s=0.0,
        probe_load_bit_s=load_bit_s(max(contact_rate)) if contact_rate else 0.0,
        rtt=tuple(rtt),
        rtt_behind_traffic=behind,
        down_rate=_trains(ground_log, trace, "down_bit_s", start_monotonic_s, busy),
        up_rate=_trains(satellite_log, trace, "up_bit_s", start_monotonic_s, busy),
        down_delay=tuple(ways[0]),
        up_delay=tuple(ways[1]),
    )


def _trains(
    log: Path, trace: Trace, column: str, start_monotonic_s: float, busy: Sequence[Interval]
) -> tuple[Sample, ...]:
    samples = []
    for record in _read(log):
        time_s = record["monotonic_s"] - start_monotonic_s
        if record["kind"] == "train" and _steady(trace, time_s - 0.1, time_s):
            if _meets(busy, time_s - 0.1, time_s):
                continue
            samples.append(Sample(time_s, getattr(trace.row_at(time_s), column), record["rate_bit_s"]))
    return tuple(samples)


def _train_intervals(log: Path, trace: Trace, delay: str, start_monotonic_s: float) -> list[Interval]:
    """Return when the probe's own trains were on the link; a packet enters it one delay before it arrives."""
    intervals = []
    for record in _read(log):
        time_s = record["monotonic_s"] - start_monotonic_s
        if record["kind"] == "train" and _steady(trace, time_s, time_s):
            # Half as long again: the first packet's serialisation comes before the dispersion is counted.
            length_s = 1.5 * record["dispersion_s"] + getattr(trace.row_at(time_s), delay)
            intervals.append((time_s - length_s, time_s))
    return intervals


def _steady(trace: Trace, from_s: float, to_s: float) -> bool:
    """Return whether the link was up at both ends of the probe's time."""
    if from_s < 0 or to_s >= trace.end_s:
        return False
    first, last = trace.row_at(from_s), trace.row_at(to_s)
    return bool(first.up and last.up)


def _meets(busy: Sequence[Interval], from_s: float, to_s: float) -> bool:
    return any(begin <= to_s and from_s <= end for begin, end in busy)


def _read(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    records = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # the last line of a probe that was killed
            continue
    return records
