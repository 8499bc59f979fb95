"""Metrics of a run, scraped over HTTP and read by Prometheus' own parser."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from nodes.contract.events import (
    Answered,
    Captured,
    ContactLosses,
    EnergyUsed,
    Event,
    EventRecord,
    LinkChanged,
)
from testbed.cli.main import main
from testbed.errors import InputError
from testbed.export.metrics import LOOPBACK, metrics_endpoint
from testbed.run.progress import Progress, SeveralProgress

EVENTS: list[tuple[str, float | None, Event]] = [
    ("run", -1.0, LinkChanged(link='S "a" - G', up=False, lateness_s=0.0)),
    ("S", 2.0, Captured(frame="a", size_bytes=100)),
    ("S", 3.0, Captured(frame="b", size_bytes=70)),
    ("run", 10.0, LinkChanged(link='S "a" - G', up=True, lateness_s=0.0)),
    ("S", 11.0, EnergyUsed(frame="a", energy_j=1.5, whole_j=2, idle_w=1, duration_s=1, held_s=0, samples=9,
                           source="s", scope="board")),
    ("G", 22.0, Answered(frame="a", answer="two", answered_by="ground", confidence=None)),
    ("G", 22.0, Answered(frame="a", answer="two", answered_by="ground", confidence=None)),  # delivered again
    ("run", 30.0, ContactLosses(link='S "a" - G', inside=3, late=1, overflow=0)),
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def scraped(port: int) -> dict[str, Metric]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def play(progress: Progress) -> None:
    for node, time_s, event in EVENTS:
        progress.event(EventRecord(node=node, monotonic_s=0.0, time_s=time_s, event=event))
    progress.tick(31.5)


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}


def test_a_scrape_reads_what_the_events_say() -> None:
    port = free_port()
    with metrics_endpoint(port) as metrics:
        assert scraped(port)["spaceverse_events"].samples == []
        play(SeveralProgress(Progress(), metrics))
        families = scraped(port)
        frames = values(families["spaceverse_frames"])
        assert frames["spaceverse_frames", "S", "on board"] == 1
        assert frames["spaceverse_frames", "S", "by ground"] == 1
        assert values(families["spaceverse_on_board_bytes"]) == {("spaceverse_on_board_bytes", "S"): 70}
        assert values(families["spaceverse_link_up"]) == {("spaceverse_link_up", 'S "a" - G'): 1}
        assert values(families["spaceverse_lost_packets"]) == {
            ("spaceverse_lost_packets_total", 'S "a" - G'): 4
        }
        assert values(families["spaceverse_energy_joules"])["spaceverse_energy_joules_total", "S"] == 1.5
        assert values(families["spaceverse_scenario_time_seconds"]).popitem()[1] == 31.5
        latency = values(families["spaceverse_answer_latency_seconds"])
        name = "spaceverse_answer_latency_seconds"
        assert latency[f"{name}_count", "by ground"] == 1
        assert latency[f"{name}_sum", "by ground"] == 20
        assert [latency[f"{name}_bucket", "by ground", edge] for edge in ("10.0", "30.0", "+Inf")] == [
            0,
            1,
            1,
        ]
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--metrics-port {port}: Address already in use"):
            metrics_endpoint(port).__enter__()


def test_the_endpoint_listens_at_the_loopback_address_alone() -> None:
    port = free_port()
    with metrics_endpoint(port), socket.socket() as other:
        other.bind(("127.0.0.2", port))  # fails if the endpoint has all addresses


def test_the_dashboard_shows_metrics_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    assert main(["export", "dashboard", "-o", str(path)]) == 0
    panels = json.loads(path.read_text())["panels"]
    port = free_port()
    with metrics_endpoint(port) as metrics:
        play(metrics)
        known = {sample.name for family in scraped(port).values() for sample in family.samples}
    used = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"spaceverse_\w+", target["expr"])
    }
    assert len(panels) == 10
    assert used <= known
    assert known - used <= {f"spaceverse_answer_latency_seconds_{end}" for end in ("count", "sum")}
