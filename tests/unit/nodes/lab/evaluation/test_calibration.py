"""Confidences beside the token probabilities: who is told to be better, and when nobody is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nodes.lab.evaluation.calibration import TOKENS, confidence_figures
from testbed.evaluation.table import confidence_text


def figures(signal: float, tokens: float, count: int = 200) -> dict[str, Any]:
    """Two scores with a signal each, of pairs that come in fours."""
    rng = np.random.default_rng(3)
    hits = rng.random(count) < 0.6
    scores = {
        name: 1 / (1 + np.exp(-(strength * (hits - 0.5) + rng.normal(size=count))))
        for name, strength in ((TOKENS, tokens), ("correctness, end", signal))
    }
    frames = [f"f{number // 4}" for number in range(count)]
    return {
        "target": "correctness",
        "test": {"calibration": confidence_figures(scores, hits, frames, ["count"] * count)},
    }


def test_a_better_confidence_is_called_so_and_the_difference_is_of_the_same_draws() -> None:
    found = figures(signal=4.0, tokens=0.5)
    ours, tokens = (found["test"]["calibration"][name] for name in ("correctness, end", TOKENS))
    difference = ours["auroc_less_tokens"]
    assert difference["value"] == pytest.approx(ours["auroc"]["value"] - tokens["auroc"]["value"])
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    assert tokens["auroc_less_tokens"] == {"value": 0, "low": 0, "high": 0}
    assert "above token probabilities, with disjoint intervals" in confidence_text(found)
    assert "correctness, end: AUROC 1.00 (" in confidence_text(found)


def test_what_cannot_be_told_apart_is_called_so() -> None:
    assert "the intervals overlap" in confidence_text(figures(signal=1.0, tokens=1.0))
    assert "does not help" in confidence_text(figures(signal=0.2, tokens=3.0))
    alone = figures(signal=1.0, tokens=1.0)
    del alone["test"]["calibration"]["correctness, end"]
    assert "too few" in confidence_text(alone)


def test_pairs_without_a_confidence_are_left_out() -> None:
    scores = np.array([0.1, 0.9, np.nan, 0.8])
    tokens = np.array([0.2, 0.3, 0.4, 0.5])
    hits = np.array([False, True, True, True])
    found = confidence_figures(
        {TOKENS: tokens, "correctness, stage 1": scores, "agreement, end": np.full(4, np.nan)},
        hits,
        list("abcd"),
        [""] * 4,
    )
    assert set(found) == {TOKENS, "correctness, stage 1"}
    assert found["correctness, stage 1"]["n"] == 3
    assert found["correctness, stage 1"]["auroc"]["value"] == 1
