"""Power and temperature from the kernel's hwmon and thermal classes.

Units are documented in the kernel's Documentation/hwmon/sysfs-interface.rst (in: mV, curr: mA, power: uW,
temp: m degree C), ina3221.rst and ina2xx.rst. The numbers of the hwmon folders change from boot to boot, so
devices are found by `name`.
"""

from __future__ import annotations

from pathlib import Path

from nodes.sensors.jetson import module_power_w
from nodes.sensors.reading import PowerReading, SensorError, Temperature

SYS = Path("/sys")
UNUSED = "NC"  # label of a channel that the board does not use


class Ina3221:
    """The INA3221 chips of a Jetson; one reading covers all channels of all chips.

    Raises:
        SensorError: there is no such chip, or the channels do not cover the whole module.
    """

    def __init__(self, sys: Path = SYS) -> None:
        self._channels = _ina3221_channels(sys)
        if not self._channels:
            raise SensorError("no INA3221 with labels under /sys/class/hwmon")
        chips = {folder for folder, _ in self._channels.values()}
        self.source = f"INA3221 over hwmon ({', '.join(sorted(_device(chip) for chip in chips))})"
        self.scope = self.read().scope

    def read(self) -> PowerReading:
        """Measure now."""
        rails_w = {}
        for label, (folder, channel) in self._channels.items():
            millivolts = _number(folder / f"in{channel}_input")
            milliamperes = _number(folder / f"curr{channel}_input")
            rails_w[label] = millivolts * milliamperes * 1e-6
        power_w, scope = module_power_w(rails_w)
        return PowerReading(power_w, self.source, scope, rails_w)

    def close(self) -> None:
        """Do nothing: no resource is held."""


class KernelIna2xx:
    """An INA219, INA226 or related chip that the kernel's ina2xx driver reads.

    Raises:
        SensorError: there is no such chip, or more than one.
    """

    NAMES = ("ina219", "ina226", "ina220", "ina230", "ina231", "ina238")

    def __init__(self, sys: Path = SYS) -> None:
        folders = [folder for folder in _hwmon(sys) if _name(folder) in self.NAMES]
        if not folders:
            raise SensorError("no INA219 or INA226 under /sys/class/hwmon")
        if len(folders) > 1:
            raise SensorError(
                f"{len(folders)} INA219 or INA226 under /sys/class/hwmon: it is unknown which one is in the "
                "supply line"
            )
        self._folder = folders[0]
        self.source = f"{_name(self._folder).upper()} over hwmon ({_device(self._folder)})"
        self.scope = "the loads behind the shunt"
        self.read()

    def read(self) -> PowerReading:
        """Measure now."""
        return PowerReading(_number(self._folder / "power1_input") * 1e-6, self.source, self.scope)

    def close(self) -> None:
        """Do nothing: no resource is held."""


def temperatures(sys: Path = SYS) -> list[Temperature]:
    """Return the temperature of each thermal zone; zones of parts that are off are left out."""
    readings = []
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        try:
            temperature_c = _number(zone / "temp") / 1000  # m degree C
            place = (zone / "type").read_text(encoding="ascii", errors="replace").strip()
        except (SensorError, OSError):
            continue
        if temperature_c > -200:  # NVIDIA's zones read -256 while their part is off
            readings.append(Temperature(place, temperature_c, zone.name))
    return readings


def _ina3221_channels(sys: Path) -> dict[str, tuple[Path, int]]:
    channels = {}
    for folder in _hwmon(sys):
        if _name(folder) != "ina3221":
            continue
        for channel in (1, 2, 3):
            try:
                label = (folder / f"in{channel}_label").read_text(encoding="ascii", errors="replace").strip()
                enabled = _number(folder / f"in{channel}_enable", default=1) != 0
            except OSError:
                continue  # a channel that the board's device tree leaves out has no label
            if enabled and label != UNUSED:
                channels[label] = (folder, channel)
    return channels


def _hwmon(sys: Path) -> list[Path]:
    return sorted((sys / "class/hwmon").glob("hwmon*"))


def _name(folder: Path) -> str:
    try:
        return (folder / "name").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _device(folder: Path) -> str:
    """Return the device behind a hwmon folder, e.g. 1-0040; bus and address survive a reboot."""
    return (folder / "device").resolve().name if (folder / "device").exists() else folder.name


def _number(path: Path, default: float | None = None) -> float:
    try:
        return float(path.read_text(encoding="ascii", errors="replace"))
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise SensorError(f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise SensorError(f"{path} cannot be read: {error}") from error
