"""Other traffic than the probes' is told from theirs by the bytes that the hosts have sent."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from testbed.network.traffic import Readings, busy_intervals
from traces.trace import Trace, TraceHeader

START_S = 1000.0


def test_the_probes_own_trains_are_no_traffic_and_what_is_queued_still_drains(tmp_path: Path) -> None:
    trace = Trace(
        TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test"),
        *(np.array([value]) for value in (0.0, True, True, 8e6, 8e6, 0.01, 0.02, 0.0, 0.0)),
        end_s=10.0,
    )
    time_s = np.arange(0, 10, 0.05)
    down, up = np.zeros(len(time_s)), np.zeros(len(time_s))
    down[time_s >= 2.0] += 20_000  # a train, which arrived at the ground
    down[time_s >= 4.0] += 20_000  # another program's packets
    up[time_s >= 7.0] += 20_000  # also 20 kB, but no train of the ground's
    train = {
        "kind": "train",
        "monotonic_s": START_S + 2.04,
        "there_s": 0.05,
        "packets": 20,
        "frame_bytes": 1000,
    }
    satellite, ground = tmp_path / "s.jsonl", tmp_path / "g.jsonl"
    ground.write_text(json.dumps(train))
    nothing = np.zeros(len(time_s))
    readings = Readings(START_S + time_s, nothing, down, nothing, up)
    found = sorted(busy_intervals(readings, trace, START_S, (satellite, ground)))
    assert [begin_s for begin_s, _ in found] == pytest.approx([3.95, 6.95], abs=1e-6)
    assert [end_s for _, end_s in found] == pytest.approx(
        [4.23, 7.23], abs=1e-6
    )  # 200 ms of queue, and delays
