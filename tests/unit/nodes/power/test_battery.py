"""Battery and temperature against closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.power.battery import Battery
from nodes.power.heat import Heat


def battery(charge_j: float) -> Battery:
    return Battery(capacity_j=1000.0, efficiency=0.9, charge_j=charge_j)


def test_what_is_left_over_charges_with_a_loss() -> None:
    charging = battery(100.0)
    charging.advance(input_w=15.0, load_w=5.0, duration_s=20.0)
    assert charging.charge_j == pytest.approx(100 + 0.9 * 200)
    assert (charging.input_j, charging.used_j, charging.lost_j) == pytest.approx((300, 100, 20))


def test_what_is_missing_comes_from_the_battery_without_a_loss() -> None:
    draining = battery(500.0)
    draining.advance(input_w=5.0, load_w=15.0, duration_s=20.0)
    assert draining.charge_j == pytest.approx(300)
    assert (draining.input_j, draining.used_j, draining.lost_j) == pytest.approx((100, 300, 0))


def test_a_full_battery_takes_nothing_and_an_empty_one_gives_nothing() -> None:
    full = battery(910.0)
    assert full.time_to_edge_s(input_w=20.0, load_w=10.0) == pytest.approx(10.0)
    full.advance(input_w=20.0, load_w=10.0, duration_s=15.0)
    assert full.charge_j == 1000.0
    assert full.lost_j == pytest.approx(10 + 50)
    empty = battery(100.0)
    empty.advance(input_w=0.0, load_w=10.0, duration_s=15.0)
    assert empty.charge_j == 0.0
    assert (empty.used_j, empty.unserved_j) == pytest.approx((100, 50))


def test_energy_taken_at_once_is_used_as_far_as_there_is_any() -> None:
    taken = battery(100.0)
    taken.take(60.0)
    taken.take(60.0)
    assert (taken.charge_j, taken.used_j, taken.unserved_j) == (0.0, 100.0, 20.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000)), min_size=1, max_size=20))
def test_no_energy_appears_or_vanishes(steps: list[tuple[float, float, float]]) -> None:
    kept = battery(500.0)
    for input_w, load_w, duration_s in steps:
        kept.advance(input_w, load_w, duration_s)
        assert 0 <= kept.charge_j <= 1000.0 * (1 + 1e-12)
    needed_j = sum(load_w * duration_s for _, load_w, duration_s in steps)
    assert kept.used_j + kept.unserved_j == pytest.approx(needed_j, abs=1e-3)
    assert kept.input_j + 500 == pytest.approx(kept.charge_j + kept.used_j + kept.lost_j, abs=1e-3)
    assert kept.lost_j >= -1e-6


def test_the_temperature_falls_to_its_surroundings_as_an_exponential() -> None:
    heat = Heat(capacity_j_k=500.0, conductance_w_k=2.0, temperature_c=50.0)
    assert heat.settled_c(surroundings_c=10.0, load_w=20.0) == 20.0
    heat.advance(surroundings_c=10.0, load_w=20.0, duration_s=250.0)
    assert heat.temperature_c == pytest.approx(20 + 30 / math.e)


def test_the_time_to_a_temperature_is_that_after_which_it_has_it() -> None:
    heat = Heat(capacity_j_k=500.0, conductance_w_k=2.0, temperature_c=0.0)
    after_s = heat.time_to_s(15.0, surroundings_c=10.0, load_w=20.0)
    heat.advance(surroundings_c=10.0, load_w=20.0, duration_s=after_s)
    assert heat.temperature_c == pytest.approx(15.0)
    assert heat.time_to_s(14.0, 10.0, 20.0) == heat.time_to_s(20.0, 10.0, 20.0) == math.inf
