"""Metrics of a run for Prometheus, from the events of its management plane.

A scrape reads what is true at its moment, in scenario time. Everything is forgotten when the run ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodes.contract.events import Answered, Captured, ContactLosses, EnergyUsed, EventRecord, LinkChanged
from testbed.errors import InputError
from testbed.run.progress import Progress
from testbed.run.progress.tally import ANSWERED, Tally
from traces.trace import Trace

LOOPBACK = "127.0.0.1"
LATENCY_BUCKETS_S = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0)


class RunMetrics(Progress, Collector):
    """Counts the events of a run, and is read by Prometheus from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()
        self._now_s: float | None = None
        self._events: dict[str, int] = {}
        self._links: dict[str, bool] = {}
        self._lost: dict[str, int] = {}
        self._energy_j: dict[str, float] = {}
        self._captured_s: dict[str, float] = {}
        self._latencies_s: dict[str, list[float]] = {name: [] for name in ANSWERED}

    def event(self, record: EventRecord) -> None:
        """Count an event."""
        with self._lock:
            self._events[record.name] = self._events.get(record.name, 0) + 1
            self._tally.add(record)
            self._count(record)

    def step(self, text: str) -> None:
        """Ignore steps of building and removing: another display logs them."""

    def playing(self, traces: Mapping[str, Trace]) -> None:
        """Ignore the traces: events tell the state of each link."""

    def tick(self, now_s: float) -> None:
        """Take the scenario time."""
        self._now_s = now_s

    def _count(self, record: EventRecord) -> None:
        match record.event:
            case LinkChanged() as link:
                self._links[link.link] = link.up
            case ContactLosses() as losses:
                lost = losses.inside + losses.late + losses.overflow
                self._lost[losses.link] = self._lost.get(losses.link, 0) + lost
            case EnergyUsed() as energy:
                self._energy_j[record.node] = self._energy_j.get(record.node, 0.0) + energy.energy_j
            case Captured() as captured if record.time_s is not None:
                self._captured_s[captured.frame] = record.time_s
            case Answered() as answered if record.time_s is not None:
                captured_s = self._captured_s.pop(answered.frame, None)
                if captured_s is not None:  # else answered before, or a question
                    self._latencies_s[f"by {answered.answered_by}"].append(record.time_s - captured_s)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment; called at each scrape."""
        with self._lock:
            return [
                *self._time(),
                *self._frames(),
                self._latency(),
                _counter("spaceverse_events", "Events, by kind.", "event", self._events),
                _gauge("spaceverse_link_up", "Whether a link carries packets.", "link", self._links),
                _counter("spaceverse_lost_packets", "Packets lost as contacts ended.", "link", self._lost),
                _counter("spaceverse_energy_joules", "Energy above idling.", "node", self._energy_j),
            ]

    def _time(self) -> list[Metric]:
        if self._now_s is None:  # the links are not played yet
            return []
        text = "Scenario time since second 0."
        return [GaugeMetricFamily("spaceverse_scenario_time_seconds", text, value=self._now_s)]

    def _frames(self) -> list[Metric]:
        frames = GaugeMetricFamily(
            "spaceverse_frames", "Frames, by the last step that they reached.", labels=["satellite", "step"]
        )
        size = GaugeMetricFamily(
            "spaceverse_on_board_bytes", "Size of images that wait on board.", labels=["satellite"]
        )
        for satellite, own in self._tally.satellites.items():
            size.add_metric([satellite], own.on_board_bytes)
            for step, count in own.steps.items():
                frames.add_metric([satellite, step], count)
        return [frames, size]

    def _latency(self) -> Metric:
        """Return the histogram of latencies in scenario time, which prometheus_client's own would not see."""
        text = "Time from a capture to its answer, in scenario time."
        family = HistogramMetricFamily("spaceverse_answer_latency_seconds", text, labels=["answered"])
        for name, values in self._latencies_s.items():
            counts = [(str(edge), float(sum(v <= edge for v in values))) for edge in LATENCY_BUCKETS_S]
            family.add_metric([name], [*counts, ("+Inf", float(len(values)))], sum_value=sum(values))
        return family


def _gauge(name: str, text: str, label: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _counter(name: str, text: str, label: str, values: dict[str, Any]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


@contextmanager
def metrics_endpoint(port: int) -> Iterator[RunMetrics]:
    """Serve the metrics of a run at http://127.0.0.1:PORT/metrics while the body runs.

    Args:
        port: TCP port.

    Raises:
        InputError: the port is in use.
    """
    metrics, registry = RunMetrics(), CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise InputError(f"--metrics-port {port}: {error.strerror}; choose another port") from None
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
