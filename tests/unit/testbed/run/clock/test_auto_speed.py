"""An automatic speed falls as soon as the machine does not keep up, and rises with care."""

from __future__ import annotations

from itertools import pairwise

import pytest

from testbed.results.clock.answer_lateness import AnswerLateness
from testbed.run.clock.auto_speed import (
    CALM_WINDOWS,
    FORGET_WINDOWS,
    LOWEST,
    WINDOW_S,
    AutoSpeed,
)


def windows(auto: AutoSpeed, count: int, keeps_up_below: float, begin: int = 0) -> list[float]:
    """Return the speeds after each of some windows on a machine that keeps up below a speed."""
    speeds = []
    for number in range(begin, begin + count):
        late_s = 0.05 if auto.speed < keeps_up_below else 1.6
        auto.add([late_s] * 20, ())
        assert auto.look(number * WINDOW_S + WINDOW_S / 2) is None
        auto.look((number + 1) * WINDOW_S)
        speeds.append(auto.speed)
    return speeds


def test_it_comes_close_to_what_the_machine_can_do_and_stays_there() -> None:
    auto = AutoSpeed(100.0, 0.0)
    speeds = windows(auto, 60, keeps_up_below=30.0)
    assert speeds[0] == pytest.approx(75.0)
    assert max(speeds[20:]) < 36 and min(speeds[20:]) > 18
    assert sum(after < before for before, after in pairwise(speeds[20:])) <= 3


def test_it_rises_only_after_calm_windows_up_to_its_limit() -> None:
    auto = AutoSpeed(100.0, 0.0)
    speeds = windows(auto, CALM_WINDOWS, 1e9)
    assert speeds[:-1] == [100.0] * (CALM_WINDOWS - 1) and speeds[-1] > 100.0
    assert windows(auto, 50, 1e9, CALM_WINDOWS)[-1] == 200.0


def test_it_forgets_a_speed_that_was_too_fast() -> None:
    auto = AutoSpeed(100.0, 0.0)
    windows(auto, 1, 100.0)
    assert max(windows(auto, FORGET_WINDOWS, 1e9, 1)) < 100.0
    assert max(windows(auto, 3 * CALM_WINDOWS, 1e9, 1 + FORGET_WINDOWS)) > 100.0


def test_answers_that_are_late_by_much_of_their_latency_slow_it_down() -> None:
    auto = AutoSpeed(10.0, 0.0)
    assert auto.look(WINDOW_S) is None  # nothing to judge changes nothing
    auto.add([], [AnswerLateness(late_s=5.0, latency_s=240.0)] * 10)
    assert auto.look(2 * WINDOW_S) is None
    auto.add([], [AnswerLateness(late_s=5.0, latency_s=10.0)] * 10)
    changed = auto.look(3 * WINDOW_S)
    assert changed is not None and changed.speed == pytest.approx(7.5)
    assert changed.reason == "4.0% of the latency of 20 answers was lateness of this machine"


def test_one_late_answer_is_no_trend_and_those_at_another_speed_are_forgotten() -> None:
    auto = AutoSpeed(10.0, 0.0)
    auto.add([], [AnswerLateness(late_s=9.0, latency_s=10.0)])
    assert auto.look(WINDOW_S) is None
    auto.add([], [AnswerLateness(late_s=9.0, latency_s=10.0)] * 20)
    assert auto.look(2 * WINDOW_S) is not None
    assert auto.look(3 * WINDOW_S) is None
    for number in range(4, 60):
        auto.add([50.0], ())
        auto.look(number * WINDOW_S)
    assert auto.speed == pytest.approx(LOWEST, rel=0.01)


def test_it_is_never_faster_than_its_highest() -> None:
    auto = AutoSpeed(20.0, 0.0, highest=30.0)
    assert windows(auto, 20, 1e9)[-1] == auto.speed == 30.0
