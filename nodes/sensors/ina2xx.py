"""INA219 or INA226 in the board's supply line, read over I2C by `smbus2`, without a kernel driver.

Power is bus voltage times shunt voltage divided by the resistance of the shunt. Nothing is written to the
chip, so its calibration does not matter. Registers and their steps: Texas Instruments, INA219 data sheet
SBOS448, tables 2 and 4-6; INA226 data sheet SBOS547, table 4 and 7.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol

from nodes.sensors.reading import PowerReading, SensorError

SHUNT_REGISTER, BUS_REGISTER = 0x01, 0x02
OVERFLOW = 0x0001  # flag in the INA219's bus register: a value was out of range


@dataclass(frozen=True)
class _Chip:
    shunt_step_v: float
    bus_step_v: float
    bus_shift: int  # the INA219 keeps flags in the lowest bits


_CHIPS = {"ina219": _Chip(10e-6, 4e-3, 3), "ina226": _Chip(2.5e-6, 1.25e-3, 0)}


class Bus(Protocol):
    """The part of smbus2.SMBus that is used."""

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """Return a 16-bit word, low byte first."""

    def close(self) -> None:
        """Close the bus."""


class I2cIna2xx:
    """One INA219 or INA226.

    Args:
        chip: type of the chip.
        shunt_ohm: resistance of the shunt.
        bus: number of the I2C bus, N in /dev/i2c-N; or an open bus.
        address: address of the chip on the bus.

    Raises:
        SensorError: smbus2 is not installed, the bus cannot be opened, or no chip answers at the address.
    """

    def __init__(
        self, chip: Literal["ina219", "ina226"], shunt_ohm: float, bus: int | Bus = 1, address: int = 0x40
    ) -> None:
        if shunt_ohm <= 0:
            raise ValueError("the resistance of the shunt must be above 0 ohm")
        self._chip, self._shunt_ohm, self._address = _CHIPS[chip], shunt_ohm, address
        self._bus = _open(bus) if isinstance(bus, int) else bus
        bus_name = f"bus {bus}, " if isinstance(bus, int) else ""
        self.source = f"{chip.upper()} over I2C ({bus_name}address {address:#04x}, shunt {shunt_ohm:g} ohm)"
        self.scope = "the loads behind the shunt"
        self.read()

    def read(self) -> PowerReading:
        """Measure now."""
        shunt = self._word(SHUNT_REGISTER)
        bus = self._word(BUS_REGISTER)
        if self._chip.bus_shift and bus & OVERFLOW:
            raise SensorError(f"{self.source}: out of range; use a smaller shunt")
        shunt_v = (shunt - 0x10000 if shunt & 0x8000 else shunt) * self._chip.shunt_step_v
        bus_v = (bus >> self._chip.bus_shift) * self._chip.bus_step_v
        return PowerReading(bus_v * shunt_v / self._shunt_ohm, self.source, self.scope)

    def close(self) -> None:
        """Close the bus."""
        self._bus.close()

    def _word(self, register: int) -> int:
        try:
            word = self._bus.read_word_data(self._address, register)
        except OSError as error:
            raise SensorError(f"{self.source}: no reply: {error}") from error
        return (word & 0xFF) << 8 | word >> 8  # the chips send the high byte first, SMBus the low one


def _open(number: int) -> Bus:
    try:
        bus: Bus = import_module("smbus2").SMBus(number)
    except ImportError as error:
        raise SensorError(f"{error}; install the I2C support: pip install '.[sensors]'") from error
    except OSError as error:
        raise SensorError(f"/dev/i2c-{number}: {error.strerror or error}; is I2C enabled?") from error
    return bus
