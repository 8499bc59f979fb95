"""Intervals, separation and calibration against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.lab.evaluation.figures import auroc, auroc_within, bootstrap, calibration_error, reliability, share


def test_auroc_counts_pairs() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.1])
    hits = np.array([True, True, False, False])
    assert auroc(scores, hits) == (1 + 1 + 0.5 + 1) / 4
    assert auroc(-scores, hits) == 1 - 3.5 / 4
    assert np.isnan(auroc(scores, np.array([True] * 4)))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_what_counting_says(rows: list[tuple[int, bool]]) -> None:
    right = [score for score, hit in rows if hit]
    wrong = [score for score, hit in rows if not hit]
    got = auroc(np.array([float(s) for s, _ in rows]), np.array([h for _, h in rows]))
    if not right or not wrong:
        assert np.isnan(got)
        return
    counted = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong) / len(right) / len(wrong)
    assert got == pytest.approx(counted)


def test_a_kind_alone_tells_nothing_within_kinds() -> None:
    kinds = ["easy"] * 4 + ["hard"] * 4
    scores = np.array([0.9] * 4 + [0.1] * 4)
    hits = np.array([True, True, True, False, False, False, False, True])
    assert auroc(scores, hits) == 0.75
    assert auroc_within(scores, hits, kinds) == 0.5


def test_calibration_error_by_hand() -> None:
    scores = np.array([0.95, 0.95, 0.15, 0.15])
    hits = np.array([True, False, False, False])
    assert calibration_error(scores, hits) == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)
    assert [(round(b["confidence"], 2), b["accuracy"], b["n"]) for b in reliability(scores, hits)] == [
        (0.15, 0.0, 2),
        (0.95, 0.5, 2),
    ]
    assert calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0


def test_an_interval_draws_groups_and_not_rows() -> None:
    groups = [
        f"g{number // 20}" for number in range(200)
    ]  # ten frames of twenty prompts, each all right or all wrong
    hits = [int(group[1:]) % 2 == 0 for group in groups]
    by_group = share(groups, hits)
    by_row = share([str(number) for number in range(200)], hits)
    assert by_group.value == by_row.value == 0.5
    assert by_group.high - by_group.low > 2.5 * (by_row.high - by_row.low)
    # Ten coins: 95 % of their mean lies within 1.96 * 0.5 / sqrt(10) = 0.31.
    assert by_group.high == pytest.approx(0.8, abs=0.11)
    assert by_group == share(groups, hits)


def test_an_interval_leaves_out_draws_without_a_figure() -> None:
    nothing = bootstrap(["a", "b"], lambda rows: float("nan"), resamples=20)
    assert np.isnan(nothing.value)
