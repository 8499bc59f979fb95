"""Battery, temperature and sunlight of a satellite together, and what they permit.

No clock and no thread: scenario time is passed in. Between two changes of the input or of the loads the
charge is a straight line and the temperature an exponential, so that every crossing of a limit is computed
exactly.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

from nodes.contract.events import PowerCause, PowerState
from nodes.contract.power.parameters import Power
from nodes.contract.power.sunlight import Sunlight
from nodes.power.battery import Battery
from nodes.power.heat import Heat
from nodes.power.supply import RadioUse

_CLOSE = 1e-9  # share or degrees: a limit that was computed to be reached has been reached
_SHORTEST_S = 1e-6  # a limit that was missed by rounding must not stop time


@dataclass(frozen=True, slots=True)
class Use:
    """What the parts of the satellite do.

    Attributes:
        radio: what the radio does.
        working: whether a model works.
    """

    radio: RadioUse = "off"
    working: bool = False


@dataclass(frozen=True, slots=True)
class Permits:
    """What charge and temperature permit.

    Attributes:
        compute: whether inference may begin a stage.
        radio: whether the radio is on.
        full_speed: whether the computer is not slowed down.
    """

    compute: bool = True
    radio: bool = True
    full_speed: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The state at one moment. The energies count from scenario second 0; see `Battery`."""

    time_s: float
    causes: tuple[PowerCause, ...]
    charge_j: float
    charge: float
    temperature_c: float
    sunlit: bool
    input_w: float
    load_w: float
    permits: Permits
    input_j: float
    used_j: float
    lost_j: float
    unserved_j: float

    def to_event(self) -> PowerState:
        """Return the event that reports it."""
        return PowerState(
            at_s=self.time_s,
            causes=list(self.causes),
            charge_j=self.charge_j,
            charge=self.charge,
            temperature_c=self.temperature_c,
            sunlit=self.sunlit,
            input_w=self.input_w,
            load_w=self.load_w,
            compute=self.permits.compute,
            radio=self.permits.radio,
            full_speed=self.permits.full_speed,
            input_j=self.input_j,
            used_j=self.used_j,
            lost_j=self.lost_j,
            unserved_j=self.unserved_j,
        )


