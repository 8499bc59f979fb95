"""Figures of policies, on made-up rows."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.contract.evaluation import JobCase, JobPass, JobRow
from nodes.contract.latency import PARTS
from nodes.lab.evaluation.results.summaries import (
    PUBLISHED,
    compare,
    same_rows,
    summary,
    summary_of_case,
)

ROW = JobRow(time_s=0.0, up=True, down_bit_s=1e6, down_delay_s=0.0, up_delay_s=0.0)
CASE = JobCase(rate_bit_s=1e6, passes=[JobPass(name="p", rows=[ROW], end_s=9.0, captures_s=[0.0])])


def rows(policy: str, hits: str, *, latency_s: float = 10.0, bytes_down: int = 100) -> list[dict[str, Any]]:
    """Return a row for each letter of `hits`: two prompts a frame, two frames a place; y is right."""
    return [
        {
            "policy": policy,
            "pair": f"p{number}",
            "frame": f"f{number // 2}",
            "place": f"g{number // 4}",
            "right": hit == "y",
            "timely": hit == "y",
            "answered": True,
            "answered_by": "ground",
            "decision": "SendWhole",
            "latency_s": latency_s,
            "beyond_wait_s": latency_s / 2,
            "bytes_down": bytes_down,
            "onboard_inference_s": 1.0,
            **dict.fromkeys(PARTS, 1.0),
        }
        for number, hit in enumerate(hits)
    ]


def test_bytes_are_given_by_frame_and_by_prompt() -> None:
    found = summary(rows("a", "yyyynnnn"))
    assert (found["pairs"], found["frames"], found["places"]) == (8, 4, 2)
    assert (found["bytes_per_frame"], found["bytes_per_prompt"]) == (200, 100)
    assert found["latency_beyond_wait_mean_s"] == 5
    assert found["timely_accuracy"]["low"] < 0.2 and found["timely_accuracy"]["high"] > 0.8, "two places"


def test_a_comparison_pairs_the_prompts() -> None:
    better, worse = rows("a", "yyyy" * 6), rows("b", "yyyn" * 6, latency_s=12.0, bytes_down=400)
    found = compare(better, worse)
    assert (found["n"], found["places"], found["bytes_ratio"]) == (24, 6, 0.25)
    assert found["timely_accuracy"] == pytest.approx({"value": 0.25, "low": 0.25, "high": 0.25})
    assert found["latency_s"]["value"] == pytest.approx(-2.0)
    mixed = compare(better, rows("b", "yyyyyynn" * 3))["timely_accuracy"]
    assert mixed["low"] < mixed["value"] == 0.25 < mixed["high"]
    alone = compare(rows("a", "yyyy"), rows("b", "yyyn"))["timely_accuracy"]
    assert alone["low"] != alone["low"], "one place has no interval"


def test_policies_with_the_same_outcomes_are_named_and_count_once() -> None:
    ours, one = rows("spaceverse", "yyyy" * 3), rows("offload-after", "yyyn" * 3, bytes_down=200)
    twin = [{**row, "policy": "cascade"} for row in one]
    other = rows("satellite-only", "ynnn" * 3)
    assert same_rows({"a": ours, "b": one, "c": twin}) == [["b", "c"]]
    names = ["spaceverse", "offload-after", "cascade", "satellite-only"]
    found = summary_of_case(CASE, [*ours, *one, *twin, *other], names, 1.4, ["spaceverse"])
    assert found["headline"]["roster"] == ["satellite-only", "offload-after"]
    assert found["headline"]["timely_gain"] == pytest.approx(1.0)
    assert found["headline"]["load"] == found["load"] == 1.4
    assert set(found["paired"]["spaceverse"]) == set(names[1:])
    assert [found["policies"][name]["contact_rule"] for name in names] == [True, False, False, False]
    assert found["headline"]["better_in_both"] == []
    assert set(found["headline"]["roster"]) <= set(PUBLISHED)


def test_a_users_policy_is_compared_as_well() -> None:
    both = [*rows("my.py", "yyyy"), *rows("ground-only", "yyyn")]
    found = summary_of_case(CASE, both, ["my.py", "ground-only"], 1.0, [])
    assert found["paired"]["my.py"]["ground-only"]["timely_accuracy"]["value"] == 0.25
    assert found["headline"] is None
