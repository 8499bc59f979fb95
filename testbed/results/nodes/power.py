"""Battery, temperature and sunlight of the satellites with a power system, in a run's results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nodes.contract.events import EventRecord, PowerState
from nodes.contract.power.parameters import J_PER_WH, Power
from nodes.contract.power.sunlight import Sunlight
from testbed.scenario.model import Scenario

BALANCE_BOUND = 0.01  # of the energy that the panels gave


@dataclass(frozen=True)
class PowerRecord:
    """The power system of one satellite over a run.

    Args:
        satellite: name of the satellite.
        power: its parameters.
        states: what it reported, in order of time; at least one.
        given_j: energy of its panels between the first and the last state, as computed ahead.
    """

    satellite: str
    power: Power
    states: tuple[PowerState, ...]
    given_j: float

    @property
    def stored_j(self) -> float:
        """Change of the charge."""
        return self.states[-1].charge_j - self.states[0].charge_j

    @property
    def used_j(self) -> float:
        """Energy that the loads took."""
        return self.states[-1].used_j - self.states[0].used_j

    @property
    def lost_j(self) -> float:
        """Energy lost in charging, or not taken from the panels by a full battery."""
        return self.states[-1].lost_j - self.states[0].lost_j

    @property
    def balance_error(self) -> float | None:
        """Difference of the energy given and that stored, used and lost, over the energy that flowed."""
        flow_j = max(self.given_j, self.used_j)
        if flow_j == 0:
            return None
        return abs(self.given_j - self.stored_j - self.used_j - self.lost_j) / flow_j

    def time_s(self, holds: Callable[[PowerState], bool]) -> float:
        """Return the scenario time for which something held."""
        return sum(late.at_s - early.at_s for early, late in pairwise(self.states) if holds(early))

    def spans(self, holds: Callable[[PowerState], bool]) -> list[tuple[float, float]]:
        """Return the spans of scenario time in which something held."""
        found: list[tuple[float, float]] = []
        for early, late in pairwise(self.states):
            if not holds(early):
                continue
            if found and found[-1][1] == early.at_s:
                found[-1] = (found[-1][0], late.at_s)
            else:
                found.append((early.at_s, late.at_s))
        return found

    def line(self) -> str:
        """Return the record in one line."""
        charges = [state.charge for state in self.states]
        temperatures_c = [state.temperature_c for state in self.states]
        off_s = self.time_s(lambda state: not state.compute)
        throttled_s = self.time_s(lambda state: not state.full_speed)
        error = self.balance_error
        parts = [
            f"{self.satellite}: battery {min(charges):.0%} to {max(charges):.0%} of"
            f" {self.power.battery_wh:g} Wh",
            f"{round(min(temperatures_c))} to {round(max(temperatures_c))} degrees C",
            f"{self.time_s(lambda state: not state.sunlit) / 60:.0f} min of eclipse",
            f"panels {self.given_j / J_PER_WH:.1f} Wh, used {self.used_j / J_PER_WH:.1f}, lost"
            f" {self.lost_j / J_PER_WH:.1f}, stored {self.stored_j / J_PER_WH:+.1f}",
            *([] if error is None else [f"balance within {error:.2%}"]),
            *([f"no inference for {off_s / 60:.0f} min"] if off_s else []),
            *([f"slowed down by heat for {throttled_s / 60:.0f} min"] if throttled_s else []),
        ]
        return "; ".join(parts)

    def warnings(self) -> list[str]:
        """Return a line for a balance that does not add up, and for an empty battery."""
        found = []
        if self.balance_error is not None and self.balance_error > BALANCE_BOUND:
            found.append(
                f"{self.satellite}: its energy does not add up: {self.balance_error:.1%} of"
                f" {max(self.given_j, self.used_j) / J_PER_WH:.1f} Wh, bound {BALANCE_BOUND:.0%}"
            )
        if (unserved_j := self.states[-1].unserved_j) > 0:
            found.append(
                f"{self.satellite}: its battery was empty, and its loads lacked"
                f" {unserved_j / J_PER_WH:.2f} Wh"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the record; `states` has one row for each state."""
        return {
            "satellite": self.satellite,
            "power": self.power.model_dump(mode="json"),
            "given_j": self.given_j,
            "stored_j": self.stored_j,
            "used_j": self.used_j,
            "lost_j": self.lost_j,
            "balance_error": self.balance_error,
            "eclipse_s": self.time_s(lambda state: not state.sunlit),
            "no_compute_s": self.time_s(lambda state: not state.compute),
            "no_radio_s": self.time_s(lambda state: not state.radio),
            "throttled_s": self.time_s(lambda state: not state.full_speed),
            "states": [state.model_dump(mode="json") for state in self.states],
        }


def power_records(
    scenario: Scenario, events: Sequence[EventRecord], sunlights: Mapping[str, Sunlight]
) -> tuple[PowerRecord, ...]:
    """Return a record of each satellite that reported its power system.

    Args:
        scenario: the scenario.
        events: the run's events.
        sunlights: what the panels give, by satellite.
    """
    states: dict[str, list[PowerState]] = {satellite.name: [] for satellite in scenario.satellites}
    for record in events:
        if isinstance(record.event, PowerState) and record.node in states:
            states[record.node].append(record.event)
    records = []
    for satellite in scenario.satellites:
        own = sorted(states[satellite.name], key=lambda state: state.at_s)
        if satellite.power is not None and own:
            given_j = sunlights[satellite.name].energy_j(own[0].at_s, own[-1].at_s)
            records.append(PowerRecord(satellite.name, satellite.power, tuple(own), given_j))
    return tuple(records)
