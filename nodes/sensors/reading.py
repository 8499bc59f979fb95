"""Readings of sensors, and the protocol of a power sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class SensorError(RuntimeError):
    """A sensor is missing or cannot be read; the text is one line with its name and the reason."""


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Power at one moment.

    Attributes:
        power_w: power of everything in `scope`.
        source: device or program that measured it.
        scope: the loads that are included, and those that are not.
        rails_w: power of each rail by the vendor's name. Rails may be nested, so their sum has no meaning.
    """

    power_w: float
    source: str
    scope: str
    rails_w: Mapping[str, float] = field(default_factory=dict)


class PowerSensor(Protocol):
    """A sensor that measures power on demand."""

    @property
    def source(self) -> str:
        """Device or program that measures."""

    @property
    def scope(self) -> str:
        """Loads that the power includes."""

    def read(self) -> PowerReading:
        """Measure now.

        Raises:
            SensorError: the sensor cannot be read.
        """

    def close(self) -> None:
        """Release the device or program."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """Temperature of a place on the board; `place` is the vendor's name for it."""

    place: str
    temperature_c: float
    source: str
