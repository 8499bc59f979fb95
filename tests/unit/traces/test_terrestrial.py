"""Delays of fibres between places, against distances that are known."""

from __future__ import annotations

import math

import pytest

from tests.support.network.contacts import START
from traces.orbits.stations import GroundStation, station
from traces.terrestrial import EARTH_RADIUS_M, constant_trace, fibre_delay_s, great_circle_m


def place(latitude_deg: float, longitude_deg: float) -> GroundStation:
    return GroundStation("P", latitude_deg, longitude_deg, 0)


@pytest.mark.parametrize(
    ("one", "other", "turn"),
    [
        (place(0, 0), place(0, 90), 0.25),
        (place(0, 10), place(0, -170), 0.5),  # through the antimeridian
        (place(90, 0), place(-90, 77), 0.5),
        (place(40, 20), place(50, 20), 10 / 360),
        (place(60, 0), place(60, 0), 0.0),
    ],
)
def test_distances_along_great_circles(one: GroundStation, other: GroundStation, turn: float) -> None:
    expected_m = turn * math.tau * EARTH_RADIUS_M
    assert great_circle_m(one, other) == pytest.approx(expected_m, rel=1e-9)
    assert great_circle_m(other, one) == pytest.approx(expected_m, rel=1e-9)


def test_a_fibre_is_half_as_long_again_and_slower_than_light() -> None:
    distance_m = great_circle_m(station("Svalbard"), station("Tromso"))
    assert distance_m == pytest.approx(957e3, rel=0.01)  # map
    delay_s = fibre_delay_s(station("Svalbard"), station("Tromso"))
    assert delay_s == pytest.approx(distance_m * 1.5 * 1.5 / 299_792_458)
    assert fibre_delay_s(station("Svalbard"), station("Tromso"), detour=1) == pytest.approx(delay_s / 1.5)


def test_a_constant_trace_is_up_from_begin_to_end() -> None:
    trace = constant_trace(("A", "B"), START, 60, delay_s=0.01, rate_bit_s=1e9, made_by="a test")
    (contact,) = trace.contacts("both")
    assert (contact.aos_s, contact.los_s) == (0, 60)
    assert (trace.row_at(59).down_bit_s, trace.row_at(0).up_delay_s) == (1e9, 0.01)
