"""Runs of one scenario under several policies, side by side."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import pytest

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed.cli.scenario.comparison import ComparedRun, comparison_table, policies_of, policy_to_compare
from testbed.cli.terminal.console import console
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.scenario.model import GroundStation, Link, Satellite, Scenario, read_frames


def scenario(**fields: object) -> Scenario:
    frames = read_frames(FIRST_LIGHT, (1.0, 2.0))
    satellite = {"name": "S", "model": str(COMPACT), "frames": frames} | fields
    return Scenario(
        name="small",
        satellites=(Satellite.model_validate(satellite),),
        stations=(GroundStation(name="G", model=str(REGULAR)),),
        links=(Link(satellite="S", station="G", follows=Path("pass.csv")),),
    )


def results(*frames: FrameResult) -> Results:
    return Results("small", "nfqueue", frames, (), 1e-3)


ANSWERED = FrameResult(
    frame="a",
    satellite="S",
    prompt="?",
    truth="yes",
    kind="",
    capture_s=1.0,
    answer="yes",
    answered_by="satellite",
    confidence=0.9,
    onboard_answer="yes",
    bytes_sent=1_500,
    end_to_end_s=2.0,
    latency=None,
)


def test_the_mean_time_is_that_of_frames_that_all_runs_answered(capsys: pytest.CaptureFixture[str]) -> None:
    late = replace(ANSWERED, frame="b", answer="no", answered_by="ground", end_to_end_s=40.0)
    never = replace(late, answer=None, answered_by=None, end_to_end_s=None)
    whole = scenario()
    flown = [
        (whole, results(ANSWERED, never)),
        (whole.with_policy("ground-only"), results(replace(ANSWERED, end_to_end_s=5.0), late)),
    ]
    console().print(
        comparison_table([ComparedRun.of(policies_of(one), found.to_json()) for one, found in flown])
    )
    printed = capsys.readouterr().out
    rows = {words[0]: words[1:] for line in printed.splitlines() if (words := line.split())}
    assert rows["offload-after"] == ["1", "1", "1", "0.50", "(0.09-0.91)", "3", "2.00"]
    assert rows["ground-only"] == ["2", "1", "1", "0.50", "(0.09-0.91)", "3", "5.00"]
    assert "of the 1 of 2 frames that all answered" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_parameters_of_a_policy_do_not_go_to_another_one_but_those_in_a_file_do(tmp_path: Path) -> None:
    other = scenario(accept_confidence=0.75).with_policy("ground-only")
    assert (other.name, other.satellites[0].policy) == ("small-ground-only", "ground-only")
    assert other.satellites[0].parameters == {}
    given = scenario(policy_parameters={"accept_confidence": 0.75})
    assert given.with_policy("spaceverse").satellites[0].parameters == {}
    of_all = tmp_path / "policies.json"
    assert scenario(policy_parameters=of_all).with_policy("spaceverse").satellites[0].parameters == of_all


def test_a_policy_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert policy_to_compare("ground-only") == "ground-only"
    with pytest.raises(
        ArgumentTypeError, match=r"no policy is called 'groundonly'; did you mean ground-only\?"
    ):
        policy_to_compare("groundonly")
    with pytest.raises(ArgumentTypeError, match=r"policies: spaceverse, .* or a Python file"):
        policy_to_compare("oracle")
    with pytest.raises(ArgumentTypeError, match=r"no policy at .*mine\.py"):
        policy_to_compare(str(tmp_path / "mine.py"))
