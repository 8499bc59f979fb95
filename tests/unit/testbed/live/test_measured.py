"""Samples of a link while it is measured, and afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from nodes.clocks.timescale import Timescale
from testbed.live.measured import LATEST_BYTES, measured, measuring


def test_the_latest_records_of_the_probes_are_samples_in_scenario_time(tmp_path: Path) -> None:
    satellite, ground = tmp_path / "satellite.jsonl", tmp_path / "ground.jsonl"
    rtt = [{"kind": "rtt", "sequence": n, "rtt_s": 0.01, "monotonic_s": 100 + n / 4} for n in range(5000)]
    satellite.write_text("".join(json.dumps(record) + "\n" for record in rtt) + '{"kind": "rtt", "seq')
    train = {"kind": "train", "dispersion_s": 0.02, "rate_bit_s": 4e6, "there_s": 0.01, "monotonic_s": 104.0}
    ground.write_text(json.dumps(train) + "\n")
    told = measuring(satellite, ground, Timescale.starting(100.0))
    assert told["down_rate"] == [{"time_s": 4.0, "measured": 4e6}]
    assert told["rtt"][-1] == {"time_s": 4999 / 4, "measured": 0.01}
    assert len(json.dumps(told["rtt"])) < LATEST_BYTES and 1000 < len(told["rtt"]) < 5000

    ahead = measuring(satellite, ground, Timescale.starting(100.0, speed=10))
    assert ahead["down_rate"] == [{"time_s": 40.0, "measured": 4e5}]


def test_a_link_that_is_not_measured_has_no_samples(tmp_path: Path) -> None:
    assert measuring(tmp_path / "a", tmp_path / "b", Timescale.starting(0)) == {"rtt": [], "down_rate": []}
    assert measured(tmp_path / "fidelity.json", "S - G") is None


def test_a_finished_run_has_samples_of_its_links(tmp_path: Path) -> None:
    sample = {"time_s": 1.0, "requested": 0.02, "measured": 0.021}
    record = {"link": "S - G", "rtt": [sample], "down_rate": []}
    (tmp_path / "fidelity.json").write_text(json.dumps([record]))
    told = {"rtt": [{"time_s": 1.0, "measured": 0.021}], "down_rate": []}
    assert measured(tmp_path / "fidelity.json", "S - G") == told
    assert measured(tmp_path / "fidelity.json", "S - H") is None
