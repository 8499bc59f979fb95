"""What verify measures again because the machine was descheduled, and what it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from testbed.machine.starvation import DESCHEDULED_S, STARVED_S, Lateness, Starvation
from testbed.verify import measures as verify_measures
from testbed.verify.checks import BOUNDS, Check, loss_check, none_check, share_check
from testbed.verify.effort import QUICK
from testbed.verify.link import MeasuredLink
from testbed.verify.measures import ATTEMPTS, Measurements
from testbed.verify.trace import steepest_pass
from testbed.verify.verify import GROUPS

Outcome = tuple[Sequence[float], list[Check]]

AWAKE = (0.1e-3,) * 20
DESCHEDULED = (*AWAKE, 0.6)
LATE = (2 * STARVED_S,) * 20


class Noted(Starvation):
    """Was late by what it is told."""

    to_note: Sequence[float] = ()

    def __init__(self, every_s: float) -> None:
        super().__init__(every_s)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._late_s = list(self.to_note)


def rate(share_of_asked: float) -> Check:
    return share_check("tcp", "TCP goodput, 10 Mbit/s", "bit/s", 10e6, share_of_asked * 10e6, 0.02)


def measured(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> tuple[list[Check], Measurements]:
    """The rows of one step whose attempts end so; an attempt more is an error."""
    left = iter(outcomes)

    def measure() -> list[Check]:
        Noted.to_note, checks = next(left)
        return checks

    class OneStep(Measurements):
        def _steps(self) -> Iterator[tuple[str, str, Callable[[], list[Check]]]]:
            yield "tcp", "step", measure

    monkeypatch.setattr(verify_measures, "Starvation", Noted)
    link = cast("MeasuredLink", None)
    measurements = OneStep(link, QUICK, BOUNDS["nfqueue"], steepest_pass(5.0), unshaped=lambda: link)
    ((_, step),) = measurements.steps(GROUPS)
    rows = step()
    assert next(left, None) is None
    return rows, measurements


def test_a_rate_that_was_missed_while_the_machine_was_descheduled_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, measurements = measured(monkeypatch, (DESCHEDULED, [rate(0.5)]), (AWAKE, [rate(1.0)]))
    spoilt, last = rows
    assert (spoilt.error, spoilt.checked, spoilt.ok) == (-0.5, False, True)
    assert "10 Mbit/s (timers late by 0.10 ms at p90, 600 ms at worst: measured again)" in spoilt.what
    assert last == rate(1.0)
    assert measurements.lateness.record()["timer_late_worst_s"] == 0.6


def test_a_link_that_is_wrong_is_found_so_on_a_machine_that_is_descheduled_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, _ = measured(monkeypatch, *[(DESCHEDULED, [rate(0.5)])] * ATTEMPTS)
    assert [row.checked for row in rows] == [False] * (ATTEMPTS - 1) + [True]
    assert not rows[-1].ok
    assert "600 ms at worst" in rows[-1].what


@pytest.mark.parametrize("late_s", [AWAKE, LATE, (*LATE, 0.6)], ids=["awake", "late", "late and descheduled"])
def test_what_is_missed_otherwise_counts_at_once(
    monkeypatch: pytest.MonkeyPatch, late_s: Sequence[float]
) -> None:
    """A machine that is late all the time would be so again."""
    rows, _ = measured(monkeypatch, (late_s, [rate(0.5)]))
    assert [row.ok for row in rows] == [False]
    assert ("timers late" in rows[0].what) == (late_s is not AWAKE)


@pytest.mark.parametrize(
    "never",
    [none_check("pass", "reordered along the pass", 1, 100), loss_check("loss", "loss down", 0.2, 1000, 500)],
    ids=["reordered", "loss"],
)
def test_what_must_not_happen_is_not_excused(monkeypatch: pytest.MonkeyPatch, never: Check) -> None:
    rows, _ = measured(monkeypatch, (DESCHEDULED, [rate(0.5), never]))
    assert [row.ok for row in rows] == [False, False]


def test_what_was_kept_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = measured(monkeypatch, (DESCHEDULED, [rate(1.0)]))
    assert rows == [rate(1.0)]


def test_the_record_is_of_all_that_was_noted() -> None:
    lateness = Lateness()
    assert set(lateness.record().values()) == {None}
    with Starvation(0.001) as starvation:
        time.sleep(0.05)
    lateness.add(starvation)
    record = lateness.record()
    assert record["timer_late_worst_s"] == max(starvation.late_s)
    assert 0 < (record["timer_late_p50_s"] or 0) <= (record["timer_late_p99_s"] or 0)
    assert DESCHEDULED_S > STARVED_S
