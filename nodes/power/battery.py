"""A battery between solar panels and loads: it charges with a loss, and can be full or empty."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Battery:
    """A battery, and the energy that went through it.

    The panels feed the loads directly. What is left over charges the battery, with a loss; what is missing
    comes from it.

    Attributes:
        capacity_j: capacity.
        efficiency: energy stored over energy that charges.
        charge_j: energy stored.
        input_j: energy that the panels could give.
        used_j: energy that the loads took.
        lost_j: energy lost in charging, or not taken from the panels by a full battery.
        unserved_j: energy that the loads needed while the battery was empty.
    """

    capacity_j: float
    efficiency: float
    charge_j: float
    input_j: float = 0.0
    used_j: float = 0.0
    lost_j: float = 0.0
    unserved_j: float = 0.0

    @property
    def charge(self) -> float:
        """Share of the capacity."""
        return self.charge_j / self.capacity_j

    def rate_w(self, input_w: float, load_w: float) -> float:
        """Return the rate at which the charge changes."""
        surplus_w = input_w - load_w
        if surplus_w >= 0:
            return 0.0 if self.charge_j >= self.capacity_j else surplus_w * self.efficiency
        return 0.0 if self.charge_j <= 0 else surplus_w

    def time_to_s(self, charge_j: float, input_w: float, load_w: float) -> float:
        """Return the time until the battery has a charge; inf if it moves away from it or stays."""
        rate_w = self.rate_w(input_w, load_w)
        missing_j = charge_j - self.charge_j
        return missing_j / rate_w if missing_j * rate_w > 0 else math.inf

    def time_to_edge_s(self, input_w: float, load_w: float) -> float:
        """Return the time until the battery is full or empty."""
        return min(self.time_to_s(self.capacity_j, input_w, load_w), self.time_to_s(0.0, input_w, load_w))

    def advance(self, input_w: float, load_w: float, duration_s: float) -> None:
        """Let time pass in which input and load are constant."""
        edge_s = self.time_to_edge_s(input_w, load_w)
        if edge_s < duration_s:
            self._pass(input_w, load_w, edge_s, self.capacity_j if input_w > load_w else 0.0)
            duration_s -= edge_s
        self._pass(input_w, load_w, duration_s, self.charge_j + self.rate_w(input_w, load_w) * duration_s)

    def take(self, energy_j: float) -> None:
        """Give energy at once."""
        served_j = min(energy_j, self.charge_j)
        self.charge_j -= served_j
        self.used_j += served_j
        self.unserved_j += energy_j - served_j

    def _pass(self, input_w: float, load_w: float, duration_s: float, charge_j: float) -> None:
        gained_j = charge_j - self.charge_j
        self.charge_j = charge_j
        input_j, load_j = input_w * duration_s, load_w * duration_s
        self.input_j += input_j
        if input_w >= load_w:
            self.used_j += load_j
            self.lost_j += input_j - load_j - gained_j
        elif duration_s > 0 and self.charge_j <= 0 and gained_j == 0:
            self.used_j += input_j
            self.unserved_j += load_j - input_j
        else:
            self.used_j += load_j
