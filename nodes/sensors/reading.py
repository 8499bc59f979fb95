"""What a sensor gives, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class SensorError(RuntimeError):
    """A sensor that is not there or that gives nothing to read; one line that says which and why."""


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Power at one moment.

    power_w: of everything in `scope`.
    source: which device or program measured it.
    scope: what is in it, and what is not.
    rails_w: the parts that were measured, by the vendor's name; they may be nested, so they need not sum up.
    """

    power_w: float
    source: str
    scope: str
    rails_w: Mapping[str, float] = field(default_factory=dict)


class PowerSensor(Protocol):
    """Measures power whenever it is asked."""

    @property
    def source(self) -> str:
        """Which device or program."""

    @property
    def scope(self) -> str:
        """What its power is of."""

    def read(self) -> PowerReading:
        """Measure now. Raises SensorError."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """`temperature_c` of a place on the board, as its vendor calls it."""

    place: str
    temperature_c: float
    source: str
