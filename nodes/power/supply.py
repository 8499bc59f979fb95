"""What the parts of a node need of its power supply."""

from __future__ import annotations

import threading
from typing import Literal, Protocol

RadioUse = Literal["off", "on", "transmit"]


class Supply(Protocol):
    """What the parts of a node need of its power supply."""

    @property
    def may_compute(self) -> bool:
        """Whether inference may begin its next stage."""

    @property
    def radio_on(self) -> bool:
        """Whether the radio may be on."""

    def slowdown(self) -> float:
        """Return how many times longer than a cool one the computer needs now."""

    def wait_to_compute(self, stopping: threading.Event) -> bool:
        """Wait until inference may go on; False if the node is to stop."""

    def computing(self, working: bool) -> None:
        """Note whether a model works from now on."""

    def answered(self) -> None:
        """Note that the work on a frame has ended."""

    def measured_idle(self, idle_w: float) -> None:
        """Take the measured power of the computer without work for its own from now on."""

    def take(self, energy_j: float) -> None:
        """Use energy at once, such as that of an answer as a board's sensor measured it."""

    def radio(self, use: RadioUse) -> None:
        """Note what the radio does from now on."""


class Mains:
    """Power without limit: of a node on the ground, and of a satellite without a power system."""

    may_compute = True
    radio_on = True

    def slowdown(self) -> float:
        """Return 1."""
        return 1.0

    def wait_to_compute(self, stopping: threading.Event) -> bool:
        """Return at once."""
        return True

    def computing(self, working: bool) -> None:
        """Do nothing."""

    def answered(self) -> None:
        """Do nothing."""

    def measured_idle(self, idle_w: float) -> None:
        """Do nothing."""

    def take(self, energy_j: float) -> None:
        """Do nothing."""

    def radio(self, use: RadioUse) -> None:
        """Do nothing."""
