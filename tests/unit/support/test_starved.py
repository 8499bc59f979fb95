"""The checks of time bounds are right: an awake machine is no excuse for a bad link."""

from __future__ import annotations

import ctypes
import time

import pytest

from tests.support.starved import ATTEMPTS, DESCHEDULED_S, Starvation, unless_starved


def hold_the_interpreter(for_s: float) -> None:
    """No other thread of this process runs meanwhile, as if the machine was descheduled."""
    ctypes.PyDLL(None).usleep(round(for_s * 1e6))


def test_a_machine_that_was_descheduled_once_is_starved() -> None:
    with Starvation() as starvation:
        time.sleep(0.05)
        hold_the_interpreter(0.1)
        time.sleep(0.05)
    assert starvation.worst_s > DESCHEDULED_S
    assert starvation.starved


def test_what_was_before_can_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    with Starvation() as starvation:
        monkeypatch.setattr(starvation, "_late_s", [1.0])
        assert starvation.starved
        starvation.forget()
        assert starvation.worst_s < 1.0


def test_a_bad_result_counts_at_once_on_a_machine_that_was_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Starvation, "starved", False)
    measured = []
    with pytest.raises(AssertionError, match="not good in 1 attempts"):
        unless_starved(lambda: measured.append(1), lambda _: False)
    assert measured == [1]


def test_a_starved_machine_measures_again_and_may_end_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Starvation, "starved", True)
    results = iter(range(100))
    assert unless_starved(lambda: next(results), lambda found: found == 3) == 3
    with pytest.raises(pytest.xfail.Exception, match=f"undecided.* {ATTEMPTS} attempts"):
        unless_starved(lambda: next(results), lambda _: False)
    assert next(results) == 4 + ATTEMPTS


def test_what_must_never_happen_is_not_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Starvation, "starved", True)

    def reordered() -> None:
        raise AssertionError("reordered")

    with pytest.raises(AssertionError, match="reordered"):
        unless_starved(reordered, lambda _: True)
