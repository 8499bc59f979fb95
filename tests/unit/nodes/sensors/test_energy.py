"""Energy of an answer: the integral of sampled power minus idle power."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.sensors.energy import EnergyMeter, integral
from nodes.sensors.reading import PowerReading, SensorError


class Steps:
    """A sensor: 4 W, and 10 W within `busy` (CLOCK_MONOTONIC)."""

    source, scope = "steps", "all"

    def __init__(self) -> None:
        self.busy = (float("inf"), float("inf"))
        self.fails = self.closed = False

    def read(self) -> PowerReading:
        if self.fails:
            raise SensorError("the sensor has gone")
        within = self.busy[0] <= time.monotonic() <= self.busy[1]
        return PowerReading(10.0 if within else 4.0, self.source, self.scope)

    def close(self) -> None:
        self.closed = True


@pytest.mark.light  # a sampler that is kept from the processor knows nothing of that time, and says so
def test_six_watts_more_for_half_a_second_are_three_joules() -> None:
    sensor = Steps()
    with EnergyMeter(sensor, period_s=0.01) as meter:
        assert meter.energy(time.monotonic() - 1, time.monotonic()) is None, "idling is not known yet"
        assert meter.idle(0.1) == pytest.approx(4.0)
        begin_s = time.monotonic() + 0.02
        sensor.busy = (begin_s, begin_s + 0.5)
        time.sleep(0.55)
        energy = meter.energy(begin_s, begin_s + 0.5)
        quiet = meter.energy(begin_s - 0.05, begin_s - 0.02)
        worked = meter.energy(begin_s, begin_s + 0.5, [(begin_s + 0.1, begin_s + 0.3)])
    assert energy is not None and quiet is not None and worked is not None
    # Each edge lies anywhere between two samples.
    assert energy.energy_j == pytest.approx(3.0, abs=2 * 0.03 * 6)
    assert energy.whole_j - energy.energy_j == pytest.approx(2.0) and energy.samples >= 25
    assert quiet.energy_j == pytest.approx(0.0, abs=1e-6) and energy.held_s == 0.0
    # What was used while the work was held back is another's.
    assert worked.duration_s == pytest.approx(0.3) and worked.held_s == pytest.approx(0.2)
    assert worked.energy_j == pytest.approx(energy.energy_j - 0.2 * 6, abs=1e-3)
    assert worked.whole_j == pytest.approx(energy.whole_j - 0.2 * 10, abs=1e-3)
    assert 5 < worked.samples < energy.samples
    assert energy.to_json()["scope"] == "all" and sensor.closed


def test_what_was_not_measured_all_the_time_has_no_energy() -> None:
    sensor = Steps()
    with EnergyMeter(sensor, period_s=0.01) as meter:
        meter.idle(0.05)
        assert meter.energy(time.monotonic() - 10, time.monotonic()) is None, "before the first sample"
        sensor.fails = True
        time.sleep(0.05)
        assert meter.energy(time.monotonic(), time.monotonic() + 0.01) is None, "after the last"
        with pytest.raises(SensorError, match="gone"):
            meter.idle(0.05)


def test_what_was_not_measured_in_between_has_no_energy() -> None:
    """Many periods without a reading may hide any power; they matter where something was worked."""
    sensor = Steps()
    with EnergyMeter(sensor, period_s=0.01) as meter:
        meter.idle(0.05)
        begin_s = time.monotonic()
        time.sleep(0.2)
        sensor.fails = True
        away_s = time.monotonic()
        time.sleep(0.5)
        sensor.fails = False
        back_s = time.monotonic()
        time.sleep(0.2)
        end_s = time.monotonic()
        assert meter.energy(begin_s, end_s) is None
        worked = meter.energy(begin_s, end_s, [(away_s - 0.1, back_s + 0.1)])
        assert worked is not None, "nothing was worked while the sensor was away"
        assert meter.energy(begin_s, away_s - 0.1) is not None


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.0, 50.0)), min_size=2, max_size=30), st.data())
def test_the_integral_adds_up_over_parts(steps: list[tuple[float, float]], data: st.DataObject) -> None:
    time_s, samples = 0.0, []
    for step_s, power_w in steps:
        time_s += step_s
        samples.append((time_s, power_w))
    first_s, last_s = samples[0][0], samples[-1][0]
    cuts = sorted(data.draw(st.lists(st.floats(first_s, last_s), max_size=4)))
    whole_j = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in pairwise(samples))
    parts_j = [integral(samples, a, b) for a, b in pairwise([first_s, *cuts, last_s])]
    assert sum(parts_j) == pytest.approx(whole_j, rel=1e-9, abs=1e-9)
    assert all(part_j >= 0 for part_j in parts_j)
