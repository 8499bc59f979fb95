"""Waits for a scenario time end when it comes, also by a jump or another speed, and when they are to."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nodes.clocks.changing_scale import ChangingScale
from nodes.clocks.timescale import Piece, Timescale
from tests.support.starved import Starvation

FAR_S = 1e6


@pytest.mark.parametrize("change", ["none", "jump", "speed"])
def test_a_wait_ends_at_its_time_however_that_comes(change: str) -> None:
    scale = ChangingScale(Timescale.starting(time.monotonic()))
    until_s = 0.1 if change == "none" else FAR_S
    with Starvation() as starvation, ThreadPoolExecutor() as pool:
        waits = [pool.submit(scale.wait_until, until_s, lambda: False) for _ in range(3)]
        time.sleep(0.03)
        now_s = time.monotonic()
        if change == "jump":
            scale.add(Piece(now_s, FAR_S - 0.05, 1.0))
        elif change == "speed":
            scale.add(Piece(now_s, scale.scale.at(now_s), 20 * FAR_S))
        assert all(wait.result(timeout=2.0) for wait in waits)
        late_s = (time.monotonic() - scale.scale.monotonic_of(until_s)) if change != "speed" else 0.0
    assert late_s >= 0
    assert late_s < 0.02 or starvation.starved


def test_a_wait_is_given_up_once_it_is_woken() -> None:
    scale, ended = ChangingScale(Timescale.starting(time.monotonic())), threading.Event()
    with ThreadPoolExecutor() as pool:
        wait = pool.submit(scale.wait_until, FAR_S, ended.is_set)
        ended.set()
        scale.wake()
        assert wait.result(timeout=2.0) is False


def test_a_clock_that_is_compared_meanwhile_is_looked_at_again() -> None:
    """As a board's, whose offset becomes known better while it waits."""
    start_s = time.monotonic()
    readings_s = iter([start_s, start_s + FAR_S, start_s + FAR_S])
    scale = ChangingScale(Timescale.starting(start_s))
    assert scale.wait_until(FAR_S, lambda: False, monotonic=lambda: next(readings_s), longest_s=0.01)
