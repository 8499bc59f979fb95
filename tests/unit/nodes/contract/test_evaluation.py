"""The job file of an evaluation, as written and read by both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from nodes.contract.config import ConfigError
from nodes.contract.evaluation import (
    POLICY_NAMES,
    Job,
    JobCase,
    JobData,
    JobPass,
    JobRow,
    choices_of,
    default_of,
    read_job,
)
from nodes.contract.models.options import ModelOptions
from nodes.contract.queueing import completion_times_s
from nodes.policies import POLICIES

ROW = JobRow(time_s=0, up=True, down_bit_s=1e6, down_delay_s=0.002, up_delay_s=0.002)
CASE = JobCase(rate_bit_s=1e6, passes=[JobPass(name="pass1", rows=[ROW], end_s=10, captures_s=[0.0, 2.0])])


def job(tmp_path: Path) -> Job:
    return Job(data=JobData(folder="eo-mini"), cases=[CASE], cache=tmp_path / "c", output=tmp_path)


def test_the_names_of_policies_are_those_that_nodes_has() -> None:
    assert tuple(POLICIES) == POLICY_NAMES


def test_a_job_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(job(tmp_path).model_dump_json())
    assert read_job(path) == job(tmp_path)


def test_defaults_and_choices_are_those_of_the_fields(tmp_path: Path) -> None:
    made = job(tmp_path)
    for field in (
        "compact",
        "regular",
        "answer_within_s",
        "target",
        "goal",
        "seed",
        "device",
        "model_threads",
    ):
        assert default_of(field) == getattr(made, field)
    assert set(choices_of("target")) == {"correctness", "agreement"}
    assert set(choices_of("goal")) == {"floor", "budget"}
    assert made.policies == list(POLICY_NAMES)


def test_an_older_job_names_its_threads_otherwise(tmp_path: Path) -> None:
    fields = job(tmp_path).model_dump(mode="json")
    del fields["model_threads"]
    made = Job.model_validate(fields | {"threads": 3})
    assert made.options == ModelOptions(model_threads=3)


def test_a_budget_needs_its_goal(tmp_path: Path) -> None:
    fields = job(tmp_path).model_dump() | {"goal_bytes": 1000.0, "goal": "floor"}
    with pytest.raises(ValidationError, match="goal_bytes is the size of a budget"):
        Job.model_validate(fields)
    assert Job.model_validate(fields | {"goal": "budget"}).goal_bytes == 1000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_threads": 0}, r"job\.json: model_threads: .*greater than or equal to 1"),
        ({"polices": []}, r"job\.json: unknown field 'polices'; known fields: .*policies"),
        ({"cases": []}, r"job\.json: cases: "),
    ],
)
def test_a_job_that_does_not_hold_is_one_line(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job(tmp_path).model_dump(mode="json") | change))
    with pytest.raises(ConfigError, match=expected) as refused:
        read_job(path)
    assert "\n" not in str(refused.value)


def test_requests_are_served_in_the_order_of_arrival() -> None:
    assert completion_times_s([]) == []
    assert completion_times_s([(0.0, 4.0), (1.0, 2.0), (2.0, 2.0)], servers=2) == [4.0, 3.0, 5.0]
    assert completion_times_s([(10.0, 2.0), (0.0, 1.0), (10.5, 1.0), (11.0, 5.0)]) == [12.0, 1.0, 13.0, 18.0]
