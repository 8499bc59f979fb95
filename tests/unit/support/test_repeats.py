"""Only tests that measure time are repeated on a starved machine, and the repeats are counted."""

from __future__ import annotations

import pytest

from tests.conftest import REPEATABLE
from tests.support import ROOT

pytest_plugins = ["pytester"]

INNER = """
import pytest
from tests.support.starved import Starvation

Starvation.starved = {starved}
attempts = []

@pytest.mark.alone
def test_marked():
    attempts.append(1)
    assert len(attempts) == 3

def test_other():
    assert False, "fails every time"
"""


def run_inside(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *, starved: bool
) -> pytest.RunResult:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"    {mark}: repeatable\n" for mark in REPEATABLE))
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(INNER.format(starved=starved))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_only_a_marked_test_is_repeated_on_a_starved_machine(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_inside(pytester, monkeypatch, starved=True)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"], outcomes["rerun"]) == (1, 1, 2)
    result.stdout.fnmatch_lines(["repeats of tests on a starved machine: 2", "FAILED *test_other*"])


def test_nothing_is_repeated_on_a_machine_that_is_awake(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_inside(pytester, monkeypatch, starved=False)
    assert result.parseoutcomes()["failed"] == 2
    result.stdout.fnmatch_lines(["repeats of tests on a starved machine: 0"])
