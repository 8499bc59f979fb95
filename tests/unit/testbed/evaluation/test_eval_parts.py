"""Parts of `spaceverse eval` on the testbed's side: cases, comparison with a played run, Pareto front."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from nodes.contract.latency import Latency
from testbed.errors import ScenarioError
from testbed.evaluation.cases import BEFORE_LOS_S, Sky, make_cases, part_of_first_pass
from testbed.evaluation.emulated import compare, scenario_of
from testbed.evaluation.plots import pareto
from testbed.results.latency import FrameResult
from traces.utc import parse_utc

SKY = Sky("FLOCK 2P-1", "Svalbard", parse_utc("2018-01-20T08:00:00Z"), 2)


def test_cases_are_real_passes_each_with_the_one_after_it() -> None:
    cases, traces = make_cases(SKY, [1e6, 20e6])
    assert [case.rate_bit_s for case in cases] == [1e6, 20e6]
    assert set(traces) == {"pass1-1M", "pass2-1M", "pass1-20M", "pass2-20M"}
    for case in cases:
        for one in case.passes:
            trace = traces[one.name]
            first, second = trace.contacts()
            assert first.aos_s == pytest.approx(SKY.lead_s, abs=0.01)
            assert 5000 < second.aos_s - first.aos_s < 6500  # an orbit
            assert max(row.down_bit_s for row in one.rows) == case.rate_bit_s
            assert one.captures_s[0] == 0
            assert one.captures_s[-1] == pytest.approx(first.los_s - BEFORE_LOS_S, abs=SKY.interval_s)
    with pytest.raises(ScenarioError, match="are needed"):
        make_cases(replace(SKY, count=500), [1e6])


def result(name: str, answer: str | None, end_to_end_s: float | None) -> FrameResult:
    by = "satellite" if answer else None
    return FrameResult(name, "S", "?", "two", "", 0.0, answer, by, None, answer, 40, end_to_end_s, None)


def row(name: str, latency_s: float, answer: str = "two", answered: str = "True") -> dict[str, str]:
    return {
        "pair": name,
        "link": "pass1-1M",
        "policy": "satellite-only",
        "capture_s": "10.0",
        "latency_s": str(latency_s),
        "contact_wait_s": "0.5",
        "answer": answer,
        "answered_by": "satellite",
        "answered": answered,
        "decision": "Accept",
    }


def test_a_played_run_is_compared_frame_by_frame() -> None:
    rows = [
        row("a", 2.0),
        row("b", 4.0, "one"),
        {**row("c", 95.0, answered="False"), "decision": "Drop"},
        row("d", 1.0, answered="False"),
        row("e", 1.0),
    ]
    played = [
        result("a", "two", 2.5),
        result("b", "two", 3.5),
        result("c", "two", 5.0),
        result("e", None, None),
    ]
    found = compare("pass1-1M", "satellite-only", rows, played)
    assert (found.compared, found.same, found.frames) == (2, 1, 4)
    assert (found.answered_emulated, found.answered_modelled) == (3, 3)
    assert (found.dropped_emulated, found.dropped_modelled) == (0, 1)
    assert found.latency_difference == 0
    assert (found.without_wait_emulated_s, found.without_wait_modelled_s) == (3.0, 2.5)
    assert "1 of 2 answers equal" in found.text()
    with pytest.raises(ScenarioError, match="no frame was answered in both"):
        compare("pass1-1M", "satellite-only", rows, [])


def test_the_ground_pace_of_the_run_is_told_apart_from_all_else() -> None:
    """Three frames arrive at once; the run's ground took 2 s for each, the model says 1 s."""

    def modelled(name: str, done_s: float) -> dict[str, str]:
        ground = {"answered_by": "ground", "received_s": "12.0", "ground_inference_s": "1.0"}
        return {**row(name, done_s - 10.0), **ground}

    def played(name: str, done_s: float) -> FrameResult:
        latency = Latency(done_s - 14.0, 0.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0)
        return replace(result(name, "two", done_s - 10.0), answered_by="ground", latency=latency)

    rows = [modelled("a", 13.0), modelled("b", 14.0), modelled("c", 15.0)]
    found = compare("l", "p", rows, [played("a", 14.0), played("b", 16.0), played("c", 18.0)])
    assert found.latency_emulated_s == 6.0
    assert found.latency_modelled_s == 4.0
    assert found.latency_difference_at_pace == 0
    assert "+0.0 % with the emulated run's ground inference times" in found.text()


def test_the_part_that_is_played_ends_where_it_is_told() -> None:
    cases, traces = make_cases(SKY, [1e6])
    part, trace = part_of_first_pass(cases[0], traces, 100.0, SKY)
    (one,) = part.passes
    assert (one.name, one.end_s, trace.end_s) == ("pass1-1M-played", 100.0, 100.0)
    assert [row.time_s for row in one.rows] == [row.time_s for row in trace.rows()]
    assert one.captures_s == [time_s for time_s in cases[0].passes[0].captures_s if time_s < 100]
    assert part.part
    _, longest = part_of_first_pass(cases[0], traces, 1e6, SKY)
    assert len(longest.contacts()) == 1  # not until the next orbit
    with pytest.raises(ScenarioError, match="no contact before 20 s"):
        part_of_first_pass(cases[0], traces, 20.0, SKY)


def test_the_scenario_that_is_played_has_the_modelled_frames(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(
        json.dumps({"models": {"compact": "c", "regular": "r"}, "compute_times": {"profile": "/p.json"}})
    )
    asked = {"image": "/a.jpg", "prompt": "how many?", "truth": "two", "kind": "count"}
    (tmp_path / "questions.json").write_text(json.dumps({"a": asked, "b": asked}))
    rows = [row("a", 2.0), {**row("b", 1.0), "policy": "mine.py"}]
    with (tmp_path / "modelled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    made = scenario_of(tmp_path, "pass1-1M", "satellite-only", ("S", "G"))
    satellite = made.satellites[0]
    assert [(f.frame, f.capture_s, f.truth) for f in satellite.frames] == [("a", 10.0, "two")]
    assert satellite.policy == "satellite-only"
    assert satellite.policy_parameters == tmp_path / "policies.json"
    assert satellite.confidence == tmp_path / "confidence"
    assert satellite.profile == Path("/p.json")
    assert made.links[0].follows == tmp_path / "traces" / "pass1-1M.csv"
    mine = scenario_of(tmp_path, "pass1-1M", "mine.py", ("S", "G"))
    assert mine.satellites[0].policy == str(Path("mine.py").absolute())
    assert [f.frame for f in mine.satellites[0].frames] == ["b"]
    with pytest.raises(ScenarioError, match=r"pass1-1M, mine.py cannot be emulated: .*names"):
        scenario_of(tmp_path, "pass1-1M", "mine.py", ("S", "S"))


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [(3.0, 80.0), (1.0, 60.0), (2.0, 60.0), (4.0, 70.0), (5.0, 90.0)]
    assert pareto(points) == [(1.0, 60.0), (3.0, 80.0), (5.0, 90.0)]
