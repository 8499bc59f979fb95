"""The record of a power system in the results, and its balance."""

from __future__ import annotations

import pytest

from nodes.contract.events import PowerState
from nodes.contract.power.presets import power_preset
from nodes.contract.power.sunlight import Sunlight, SunRow
from testbed import Satellite
from testbed.results.drawings import power_record
from testbed.results.nodes.power import PowerRecord, power_records
from testbed.scenario.model import Scenario
from tests.support.records import record

POWER = power_preset("6u")
SUNLIGHT = Sunlight(
    rows=(SunRow(time_s=0, input_w=0, sunlit=False), SunRow(time_s=100, input_w=60, sunlit=True))
)


def state(at_s: float, charge_j: float, **changes: object) -> PowerState:
    values: dict[str, object] = {
        "at_s": at_s,
        "causes": ["interval"],
        "charge_j": charge_j,
        "charge": charge_j / POWER.capacity_j,
        "temperature_c": 20.0,
        "sunlit": at_s >= 100,
        "input_w": 60.0 * (at_s >= 100),
        "load_w": 20.0,
        "compute": True,
        "radio": True,
        "full_speed": True,
        "input_j": 0.0,
        "used_j": 0.0,
        "lost_j": 0.0,
        "unserved_j": 0.0,
    }
    return PowerState.model_validate(values | changes)


# 20 W for 300 s; in sunlight 40 W are left, of which 5 % are lost.
STATES = (
    state(0.0, 10_000.0),
    state(100.0, 8_000.0, used_j=2_000.0, compute=False),
    state(300.0, 15_600.0, input_j=12_000.0, used_j=6_000.0, lost_j=400.0),
)


def recorded(*states: PowerState) -> PowerRecord:
    scenario = Scenario.model_construct(satellites=(Satellite.model_construct(name="S", power=POWER),))
    events = [record("S", one) for one in reversed(states)]
    (found,) = power_records(scenario, events, {"S": SUNLIGHT})
    return found


def test_energy_given_is_that_stored_used_and_lost() -> None:
    found = recorded(*STATES)
    assert (found.given_j, found.stored_j, found.used_j, found.lost_j) == (12_000, 5_600, 6_000, 400)
    assert found.balance_error == 0
    assert found.time_s(lambda one: not one.sunlit) == 100
    assert found.time_s(lambda one: not one.compute) == 200
    assert "balance within 0.00%; no inference for 3 min" in found.line()
    assert found.warnings() == []
    assert found.to_json()["eclipse_s"] == 100


def test_energy_that_does_not_add_up_and_an_empty_battery_are_warned_of() -> None:
    broken = STATES[2].model_copy(update={"used_j": 5_500.0, "unserved_j": 3_600.0})
    found = recorded(*STATES[:2], broken)
    assert found.balance_error == pytest.approx(500 / 12_000)
    assert found.warnings() == [
        "S: its energy does not add up: 4.2% of 3.3 Wh, bound 1%",
        "S: its battery was empty, and its loads lacked 1.00 Wh",
    ]


def test_a_drawing_has_charge_temperature_and_power() -> None:
    drawing = power_record(recorded(*STATES))
    assert drawing.startswith("<svg") and drawing.count('id="axes_') == 3
