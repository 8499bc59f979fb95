"""INA219 and INA226 over I2C: registers as their data sheets' examples have them."""

from __future__ import annotations

import sys

import pytest

from nodes.sensors.ina2xx import I2cIna2xx
from nodes.sensors.reading import SensorError


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
    with pytest.raises(SensorError, match="beyond its range"):
        I2cIna2xx("ina219", 0.1, Registers(0x40, _1=1, _2=0x5D99))
    with pytest.raises(SensorError, match="nobody answers"):
        I2cIna2xx("ina219", 0.1, Registers(0x41, _1=1, _2=1))
    with pytest.raises(ValueError, match="ohm"):
        I2cIna2xx("ina219", 0.0, Registers(0x40, _1=1, _2=1))
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(SensorError, match=r"\[sensors\]"):
        I2cIna2xx("ina226", 0.1, 1)
