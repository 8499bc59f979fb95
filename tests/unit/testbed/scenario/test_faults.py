"""Faults of a scenario: checked against it, and part of the traces that its links play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nodes.models import COMPACT
from testbed.errors import ScenarioError
from testbed.run.traces import played_traces
from testbed.scenario.faults import (
    BitFlips,
    LinkCut,
    RateDegraded,
    SatelliteLost,
    StationDown,
    described,
)
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Scenario, to_json
from tests.unit.testbed.scenario.dishes.test_plan import TRACES
from tests.unit.testbed.scenario.dishes.test_plan import scenario as without_faults


def scenario(folder: Path, *faults: Any) -> Scenario:
    return Scenario.model_validate({**dict(without_faults(folder)), "faults": faults})


def contacts(made: Scenario, link: str, of: Any = "both") -> list[tuple[float, float]]:
    return [(one.aos_s, one.los_s) for one in played_traces(made, TRACES)[link].contacts(of)]


def test_faults_take_links_down_and_slow_them(tmp_path: Path) -> None:
    a, b = "A - G", "B - G"
    lost = scenario(tmp_path, SatelliteLost(at_s=100, until_s=150, target="A"))
    assert contacts(lost, a) == [(10, 100), (150, 300)] and contacts(lost, b) == [(60, 460)]
    down = scenario(tmp_path, StationDown(at_s=200, target="G"))
    assert contacts(down, a) == [(10, 200)] and contacts(down, b) == [(60, 200)]
    one_way = scenario(tmp_path, LinkCut(at_s=20, until_s=30, target=a, way="down"))
    assert contacts(one_way, a, "up") == [(10, 300)] and contacts(one_way, a) == [(10, 20), (30, 300)]
    rain = scenario(tmp_path, RateDegraded(at_s=20, until_s=30, target=a, factor=0.5, loss=0.1))
    (played,) = [played_traces(rain, TRACES)[a]]
    assert [played.row_at(t).down_bit_s for t in (19, 20, 30)] == [8e3, 4e3, 8e3]
    assert played.row_at(25).up_loss == pytest.approx(0.1)
    (note,) = played.header.notes
    assert note == "fault from 20 s to 30 s: rate degraded (0.5 times the rate and a loss of 10% more)"
    flips = scenario(tmp_path, BitFlips(at_s=20, target="A", flips=3))
    assert played_traces(flips, TRACES) == TRACES
    assert described(flips.faults[0]) == "3 bits of its weights, seed 0"


def test_a_link_that_would_be_too_slow_is_refused(tmp_path: Path) -> None:
    snail = scenario(tmp_path, RateDegraded(at_s=20, until_s=30, target="A - G", factor=1e-9))
    with pytest.raises(ScenarioError, match="cannot follow its trace with the scenario's faults: at 20 s"):
        played_traces(snail, TRACES)


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        ([{"what": "link cut", "at_s": 1, "target": "A"}], "'link cut' refers to unknown link 'A'"),
        ([{"what": "satellite lost", "at_s": 1, "target": "G"}], "unknown satellite 'G'"),
        ([{"what": "station down", "at_s": 1, "target": "A"}], "unknown station 'A'"),
        ([{"what": "station lost", "at_s": 1, "target": "G"}], "does not match any of the expected tags"),
        (
            [{"what": "link cut", "at_s": 5, "until_s": 5, "target": "A - G"}],
            "until_s is 5, not after",
        ),
        ([{"what": "rate degraded", "at_s": 5, "target": "A - G", "factor": 0}], "greater than 0"),
        ([{"what": "link cut", "at_s": 5, "target": "A - G", "factor": 1}], "factor"),
        (
            [SatelliteLost(at_s=1, target="A"), BitFlips(at_s=9, until_s=10, target="A", flips=1)],
            "'bit flips in weights' of 'A' from 9 s overlaps 'satellite lost'",
        ),
    ],
)
def test_impossible_faults_are_refused(tmp_path: Path, faults: list[Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        scenario(tmp_path, *faults)


def test_bits_flip_in_a_folder_of_weights_alone(tmp_path: Path) -> None:
    flips = BitFlips(at_s=1, target="A", flips=1)
    with pytest.raises(ScenarioError, match=r"'bit flips in weights' of A: compact is no folder with"):
        scenario(tmp_path, flips).check_files()
    whole = scenario(tmp_path, flips).model_dump()
    whole["satellites"][0]["model"] = str(COMPACT)
    Scenario.model_validate(whole).check_files()


def test_faults_round_trip_through_a_run_s_file(tmp_path: Path) -> None:
    made = scenario(
        tmp_path,
        SatelliteLost(at_s=100, until_s=150, target="A"),
        RateDegraded(at_s=20, until_s=30, target="A - G", factor=0.5, loss=0.1),
    )
    (tmp_path / "scenario.json").write_text(to_json(made))
    assert load_scenario(tmp_path / "scenario.json") == made
