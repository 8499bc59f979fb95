"""The power supply of a running satellite: follows scenario time, and holds back what lacks power."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from nodes.contract.config import ConfigError, SatelliteConfig
from nodes.contract.events import PowerState
from nodes.contract.files import write_atomically
from nodes.contract.power.parameters import Power
from nodes.contract.power.sunlight import Sunlight
from nodes.contract.report import Report
from nodes.policies.situation import PowerOutlook
from nodes.power.supply import RadioUse
from nodes.power.system import PowerSystem, State
from nodes.profiles.profile import read_profile
from nodes.runtime.program import Loop

STOP_WITHIN_S = 0.5  # real, of those that wait for power when the node is to stop
FAR_S = 1e9  # scenario time for a change that never comes


class Clock(Protocol):
    """Scenario time that can be waited for, as a node's management plane has it."""

    def now_s(self) -> float | None:
        """Return the scenario time; None before the run has announced it."""

    def wait_until(self, time_s: float, gives_up: Callable[[], bool]) -> bool:
        """Wait for a scenario time, or until `gives_up` after a `wake`; whether the time has come."""

    def wake(self) -> None:
        """Let those that wait look whether they give up."""


class BatterySupply(Loop):
    """A `Supply` from a battery and solar panels; a part of a satellite.

    Args:
        power: the parameters.
        sunlight: what the panels give.
        clock: scenario time.
        report: gets `PowerState`.
        kept: file that keeps the state, for the next process of this run.
        answer_j: energy of an answer above idle, where the parameters have no power for it.

    Attributes:
        on_activity: called when there is something to do at another time.
        on_switch: called when a part was switched off or on.
    """

    def __init__(
        self,
        power: Power,
        sunlight: Sunlight,
        clock: Clock,
        report: Report,
        kept: Path,
        answer_j: float = 0.0,
    ) -> None:
        super().__init__("power", self._serve)
        self._answer_j = answer_j
        self._camera_j = power.camera_j
        self._clock, self._report, self._kept = clock, report, kept
        self._system = PowerSystem(power, sunlight)
        self._changed = threading.Condition(threading.RLock())
        self._due_s = -math.inf
        self._is_begun = False
        self._last: PowerState | None = None
        self.on_activity: Callable[[], None] = lambda: None
        self.on_switch: Callable[[], None] = lambda: None

    @property
    def may_compute(self) -> bool:
        """Whether inference may begin its next stage."""
        return self._system.permits.compute

    @property
    def radio_on(self) -> bool:
        """Whether the radio may be on."""
        return self._system.permits.radio

    def due_s(self) -> float:
        """Return the scenario time of the next change; see `Idleness.watch`.

        It must be asked before those who wait for power: what a change permits is known before the time of
        the next one.
        """
        return self._due_s

    def slowdown(self) -> float:
        """Return how many times longer than a cool one the computer needs now."""
        return self._system.slowdown

    def wait_to_compute(self, stopping: threading.Event) -> bool:
        """Wait until inference may go on; False if the node is to stop."""
        with self._changed:
            while not (self.may_compute or stopping.is_set()):
                self._changed.wait(STOP_WITHIN_S)
        return not stopping.is_set()

    def computing(self, working: bool) -> None:
        """Note whether a model works from now on."""
        with self._now():
            self._system.use = replace(self._system.use, working=working)

    def radio(self, use: RadioUse) -> None:
        """Note what the radio does from now on."""
        if use != self._system.use.radio:
            with self._now():
                self._system.use = replace(self._system.use, radio=use)

    def answered(self) -> None:
        """Use the energy of an answer, where it is known for a whole answer only."""
        if self._answer_j:
            self.take(self._answer_j)

    def captured(self) -> None:
        """Use the energy of one capture."""
        self.take(self._camera_j)

    def take(self, energy_j: float) -> None:
        """Use energy at once, such as that of an answer as a board's sensor measured it."""
        with self._now():
            self._system.take(energy_j)

    def measured_idle(self, idle_w: float) -> None:
        """Take the measured power of the computer without work for its own from now on."""
        with self._now():
            self._answer_j = 0.0
            self._system.measured_idle(idle_w)

    def outlook(self) -> PowerOutlook:
        """Return what a policy sees."""
        with self._now():
            system = self._system
            return PowerOutlook(system.battery.charge, system.heat.temperature_c, system.sunlight_in_s())

    def stop(self) -> None:
        """Request the end."""
        super().stop()
        self._clock.wake()

    def forget_kept(self) -> None:
        """Delete the kept state: the run has ended."""
        with contextlib.suppress(OSError):
            self._kept.unlink(missing_ok=True)

    def _serve(self, stopping: threading.Event) -> None:
        kept: PowerState | None = None
        while not stopping.is_set():
            with self._now():
                last = self._last
            if last is not kept:
                self._keep(last)
                kept = last
            self._wait_until_due(stopping)
        with self._now():
            self._tell(self._system.state("end"))

    def _wait_until_due(self, stopping: threading.Event) -> None:
        """Wait until the next change is due, or another one is next."""
        due_s = self._due_s
        self._clock.wait_until(min(due_s, FAR_S), lambda: stopping.is_set() or self._due_s != due_s)

    def _begin(self, now_s: float) -> None:
        """Go on with the state that an earlier process of this run has kept."""
        self._is_begun = True
        try:
            kept = PowerState.model_validate_json(self._kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if kept.at_s <= now_s:
            self._system.restore(kept)

    def _keep(self, state: PowerState | None) -> None:
        if state is not None:
            with contextlib.suppress(OSError):  # a restart then begins with a full battery
                write_atomically(self._kept, state.model_dump_json())

    @contextlib.contextmanager
    def _now(self) -> Iterator[None]:
        """Advance to this moment; afterwards find out when the next change is due."""
        with self._changed:
            before = self._system.permits
            now_s = self._clock.now_s()
            if now_s is not None and now_s >= 0:
                if not self._is_begun:
                    self._begin(now_s)
                for state in self._system.advance(max(now_s, self._system.time_s)):
                    self._tell(state)
            yield
            due_s = self._system.next_change_s()
            is_new, self._due_s = due_s != self._due_s, due_s
            if switched := self._system.permits != before:
                self._changed.notify_all()
        if switched:
            self.on_switch()
        if is_new:
            self._clock.wake()
            self.on_activity()

    def _tell(self, state: State) -> None:
        self._last = state.to_event()
        self._report(self._last)


def battery_supply(config: SatelliteConfig, clock: Clock, report: Report) -> BatterySupply | None:
    """Return the power supply of a satellite; None without a power system."""
    if config.power is None or config.sunlight is None:
        return None
    kept = config.outbox.parent / "power.json"
    return BatterySupply(config.power, config.sunlight, clock, report, kept, _answer_j(config) or 0.0)


def check_compute_power(config: SatelliteConfig, path: Path) -> None:
    """Check that the power of inference is known. Raises ConfigError."""
    if config.power is None or config.power.compute_w is not None or config.measure_power:
        return
    if _answer_j(config) is None:
        raise ConfigError(
            f"{path}: power: compute_w is not set, and no profile has the energy of an answer; set compute_w"
        )


def _answer_j(config: SatelliteConfig) -> float | None:
    """Return the energy of an answer above idle as the profile has it, where the parameters have no power."""
    if config.power is None or config.power.compute_w is not None or config.profile is None:
        return None
    energy = read_profile(config.profile).energy
    return None if energy is None else energy.p50_j
