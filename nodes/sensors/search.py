"""Which power sensor this machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nodes.sensors.hwmon import SYS, Ina3221, KernelIna2xx
from nodes.sensors.raspberry import PmicAdc
from nodes.sensors.reading import PowerSensor, SensorError
from nodes.sensors.tegrastats import Tegrastats


def find_power_sensor(sys: Path = SYS) -> PowerSensor:
    """The best one that works here; to be closed after use.

    One in the supply line comes first, for nothing is left out of its scope. An INA219 or INA226 without a
    kernel driver is not looked for: asking strangers on an I2C bus can upset them.

    Raises:
        SensorError: there is none; says what was tried and what was wrong with each.
    """
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
