"""What charge and temperature permit, and when that changes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nodes.contract.events import PowerState
from nodes.contract.power.parameters import Power, SolarPanel
from nodes.contract.power.sunlight import Sunlight, SunRow
from nodes.power.system import PowerSystem, State, Use

HOUR_S = 3600.0
# Eclipse from 0 to 1 h, 30 W from 1 h to 3 h, and so on.
DAY = Sunlight(
    rows=tuple(SunRow(time_s=k * HOUR_S, input_w=30.0 * (k % 3 > 0), sunlit=k % 3 > 0) for k in range(24))
)


def power(**changes: Any) -> Power:
    values: dict[str, Any] = {
        "panels": (SolarPanel(area_m2=0.1),),
        "panel_efficiency": 0.25,
        "battery_wh": 20.0,
        "charge_efficiency": 0.9,
        "compute_floor": 0.6,
        "radio_floor": 0.2,
        "bus_w": 4.0,
        "compute_idle_w": 6.0,
        "compute_w": 20.0,
        "radio_on_w": 4.0,
        "radio_transmit_w": 14.0,
        "heat_capacity_j_k": 7200.0,
        "heat_conductance_w_k": 1.0,
        "sunlit_c": 10.0,
        "eclipse_c": -40.0,
    }
    return Power(**values | changes)


def switches(states: list[State]) -> list[tuple[float, tuple[str, ...]]]:
    return [(s.time_s, c) for s in states if (c := tuple(x for x in s.causes if x != "interval"))]


def test_inference_stops_at_the_floor_and_resumes_in_sunlight() -> None:
    system = PowerSystem(power(), DAY)
    system.use = Use(working=True)
    # 24 W from 20 Wh: 8 Wh, 40 %, are gone after 20 minutes.
    assert system.next_change_s() == pytest.approx(1200)
    assert switches(system.advance(1300.0)) == [(pytest.approx(1200), ("compute off",))]
    system.use = Use()
    assert system.load_w == 4.0
    after = switches(system.advance(2 * HOUR_S))
    assert [causes for _, causes in after] == [("sunlight",), ("compute on",)]
    # 100 s at 24 W, 2300 s at 4 W, then 26 W of surplus with a loss of a tenth, up to 65 %.
    charge_wh = 12.0 - (100 * 24 + 2300 * 4) / 3600
    assert after[1][0] == pytest.approx(HOUR_S + (13.0 - charge_wh) * 3600 / (26 * 0.9))
    assert system.permits.compute


def test_the_radio_has_a_floor_of_its_own() -> None:
    system = PowerSystem(power(compute_floor=0.8, radio_floor=0.7), DAY)
    system.use = Use(radio="transmit")
    assert system.load_w == 4 + 6 + 14
    causes = [causes for _, causes in switches(system.advance(HOUR_S - 1))]
    assert causes == [("compute off",), ("radio off",)]
    assert system.load_w == 4.0  # off whatever it is meant to do


def test_a_hot_computer_is_slowed_down_then_stopped_and_cools() -> None:
    system = PowerSystem(
        power(battery_wh=1000.0, first_c=54.0, eclipse_c=50.0, throttle_c=55.0, compute_off_c=58.0), DAY
    )
    system.use = Use(working=True)
    causes = [causes for _, causes in switches(system.advance(HOUR_S - 1))]
    assert causes == [("throttled",), ("too hot",)]
    assert system.slowdown == 2.0
    assert system.load_w == 4 + 6 + 14 / 2  # the stage that has begun is finished
    system.use = Use()
    assert switches(system.advance(3 * HOUR_S - 1))[-1][1] == ("full speed",)
    assert system.slowdown == 1.0


def test_states_are_reported_at_regular_moments_and_the_energy_adds_up() -> None:
    system = PowerSystem(power(report_every_s=600.0), DAY)
    first = system.battery.charge_j
    states = system.advance(4000.0) + system.advance(24 * HOUR_S)
    regular = [s.time_s for s in states if "interval" in s.causes]
    assert regular == [600.0 * k for k in range(145)]
    last = system.state("end")
    assert last.input_j == pytest.approx(DAY.energy_j(0, 24 * HOUR_S))
    assert last.input_j == pytest.approx(last.charge_j - first + last.used_j + last.lost_j)
    assert last.unserved_j == 0


def test_the_same_state_follows_from_one_step_and_from_many() -> None:
    whole, parts = PowerSystem(power(), DAY), PowerSystem(power(), DAY)
    whole.use = parts.use = Use(working=True)
    whole.advance(5 * HOUR_S)
    for step in range(1, 5 * 360 + 1):
        parts.advance(step * 10.0)
    assert parts.battery.charge_j == pytest.approx(whole.battery.charge_j, rel=1e-9)
    assert parts.heat.temperature_c == pytest.approx(whole.heat.temperature_c, rel=1e-9)
    assert parts.permits == whole.permits


def test_sunlight_is_foreseen() -> None:
    system = PowerSystem(power(), DAY)
    system.advance(600.0)
    assert system.sunlight_in_s() == 3000.0
    system.advance(HOUR_S)
    assert system.sunlight_in_s() == 0.0
    assert PowerSystem(power(), Sunlight(rows=DAY.rows[:1])).sunlight_in_s() == math.inf


def test_a_process_goes_on_with_the_state_that_another_has_reported() -> None:
    first, second = PowerSystem(power(), DAY), PowerSystem(power(), DAY)
    first.use = Use(working=True)
    first.advance(5000.0)
    text = first.state("interval").to_event().model_dump_json()
    second.restore(PowerState.model_validate_json(text))
    second.use = first.use
    first.advance(9000.0)
    second.advance(9000.0)
    assert second.state() == first.state()


def test_energy_taken_at_once_heats_the_satellite() -> None:
    system = PowerSystem(power(), DAY)
    system.take(720.0)
    assert system.battery.used_j == 720.0
    assert system.heat.temperature_c == pytest.approx(20.1)
