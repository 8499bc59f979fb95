"""INA219 and INA226 over I2C, with register values from their data sheets."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodes.board.assignment import node_config
from nodes.contract.board import AgentConfig, Assignment
from nodes.contract.config import I2cPowerSensor
from nodes.contract.events import EnergyUsed, Event, PowerSensorFound
from nodes.power.supply import Mains
from nodes.profile import power_sensor
from nodes.runtime import power_watch
from nodes.sensors.ina2xx import I2cIna2xx
from nodes.sensors.reading import SensorError
from nodes.sensors.search import find_power_sensor
from tests.support.waiting import wait_for


class Drained(Mains):
    """A supply that notes what a sensor measured."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def measured_idle(self, idle_w: float) -> None:
        self.told.append(idle_w)

    def take(self, energy_j: float) -> None:
        self.told.append(energy_j)


class Registers:
    """An I2C bus with one chip: 16-bit registers, sent high byte first, as SMBus words see them."""

    def __init__(self, address: int, **registers: int) -> None:
        self.address, self.registers = address, {int(name[1:]): word for name, word in registers.items()}
        self.closed = False

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        if i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        return int.from_bytes(self.registers[register].to_bytes(2, "big"), "little")

    def close(self) -> None:
        self.closed = True


def test_ina226_example_of_its_data_sheet() -> None:
    # SBOS547, table 1: 10 A through 2 milliohm, 12 V: shunt register 1F40h, bus register 2570h; 119.82 W.
    chip = Registers(0x40, _1=0x1F40, _2=0x2570)
    sensor = I2cIna2xx("ina226", 0.002, chip)
    assert sensor.read().power_w == pytest.approx(119.82, rel=1e-3)
    assert "INA226" in sensor.source and "0x40" in sensor.source
    sensor.close()
    assert chip.closed


def test_ina219_with_its_flags_in_the_bus_register() -> None:
    # SBOS448, table 8: 20 mV across 2 milliohm (10 A), 12 V: shunt 07D0h, bus 5D98h; 119.8 W.
    sensor = I2cIna2xx("ina219", 0.002, Registers(0x41, _1=0x07D0, _2=0x5D98), address=0x41)
    assert sensor.read().power_w == pytest.approx(119.8, rel=2e-3)


def test_current_that_flows_back_is_negative() -> None:
    sensor = I2cIna2xx("ina226", 0.1, Registers(0x40, _1=0xFFFF, _2=4000))
    assert sensor.read().power_w == pytest.approx(-2.5e-6 / 0.1 * 5.0)


def test_overflow_strangers_and_missing_library_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SensorError, match="out of range; use a smaller shunt"):
        I2cIna2xx("ina219", 0.1, Registers(0x40, _1=1, _2=0x5D99))
    with pytest.raises(SensorError, match="no reply"):
        I2cIna2xx("ina219", 0.1, Registers(0x41, _1=1, _2=1))
    with pytest.raises(ValueError, match="ohm"):
        I2cIna2xx("ina219", 0.0, Registers(0x40, _1=1, _2=1))
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(SensorError, match=r"\[sensors\]"):
        I2cIna2xx("ina226", 0.1, 1)


def test_a_requested_sensor_is_used_and_no_other_is_searched_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[int] = []

    def bus(number: int) -> Registers:
        opened.append(number)
        return Registers(0x41, _1=0x07D0, _2=0x5D98)

    monkeypatch.setitem(sys.modules, "smbus2", SimpleNamespace(SMBus=bus))
    sensor = find_power_sensor(tmp_path, requested=power_sensor("ina219:7:0x41:0.002"))
    assert sensor.read().power_w == pytest.approx(119.8, rel=2e-3)
    assert opened == [7] and "bus 7, address 0x41, shunt 0.002 ohm" in sensor.source
    with pytest.raises(SensorError, match="no reply"):
        find_power_sensor(tmp_path, requested=I2cPowerSensor(chip="ina226", shunt_ohm=0.1))
    with pytest.raises(SensorError, match="no power sensor"):
        find_power_sensor(tmp_path)


@pytest.mark.light  # no reading in 0.3 s is what a starved machine gives, and it is said
def test_a_node_measures_with_the_sensor_of_its_agents_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    agent = AgentConfig.model_validate_json(
        json.dumps(
            {
                "board": "pi",
                "management": {"host": "127.0.0.1", "ca_pem": "..."},
                "folder": str(tmp_path),
                "power_sensor": {"chip": "ina226", "shunt_ohm": 0.002},
            }
        )
    )
    config = node_config(Assignment(run="r", role="ground", config={"model": "m"}), agent, tmp_path, {})
    requested = I2cPowerSensor.model_validate(json.loads(json.dumps(config))["power_sensor"])
    chip = Registers(0x40, _1=0x1F40, _2=0x2570)
    monkeypatch.setitem(sys.modules, "smbus2", SimpleNamespace(SMBus=lambda number: chip))
    monkeypatch.setattr(power_watch, "IDLE_S", 0.3)
    events: list[Event] = []

    def report(event: Event, *, monotonic_s: float | None = None) -> None:
        events.append(event)

    supply = Drained()
    with power_watch.PowerWatch(True, report, requested, supply) as watch:
        end_s = time.monotonic()
        watch.report_energy("f", end_s - 0.2, end_s)
        wait_for(lambda: len(events) == 2, "the energy of an answer")
    event, used = events
    assert isinstance(event, PowerSensorFound) and isinstance(used, EnergyUsed)
    assert supply.told == [event.idle_w, max(0.0, used.energy_j)]  # of an emulated battery
    assert event.idle_w == pytest.approx(119.82, rel=1e-3)
    assert event.source is not None and "INA226 over I2C" in event.source
    assert chip.closed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ina219", "CHIP:BUS:ADDRESS:OHM"),
        ("ina219:1:forty:0.1", "CHIP:BUS:ADDRESS:OHM"),
        ("ina3221:1:0x40:0.1", "chip"),
        ("ina219:-1:0x40:0.1", "bus"),
        ("ina219:1:0x80:0.1", "address"),
        ("ina219:1:0x40:0", "shunt_ohm"),
        ("ina219:1:0x40:nan", "shunt_ohm"),
    ],
)
def test_a_sensor_that_is_not_named_rightly_is_refused(text: str, problem: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=problem):
        power_sensor(text)
