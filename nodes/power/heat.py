"""The temperature of a satellite as one body: C dT/dt = load - G (T - surroundings)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Heat:
    """A body that is heated by its loads and loses heat to its surroundings.

    Attributes:
        capacity_j_k: heat capacity C.
        conductance_w_k: conductance G.
        temperature_c: temperature T.
    """

    capacity_j_k: float
    conductance_w_k: float
    temperature_c: float

    @property
    def time_constant_s(self) -> float:
        """Time in which a difference falls to 37 %."""
        return self.capacity_j_k / self.conductance_w_k

    def settled_c(self, surroundings_c: float, load_w: float) -> float:
        """Return the temperature that it tends to."""
        return surroundings_c + load_w / self.conductance_w_k

    def time_to_s(self, temperature_c: float, surroundings_c: float, load_w: float) -> float:
        """Return the time until it has a temperature; inf if it never has."""
        settled_c = self.settled_c(surroundings_c, load_w)
        now, then = self.temperature_c - settled_c, temperature_c - settled_c
        if now == 0 or not 0 < then / now < 1:
            return math.inf
        return self.time_constant_s * math.log(now / then)

    def advance(self, surroundings_c: float, load_w: float, duration_s: float) -> None:
        """Let time pass in which surroundings and load are constant."""
        settled_c = self.settled_c(surroundings_c, load_w)
        fall = math.exp(-duration_s / self.time_constant_s)
        self.temperature_c = settled_c + (self.temperature_c - settled_c) * fall
