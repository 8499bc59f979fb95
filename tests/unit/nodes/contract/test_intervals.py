"""Intervals of shares, against published cases and against draws."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.contract.intervals import effective_rows, share_interval, wilson_interval
from nodes.lab.evaluation.figures import bootstrap, share


def test_wilson_interval_of_a_known_case() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_an_interval_does_not_collapse_at_the_edges() -> None:
    frames = [f"f{number}" for number in range(16)]
    # Newcombe (1998): z^2 / (n + z^2) beyond the edge.
    assert share_interval(frames, [True] * 16) == (pytest.approx(16 / (16 + 3.8415), abs=1e-4), 1.0)
    assert share_interval(frames, [False] * 16) == (0.0, pytest.approx(3.8415 / (16 + 3.8415), abs=1e-4))
    both_right = np.zeros(16)
    lead = bootstrap(frames, lambda rows: float(both_right[rows].mean()), least=-1.0)
    assert lead.low == pytest.approx(-lead.high)
    assert lead.high == pytest.approx(1 - 0.025 ** (1 / 16))


def test_rows_of_one_frame_count_as_what_they_tell() -> None:
    hits = [number % 3 == 0 for number in range(60)]
    alone = [str(number) for number in range(60)]
    assert effective_rows(alone, hits) == pytest.approx(60)
    assert share_interval(alone, hits) == wilson_interval(20, 60)
    repeated = [hit for hit in hits for _ in range(5)]
    frames = [frame for frame in alone for _ in range(5)]
    assert effective_rows(frames, repeated) == pytest.approx(60, rel=0.02)
    assert effective_rows(frames, [True] * 300) == 60


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
def test_the_interval_holds_the_truth_as_often_as_it_says(truth: float) -> None:
    """Frames of four prompts that are right together or not: 24 frames, 600 draws of such an evaluation."""
    rng = np.random.default_rng(5)
    frames = [f"f{number}" for number in range(24) for _ in range(4)]
    holds = 0
    for _ in range(600):
        of_frame = rng.beta(truth * 3, (1 - truth) * 3, 24)
        hits = (rng.random((24, 4)) < of_frame[:, None]).ravel().tolist()
        interval = share(frames, hits)
        holds += interval.low <= truth <= interval.high
    assert holds / 600 > 0.92
