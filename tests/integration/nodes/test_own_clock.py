"""A node with another machine's clock: its stamps are converted to the run's time within their bound."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nodes.clocks.timescale import Timescale
from testbed.mqtt.broker import Broker, UnixListener
from testbed.mqtt.management import ManagementPlane
from testbed.network.programs import Program
from tests.support import ROOT
from tests.support.waiting import wait_for

OFFSET_S, DRIFT = 3.7, 50e-6
NODE = ROOT / "tests/support/nodes/own_clock.py"


def true_run_s(own_s: float) -> float:
    """What the run's clock showed when the node's showed `own_s`: the kernel's offset, then the drift."""
    return own_s / (1 + DRIFT) - OFFSET_S


@pytest.mark.light
@pytest.mark.root
def test_a_clock_3_7_s_off_and_drifting_is_known_within_its_bound(tmp_path: Path) -> None:
    socket = tmp_path / "plane"
    with Broker(tmp_path, [UnixListener(socket)]) as broker:
        run = ManagementPlane(socket, tmp_path / "events.jsonl")
        node = Program(
            "node", [sys.executable, str(NODE), str(OFFSET_S), str(DRIFT), str(socket)], log=tmp_path / "log"
        )
        try:
            events = watch(run, node, broker)
        finally:
            node.stop()
            run.close()
    stamped = [e for e in events if "own_monotonic_s" in e]
    assert {"early", "tick", "two", "clock"} <= {named(e) for e in stamped}
    for event in stamped:
        error_s = event["monotonic_s"] - true_run_s(event["own_monotonic_s"])
        assert abs(error_s) <= event["clock_bound_s"], f"{named(event)}: {error_s} s"
        assert event["clock_bound_s"] <= 0.02, f"{named(event)}, told while the node was loading"
    begun_s = min(e["own_monotonic_s"] for e in stamped)
    for clock in (e for e in events if e["event"] == "clock"):
        assert clock["offset_s"] == pytest.approx(-OFFSET_S, abs=clock["own_monotonic_s"] * DRIFT + 0.01)
        assert abs(clock["drift_ppm"] + DRIFT * 1e6) <= clock["drift_bound_ppm"]
        # Half of the quickest exchange, and what the drift may have added since: that one may be the first.
        since_s = clock["own_monotonic_s"] - begun_s
        drifted_s = clock["drift_bound_ppm"] * 1e-6 * since_s
        assert clock["bound_s"] <= clock["round_trip_s"] / 2 + drifted_s + 1e-6
        assert clock["breaks"] == 0
        assert clock["chrony"], "its state, or why there is none"


def named(event: dict[str, Any]) -> str:
    """What own_clock.py calls it: the frame of its events, or the kind of another."""
    return str(event.get("frame", event["event"]))


def seen(run: ManagementPlane, name: str) -> list[dict[str, Any]]:
    return [event for event in (record.to_json() for record in list(run.events)) if named(event) == name]


def watch(run: ManagementPlane, node: Program, broker: Broker) -> list[dict[str, Any]]:
    """Start the node's scenario time, take its broker away once, and end it."""
    wait_for(lambda: bool(seen(run, "clock")), "clock")
    start_s = time.monotonic() + 0.5
    run.start_nodes(Timescale.starting(start_s))
    wait_for(lambda: bool(seen(run, "two")), "event at 2 s")
    (two,) = seen(run, "two")[:1]
    # It waited by its own clock for a moment of the run's.
    assert two["time_s"] >= 2.0 - two["clock_bound_s"]
    assert true_run_s(two["own_monotonic_s"]) - start_s >= 2.0 - two["clock_bound_s"]
    broker.stop()
    time.sleep(0.5)
    broker.start()
    ticks = len(seen(run, "tick"))
    wait_for(lambda: len(seen(run, "tick")) > ticks + 4, "events after the restart")
    node.check(started=True)
    run.stop_nodes()
    wait_for(lambda: node.process.poll() == 0, "end of the node")
    return [record.to_json() for record in run.events]
