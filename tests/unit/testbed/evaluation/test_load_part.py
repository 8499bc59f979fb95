"""The part of a named load that is played over the emulated network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.errors import ScenarioError
from testbed.evaluation.emulated import write_load_traces
from testbed.evaluation.load_part import part_of_load
from testbed.evaluation.loads import make_loads
from traces.trace_file import read_trace
from traces.utc import parse_utc

START = parse_utc("2018-01-20T08:00:00Z")
NAMES = ("FLOCK 2P-1", "Svalbard")


def test_a_part_of_a_load_is_its_first_contact_with_the_captures_there() -> None:
    (burst,) = make_loads(["burst"], NAMES[0], START)
    part = part_of_load(burst, 40.0, 90.0)
    (played,), (whole,) = part.passes, burst.passes
    aos_s = next(row.time_s for row in whole.rows if row.up)
    assert (part.of_load, part.title, part.part) == ("burst", "burst-played", True)
    assert part.begins_s == pytest.approx(aos_s - 40) and played.end_s == pytest.approx(90)
    assert played.rows[0].time_s == 0 and not played.rows[0].up
    assert next(row.time_s for row in played.rows if row.up) == pytest.approx(40)
    assert played.captures_s[0] == pytest.approx(10), "a burst begins 30 s before AOS"
    assert all(0 <= time_s < 90 for time_s in played.captures_s)
    with pytest.raises(ScenarioError, match="burst: no contact within 20 s; use a longer --emulated"):
        part_of_load(burst, 40.0, 20.0)


def test_its_trace_has_the_rates_that_the_evaluation_has_scaled(tmp_path: Path) -> None:
    (load,) = make_loads(["starlink"], NAMES[0], START)
    part = part_of_load(load, 12.0, 40.0)
    (tmp_path / "traces").mkdir()
    results = {"cases": [{"name": "starlink", "rate_bit_s": load.rate_bit_s / 100}]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    write_load_traces(tmp_path, [part], NAMES, START)
    trace = read_trace(tmp_path / "traces/starlink-played.csv")
    assert trace.end_s == 40 and len(trace.contacts("both")) == 1
    rows = load.passes[0].rows[: len(trace)]
    assert list(trace.down_bit_s) == pytest.approx([row.down_bit_s / 100 for row in rows])
    assert list(trace.down_delay_s) == pytest.approx([row.down_delay_s for row in rows])
