"""Energy of each answer of a node, where its machine has a power sensor."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack

from nodes.contract.config import I2cPowerSensor
from nodes.contract.events import EnergyUnknown, EnergyUsed, PowerSensorFound
from nodes.contract.report import Report
from nodes.power.supply import Mains, Supply
from nodes.sensors.energy import EnergyMeter
from nodes.sensors.reading import SensorError
from nodes.sensors.search import find_power_sensor

IDLE_S = 2.0


class PowerWatch:
    """Watches from the moment at which the model is loaded, when idling is measured for IDLE_S.

    It reports `PowerSensorFound` once, and `EnergyUsed` or `EnergyUnknown` for each answer.

    Args:
        wanted: whether to look for a sensor at all.
        report: gets the events.
        sensor: the sensor to use; None: search for one.
        supply: drained by what is measured.
    """

    def __init__(
        self,
        wanted: bool,
        report: Report,
        sensor: I2cPowerSensor | None = None,
        supply: Supply | None = None,
    ) -> None:
        self._wanted, self._report, self._sensor = wanted, report, sensor
        self._supply: Supply = Mains() if supply is None else supply
        self._stack = ExitStack()
        self._meter: EnergyMeter | None = None

    def __enter__(self) -> PowerWatch:
        if self._wanted:
            try:
                sensor = find_power_sensor(requested=self._sensor)
                meter = self._stack.enter_context(EnergyMeter(sensor))
                idle_w = meter.idle(IDLE_S)
                self._meter = meter
                self._supply.measured_idle(idle_w)
                self._report(PowerSensorFound(source=sensor.source, scope=sensor.scope, idle_w=idle_w))
            except SensorError as error:
                self._report(PowerSensorFound(reason=str(error)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def report_energy(
        self, frame: str, begin_s: float, end_s: float, held_s: Sequence[tuple[float, float]] = ()
    ) -> None:
        """Report the energy of the work on a frame, without waiting for the sensor.

        Args:
            frame: the frame's name.
            begin_s: start of the work, CLOCK_MONOTONIC.
            end_s: its end.
            held_s: spans of it in which a profile's pace delayed the work (nodes/profiles/pace.py).
        """
        if self._meter is not None:
            # In a thread, since the meter waits for the next reading and the next answer must not.
            arguments = (frame, begin_s, end_s, tuple(held_s))
            threading.Thread(target=self._report_energy, args=arguments, daemon=True).start()

    def _report_energy(
        self, frame: str, begin_s: float, end_s: float, held_s: Sequence[tuple[float, float]]
    ) -> None:
        energy = self._meter.energy(begin_s, end_s, held_s) if self._meter is not None else None
        if energy is None:
            problem = self._meter.problem if self._meter is not None else None
            self._report(EnergyUnknown(frame=frame, reason=problem or "no reading in time"))
        else:
            self._supply.take(max(0.0, energy.energy_j))
            self._report(EnergyUsed(frame=frame, **energy.to_json()))
