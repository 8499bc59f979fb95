"""An automatic speed falls as soon as the machine does not keep up, and rises with care."""

from __future__ import annotations

from itertools import pairwise

import pytest

from testbed.run.clock.auto_speed import CALM_WINDOWS, FORGET_WINDOWS, HIGHEST, LOWEST, WINDOW_S, AutoSpeed


def windows(auto: AutoSpeed, count: int, keeps_up_below: float, begin: int = 0) -> list[float]:
    """Return the speeds after each of some windows on a machine that keeps up below a speed."""
    speeds = []
    for number in range(begin, begin + count):
        late_s = 0.05 if auto.speed < keeps_up_below else 0.6
        auto.add([late_s] * 20, answers=0, late_answers=0)
        assert auto.look(number * WINDOW_S + WINDOW_S / 2) is None
        auto.look((number + 1) * WINDOW_S)
        speeds.append(auto.speed)
    return speeds


def test_it_comes_close_to_what_the_machine_can_do_and_stays_there() -> None:
    auto = AutoSpeed(100.0, 0.0)
    speeds = windows(auto, 60, keeps_up_below=30.0)
    assert speeds[0] == pytest.approx(70.0)
    assert max(speeds[20:]) < 36 and min(speeds[20:]) > 18
    assert sum(after < before for before, after in pairwise(speeds[20:])) <= 3


def test_it_rises_only_after_calm_windows_up_to_its_limit() -> None:
    auto = AutoSpeed(100.0, 0.0)
    speeds = windows(auto, CALM_WINDOWS, 1e9)
    assert speeds[:-1] == [100.0] * (CALM_WINDOWS - 1) and speeds[-1] > 100.0
    assert windows(auto, 50, 1e9, CALM_WINDOWS)[-1] == HIGHEST


def test_it_forgets_a_speed_that_was_too_fast() -> None:
    auto = AutoSpeed(100.0, 0.0)
    windows(auto, 1, 100.0)
    assert max(windows(auto, FORGET_WINDOWS, 1e9, 1)) < 100.0
    assert max(windows(auto, 3 * CALM_WINDOWS, 1e9, 1 + FORGET_WINDOWS)) > 100.0


def test_late_answers_slow_it_down_and_nothing_to_judge_changes_nothing() -> None:
    auto = AutoSpeed(10.0, 0.0)
    assert auto.look(WINDOW_S) is None
    auto.add([], answers=10, late_answers=3)
    changed = auto.look(2 * WINDOW_S)
    assert changed is not None and changed.speed == pytest.approx(7.0)
    assert changed.reason == "3 of 10 answers were later than their profile's"
    for number in range(3, 40):
        auto.add([5.0], 0, 0)
        auto.look(number * WINDOW_S)
    assert auto.speed == LOWEST
