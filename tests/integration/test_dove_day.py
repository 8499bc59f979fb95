"""A part of the day of twenty Doves: accelerated, without idle time, with satellites that meet no station."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import load_scenario, part_of, run_scenario
from tests.support import ROOT
from tests.support.footprint import Footprint

pytestmark = [pytest.mark.root]
PART_S = 28_250, 28_450  # seven satellites capture a frame each; three of them meet no station


def test_a_part_of_the_day_answers_what_meets_a_station(tmp_path: Path) -> None:
    day = load_scenario(ROOT / "topologies/dove_day.py")
    part = part_of(day, *PART_S).model_copy(update={"answers": tmp_path / "answers", "grace_s": 5.0})
    with Footprint() as footprint, pytest.warns(UserWarning, match="has no contact: it flies along"):
        outcome = run_scenario(part, tmp_path / "runs")
    assert footprint.left_behind() == {}
    results = outcome.results
    assert results is not None and results.passage is not None and results.acceleration is not None
    assert results.passage.jumps_s and results.passage.speed_up > 5
    assert len(results.frames) == len(part.satellites) == 7
    assert all(frame.failure is None for frame in results.frames)
    assert results.answered >= 3
    left = [frame for frame in results.frames if not frame.answered]
    assert left and all("waited to be sent" in frame.reached for frame in left)
    assert "answers late by" in results.acceleration.line()