class PowerSystem:
    """The power system of a satellite from scenario second 0 on.

    Args:
        power: its parameters.
        sunlight: what its panels give.
    """

    def __init__(self, power: Power, sunlight: Sunlight) -> None:
        self._power = power
        self._rows = sunlight.rows
        self._begins_s = [row.time_s for row in sunlight.rows]
        self.battery = Battery(
            power.capacity_j, power.charge_efficiency, power.first_charge * power.capacity_j
        )
        self.heat = Heat(power.heat_capacity_j_k, power.heat_conductance_w_k, power.first_c)
        self.time_s = 0.0
        self.use = Use()
        self.permits = Permits()
        self._row = 0
        self._sample_s = 0.0

    @property
    def load_w(self) -> float:
        """Power of all loads."""
        power, permits = self._power, self.permits
        radio_w = {"off": power.radio_off_w, "on": power.radio_on_w, "transmit": power.radio_transmit_w}
        return power.bus_w + radio_w[self.use.radio if permits.radio else "off"] + self._compute_w

    @property
    def _compute_w(self) -> float:
        """Power of the computer. A stage that has begun is finished, whatever is permitted."""
        idle_w, working_w = self._power.compute_idle_w, self._power.compute_w
        if not self.use.working:
            return idle_w if self.permits.compute else 0.0
        above_w = 0.0 if working_w is None else max(0.0, working_w - idle_w)
        return idle_w + above_w / self.slowdown

    @property
    def slowdown(self) -> float:
        """How many times longer the computer needs than it does when it is cool."""
        return 1.0 if self.permits.full_speed else 1 / self._power.throttled_speed

    @property
    def sunlit(self) -> bool:
        """Whether the satellite sees the sun."""
        return self._rows[self._row].sunlit

    def sunlight_in_s(self) -> float:
        """Return the time until the satellite sees the sun: 0 while it does, inf if that is unknown."""
        begins = (row.time_s for row in self._rows[self._row + 1 :] if row.sunlit)
        return 0.0 if self.sunlit else next(begins, math.inf) - self.time_s

    def restore(self, reported: PowerState) -> None:
        """Go on from a state that was reported."""
        self.battery = Battery(
            self._power.capacity_j,
            self._power.charge_efficiency,
            reported.charge_j,
            reported.input_j,
            reported.used_j,
            reported.lost_j,
            reported.unserved_j,
        )
        self.heat.temperature_c = reported.temperature_c
        self.permits = Permits(reported.compute, reported.radio, reported.full_speed)
        self.time_s = reported.at_s
        every_s = self._power.report_every_s
        self._sample_s = (math.floor(reported.at_s / every_s) + 1) * every_s
        self._row = bisect.bisect_right(self._begins_s, self.time_s) - 1

    def advance(self, to_s: float) -> list[State]:
        """Let time pass up to a scenario time; return the states at changes and at regular moments."""
        return list(self._states(to_s, samples=True))

    def next_change_s(self) -> float:
        """Return the scenario time of the next change if nothing else is used until then; inf: none."""
        ahead = copy.copy(self)
        ahead.battery, ahead.heat = copy.copy(self.battery), copy.copy(self.heat)
        return next((state.time_s for state in ahead._states(math.inf, samples=False)), math.inf)

    def measured_idle(self, idle_w: float) -> None:
        """Use a measured power of the computer; what it takes above is measured for each answer."""
        self._power = self._power.model_copy(update={"compute_idle_w": idle_w, "compute_w": None})

    def take(self, energy_j: float) -> None:
        """Use energy at once; it becomes heat."""
        self.battery.take(energy_j)
        self.heat.temperature_c += energy_j / self.heat.capacity_j_k

    def state(self, *causes: PowerCause) -> State:
        """Return the state now."""
        battery, row = self.battery, self._rows[self._row]
        return State(
            time_s=self.time_s,
            causes=causes,
            charge_j=battery.charge_j,
            charge=battery.charge,
            temperature_c=self.heat.temperature_c,
            sunlit=row.sunlit,
            input_w=row.input_w,
            load_w=self.load_w,
            permits=self.permits,
            input_j=battery.input_j,
            used_j=battery.used_j,
            lost_j=battery.lost_j,
            unserved_j=battery.unserved_j,
        )

    def _states(self, to_s: float, *, samples: bool) -> Iterator[State]:
        while True:
            causes = self._enter_row() + self._switch()
            if samples and self.time_s >= self._sample_s:
                causes += ("interval",)
                self._sample_s += self._power.report_every_s
            if causes:
                yield self.state(*causes)
            end_s = min(to_s, self._step_end_s(samples=samples))
            if end_s <= self.time_s or math.isinf(end_s):
                return
            self._pass(end_s)

    def _pass(self, end_s: float) -> None:
        row, duration_s = self._rows[self._row], end_s - self.time_s
        load_w = self.load_w
        self.battery.advance(row.input_w, load_w, duration_s)
        self.heat.advance(self._surroundings_c, load_w, duration_s)
        self.time_s = end_s

    @property
    def _surroundings_c(self) -> float:
        return self._power.sunlit_c if self.sunlit else self._power.eclipse_c

    def _enter_row(self) -> tuple[PowerCause, ...]:
        was_sunlit = self.sunlit
        self._row = bisect.bisect_right(self._begins_s, self.time_s) - 1
        if self.sunlit == was_sunlit:
            return ()
        return ("sunlight",) if self.sunlit else ("eclipse",)

    def _switch(self) -> tuple[PowerCause, ...]:
        """Switch parts off and on as charge and temperature ask for; return what was switched."""
        power, before = self._power, self.permits
        cool = self._stays(before.compute, -power.compute_off_c, power.cooling_margin_c, hot=True)
        charged = self._stays(before.compute, power.compute_floor, power.resume_margin)
        after = Permits(
            compute=cool and charged,
            radio=self._stays(before.radio, power.radio_floor, power.resume_margin),
            full_speed=self._stays(before.full_speed, -power.throttle_c, power.cooling_margin_c, hot=True),
        )
        self.permits = after
        causes: list[PowerCause] = []
        if before.compute != after.compute:
            causes.append("compute on" if after.compute else "compute off" if not charged else "too hot")
        if before.radio != after.radio:
            causes.append("radio on" if after.radio else "radio off")
        if before.full_speed != after.full_speed:
            causes.append("full speed" if after.full_speed else "throttled")
        return tuple(causes)

    def _stays(self, on: bool, limit: float, margin: float, *, hot: bool = False) -> bool:
        """Return whether a part is on: it goes off at a limit from above, and on at a margin beyond it."""
        value = -self.heat.temperature_c if hot else self.battery.charge
        return value > limit + _CLOSE if on else value >= limit + margin - _CLOSE

    def _step_end_s(self, *, samples: bool) -> float:
        row, load_w, power = self._rows[self._row], self.load_w, self._power
        further = self._begins_s[self._row + 1 :]
        charges = [
            share
            for floor in (power.compute_floor, power.radio_floor)
            for share in (floor, floor + power.resume_margin)
        ]
        temperatures_c = [
            limit_c
            for hot_c in (power.throttle_c, power.compute_off_c)
            for limit_c in (hot_c, hot_c - power.cooling_margin_c)
        ]
        waits_s = [
            self.battery.time_to_edge_s(row.input_w, load_w),
            *(self.battery.time_to_s(c * power.capacity_j, row.input_w, load_w) for c in charges),
            *(self.heat.time_to_s(t, self._surroundings_c, load_w) for t in temperatures_c),
        ]
        ends_s = [self.time_s + max(wait_s, _SHORTEST_S) for wait_s in waits_s]
        return min([*ends_s, *further[:1], *([self._sample_s] if samples else [])])
