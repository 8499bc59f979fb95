"""Thresholds keep the stated rate of errors, and leave decisions out if they cannot."""

from __future__ import annotations

import numpy as np

from nodes.lab.eo_mini_2.trained.conformal import (
    NOTHING_ACCEPTED,
    NOTHING_OFFLOADED,
    accept_from,
    offload_below,
)

_FRAMES = [str(number) for number in range(19)]
_CONFIDENCE = np.arange(19) / 20


def test_thresholds_are_the_widest_that_keep_the_rate() -> None:
    right = np.arange(19) >= 10  # the ten least confident answers are wrong
    assert accept_from(_CONFIDENCE, right, _FRAMES, 0.1) == 9 / 20  # (1 + 1) / 20
    assert accept_from(_CONFIDENCE, right, _FRAMES, 0.2) == 7 / 20  # (3 + 1) / 20
    below = offload_below(_CONFIDENCE, right, _FRAMES, 0.1)
    assert np.count_nonzero(below > _CONFIDENCE) == 11  # ten wrong answers and a right one


def test_a_frame_counts_once() -> None:
    wrong = np.zeros(38, dtype=bool)
    twice = np.repeat(_CONFIDENCE, 2)
    frames = [frame for frame in _FRAMES for _ in range(2)]
    assert accept_from(twice, wrong, frames, 0.1) == 18 / 20  # both answers about one frame


def test_equal_confidences_are_accepted_together_or_not_at_all() -> None:
    right = np.array([True] * 17 + [False, False])
    assert accept_from(np.full(19, 0.5), right, _FRAMES, 0.1) == NOTHING_ACCEPTED
    assert accept_from(np.full(19, 0.5), right, _FRAMES, 0.15) == 0.5


def test_too_few_frames_allow_no_decision() -> None:
    right = np.ones(3, dtype=bool)
    assert accept_from(np.ones(3), right, ["a", "b", "c"], 0.1) == NOTHING_ACCEPTED
    assert offload_below(np.ones(3), ~right, ["a", "b", "c"], 0.1) == NOTHING_OFFLOADED


def test_answers_without_the_stage_are_not_decided() -> None:
    confidence = np.where(np.arange(19) < 9, np.nan, 0.9)
    right = np.arange(19) >= 9
    assert accept_from(confidence, right, _FRAMES, 0.1) == 0.9
    assert accept_from(np.full(19, np.nan), right, _FRAMES, 0.1) == NOTHING_ACCEPTED
