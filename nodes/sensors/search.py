"""Search for the power sensor of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nodes.contract.config import I2cPowerSensor
from nodes.sensors.hwmon import SYS, Ina3221, KernelIna2xx
from nodes.sensors.ina2xx import I2cIna2xx
from nodes.sensors.raspberry import PmicAdc
from nodes.sensors.reading import PowerSensor, SensorError
from nodes.sensors.tegrastats import Tegrastats


def find_power_sensor(sys: Path = SYS, *, requested: I2cPowerSensor | None = None) -> PowerSensor:
    """Open the best power sensor that works here; the caller closes it.

    A sensor in the supply line comes first, since its scope includes all loads. An INA219 or INA226 without a
    kernel driver is used only on request, since reading from an unknown chip on an I2C bus can disturb it.

    Args:
        sys: root of sysfs.
        requested: the only sensor to use; None to search for one.

    Raises:
        SensorError: no sensor works; the text has the reason for each attempt.
    """
    if requested is not None:
        return I2cIna2xx(requested.chip, requested.shunt_ohm, requested.bus, requested.address)
    attempts: dict[str, Callable[[], PowerSensor]] = {
        "INA219 or INA226": lambda: KernelIna2xx(sys),
        "INA3221": lambda: Ina3221(sys),
        "tegrastats": Tegrastats,
        "PMIC": PmicAdc,
    }
    problems = []
    for attempt in attempts.values():
        try:
            return attempt()
        except SensorError as error:
            problems.append(str(error))
    raise SensorError(f"no power sensor: {'; '.join(problems)}")
