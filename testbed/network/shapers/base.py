"""The interface between a link and its shaper.

A shaper gets the two sky ports of a link once, then a `LinkState` per direction for every change.
`RecordingShaper` is for tests without root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from testbed.network.link_state import DOWN_STATE, Direction, LinkState


@dataclass(frozen=True, slots=True)
class LinkPorts:
    """The two ports of one link's bridge, by interface name inside the sky namespace.

    Traffic of direction DOWN enters at `satellite` and leaves at `ground`; UP the other way round.
    """

    link: str
    satellite: str
    ground: str
    super_packets: bool = False  # whether both hosts can send and take them, see `super_packets`

    def entry(self, direction: Direction) -> str:
        """Return the port at which packets of `direction` enter the sky."""
        return self.satellite if direction is Direction.DOWN else self.ground

    def exit(self, direction: Direction) -> str:
        """Return the port at which packets of `direction` leave the sky."""
        return self.ground if direction is Direction.DOWN else self.satellite


class Shaper(Protocol):
    """Makes links follow their states. One shaper serves all links of a sky.

    Attributes:
        name: its name in scenarios.
        can_hold: whether it can keep packets inside a link for the next contact (OnContactEnd.HOLD).
        takes_super_packets: whether it passes TCP's super-packets where a state allows it, see
            `super_packets`; others would lose, delay and count one as a single packet.
    """

    name: str
    can_hold: bool
    takes_super_packets: bool

    def how(self) -> str:
        """Return how it works on this machine, in a few words for the record."""

    def attach(self, ports: LinkPorts) -> None:
        """Take charge of a link; both directions start down. Raises LinkError."""

    def make_ready(self) -> None:
        """Finish for all links what `attach` has begun; otherwise the first state that is written does.

        Raises LinkError.
        """

    def detach(self, link: str) -> None:
        """Give a link back, its ports still there; a link that is not known is no error."""

    def apply(self, link: str, direction: Direction, state: LinkState) -> LinkState:
        """Write `state` whole, and return it as it was read back then. Raises LinkError.

        It holds for what is queued as far as the shaper can. Only rate, delay, jitter, loss, queue and
        whether packets pass are the shaper's business: the carrier itself is taken up and down by the link
        that owns the ports.
        """

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Write the states of many directions, each whole, and return them in order as read back then.

        The same as `apply` for each, and cheaper. When one is refused others may have been written.
        """

    def read_back(self, link: str, direction: Direction) -> LinkState:
        """Return the state that the kernel, or the process that plays the link, holds."""

    def counters(self, link: str, direction: Direction) -> dict[str, float]:
        """Return packet counters by name; the counters differ between shapers."""

    def queues_met(self, link: str, direction: Direction) -> list[tuple[float, float]] | None:
        """Return what frames of an RTT probe's size met since the last call, or None if it cannot be told.

        Of each, when it entered the link (CLOCK_MONOTONIC, seconds) and the bytes that waited before it.
        """

    def check(self) -> None:
        """Raise ShaperDiedError if the process of the shaper has ended, LinkError if a link is lost."""

    def close(self) -> None:
        """Release everything that `attach` took. May be called twice."""


@dataclass
class RecordingShaper:
    """A shaper without a network: records its states, for tests."""

    name: str = "recording"
    can_hold: bool = True
    takes_super_packets: bool = False
    states: dict[tuple[str, Direction], LinkState] = field(default_factory=dict)
    history: list[tuple[str, Direction, LinkState]] = field(default_factory=list)
    closed: bool = False

    def how(self) -> str:
        """Return that there is no network."""
        return "no network"

    def attach(self, ports: LinkPorts) -> None:
        """Remember the link as down in both directions."""
        for direction in Direction:
            self.states[ports.link, direction] = DOWN_STATE

    def make_ready(self) -> None:
        """Do nothing."""

    def detach(self, link: str) -> None:
        """Forget the link's states, not its history."""
        for direction in Direction:
            self.states.pop((link, direction), None)

    def apply(self, link: str, direction: Direction, state: LinkState) -> LinkState:
        """Remember the state, and that it came now."""
        self.states[link, direction] = state
        self.history.append((link, direction, state))
        return state

    def apply_all(self, requested: Sequence[tuple[str, Direction, LinkState]]) -> list[LinkState]:
        """Record all of them, one after another."""
        return [self.apply(*one) for one in requested]

    def read_back(self, link: str, direction: Direction) -> LinkState:
        """Return the last state that was applied."""
        return self.states[link, direction]

    def counters(self, link: str, direction: Direction) -> dict[str, float]:
        """Return the number of applied states."""
        return {"applied": sum(entry[:2] == (link, direction) for entry in self.history)}

    def queues_met(self, link: str, direction: Direction) -> list[tuple[float, float]] | None:
        """Return None: nothing passes."""
        return None

    def check(self) -> None:
        """Do nothing: a recording cannot fail."""

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True
