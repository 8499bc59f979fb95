"""Bounds on time, judged on a machine that may have been busy; see `testbed.machine.starvation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from testbed.machine.starvation import AWAY_S, STARVED_S, Starvation

__all__ = ["ATTEMPTS", "AWAY_S", "STARVED_S", "Starvation", "unless_starved"]

ATTEMPTS = 8

Result = TypeVar("Result")


def unless_starved(measure: Callable[[], Result], good: Callable[[Result], bool]) -> Result:
    """Measure until the result is good; one that is not counts at once, unless the machine was starved then.

    A machine that was starved in every attempt cannot tell: the test is then neither passed nor failed, and
    is listed as undecided (an expected failure, in pytest's words).
    """
    found = []
    for _ in range(ATTEMPTS):
        with Starvation() as starvation:
            result = measure()
        found.append((result, str(starvation)))
        if good(result):
            return result
        if not starvation.starved:
            raise AssertionError(f"not good in {len(found)} attempts: {found}")
    pytest.xfail(f"undecided: the machine was starved in each of {len(found)} attempts: {found}")
