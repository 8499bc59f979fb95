"""The bound of a clock's offset holds on every path that is physically possible."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.clocks.offset import KEPT, ClockOffset, Exchange

Other = Callable[[float], float]
delays_s = st.floats(1e-5, 2.0)


def drifting(offset_s: float, drift: float) -> Other:
    return lambda own_s: own_s + offset_s + drift * own_s


def exchange(other: Other, sent_s: float, there_s: float, away_s: float, back_s: float) -> Exchange:
    """What is stamped when the ways take so long; all durations in one's own seconds."""
    received_s, answered_s = sent_s + there_s, sent_s + there_s + away_s
    return Exchange(sent_s, other(received_s), other(answered_s), answered_s + back_s)


def exchanges(
    other: Other, ways: list[tuple[float, float]], every_s: float = 5.0, begin_s: float = 0.0
) -> list[Exchange]:
    return [
        exchange(other, begin_s + every_s * number, there_s, 1e-4, back_s)
        for number, (there_s, back_s) in enumerate(ways)
    ]


@given(
    ways=st.lists(st.tuples(delays_s, delays_s), min_size=1, max_size=2 * KEPT),
    offset_s=st.floats(-1e6, 1e6),
    drift=st.floats(-400e-6, 400e-6),
    asked_s=st.floats(-100.0, 1500.0),
)
def test_no_path_however_unequal_breaks_the_bounds(
    ways: list[tuple[float, float]], offset_s: float, drift: float, asked_s: float
) -> None:
    other = drifting(offset_s, drift)
    clock = ClockOffset.of(exchanges(other, ways))
    found = clock.at(asked_s)
    assert found is not None and clock.breaks == 0
    assert abs(found.offset_s - (other(asked_s) - asked_s)) <= found.bound_s + 1e-8
    assert abs(found.drift - drift) <= found.drift_bound + 1e-8


@given(
    ways=st.lists(st.tuples(delays_s, delays_s), min_size=2, max_size=40),
    changes=st.lists(st.floats(-5e-6, 5e-6), min_size=5, max_size=5),
)
def test_a_rate_that_wanders_as_crystals_do_does_not_break_them_either(
    ways: list[tuple[float, float]], changes: list[float]
) -> None:
    length_s = 5.0 * len(ways) + 10

    def other(own_s: float) -> float:
        ahead_s, step_s = 3.7 + 50e-6 * own_s, length_s / len(changes)
        return (
            own_s
            + ahead_s
            + sum(
                change * min(max(own_s - step_s * number, 0.0), step_s)
                for number, change in enumerate(changes)
            )
        )

    clock = ClockOffset.of(exchanges(other, ways))
    for own_s in (0.0, length_s / 2, length_s):
        found = clock.at(own_s)
        assert found is not None
        assert abs(found.offset_s - (other(own_s) - own_s)) <= found.bound_s + 1e-9


def test_a_clock_3_7_s_off_that_drifts_50_ppm_is_found_within_half_a_quick_round_trip() -> None:
    jitter = random.Random(7)  # noqa: S311 - a path, not a secret
    other = drifting(3.7, 50e-6)
    # A one-sided queue of up to 20 ms on one way alone: the worst case for a mean.
    ways = [(0.0004 + jitter.expovariate(200), 0.0004) for _ in range(120)]
    clock = ClockOffset.of(exchanges(other, ways, every_s=1.0))
    found = clock.at(120.0)
    assert found is not None
    assert abs(found.offset_s - (other(120.0) - 120.0)) <= found.bound_s < 0.0015
    assert abs(found.drift - 50e-6) <= found.drift_bound < 40e-6
    assert clock.other_s(120.0) == pytest.approx(other(120.0), abs=found.bound_s)
    assert clock.own_s(clock.other_s(77.0)) == pytest.approx(77.0, abs=1e-9)


def test_the_bound_is_half_the_smallest_round_trip_and_grows_with_what_is_not_known_of_the_drift() -> None:
    clock = ClockOffset()
    assert clock.at(0.0) is None
    with pytest.raises(LookupError):
        clock.other_s(0.0)
    clock.add(exchange(drifting(10.0, 0.0), 0.0, 0.03, 0.0, 0.01))
    at_once, later = clock.at(0.04), clock.at(100.04)
    assert at_once is not None and later is not None
    assert at_once.round_trip_s == pytest.approx(0.04)
    assert at_once.bound_s == pytest.approx(0.02, rel=0.01)
    assert later.bound_s == pytest.approx(0.02 + 100 * 500e-6, rel=0.01), "500 ppm, as nothing is known yet"
    clock.add(exchange(drifting(10.0, 0.0), 100.0, 0.0005, 0.0, 0.0005))
    learned = clock.at(100.001)
    assert learned is not None and learned.bound_s == pytest.approx(0.0005, rel=0.01)
    assert learned.drift_bound < 250e-6, "two exchanges tell of the drift"


@pytest.mark.parametrize("step_s", [-5.0, 0.2, 3600.0])
def test_a_step_of_a_clock_forgets_what_was_before_it(step_s: float) -> None:
    ways = [(0.001, 0.001)] * 20
    clock = ClockOffset.of(exchanges(drifting(1.0, 20e-6), ways))
    stepped = drifting(1.0 + step_s, 20e-6)
    for one in exchanges(stepped, ways, begin_s=100.0):
        clock.add(one)
    found = clock.at(200.0)
    assert found is not None and clock.breaks == 1
    assert abs(found.offset_s - (stepped(200.0) - 200.0)) <= found.bound_s < 0.005


def test_thousands_of_exchanges_keep_the_quickest_and_reach_far_back() -> None:
    other = drifting(-2.0, -80e-6)
    ways = [(0.0002, 0.0002) if number % 97 == 0 else (0.05, 0.05) for number in range(1000)]
    clock = ClockOffset()
    for one in exchanges(other, ways, every_s=1.0):
        clock.add(one)
    found = clock.at(971.0)
    assert found is not None and found.exchanges <= KEPT
    assert found.round_trip_s == pytest.approx(0.0004, rel=0.01)
    assert abs(found.offset_s - (other(971.0) - 971.0)) <= found.bound_s < 0.001
    assert found.drift_bound < 30e-6


@pytest.mark.parametrize(
    "stamps",
    [
        (0.0, float("nan"), 1.0, 1.0),
        (0.0, float("inf"), float("inf"), 1.0),
        (1.0, 0.0, 0.0, 0.5),
        (0.0, 2.0, 1.0, 1.0),
        (0.0, 0.0, 5.0, 1.0),
    ],
)
def test_stamps_that_cannot_be_are_refused(stamps: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="answer"):
        ClockOffset().add(Exchange(*stamps))
