"""Faults as a part of a scenario: what breaks, when, and until when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from traces.changes import WAYS, Span, Way, cut_off, degraded
from traces.trace import Trace

if TYPE_CHECKING:
    from testbed.scenario.model import Scenario

Direction = Literal["both", "down", "up"]
_SAME_PROGRAM = ("satellite lost", "station down", "bit flips in weights")


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    at_s: float = Field(ge=0, allow_inf_nan=False)
    until_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    target: str = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> _Fault:
        if self.until_s is not None and self.until_s <= self.at_s:
            raise ValueError(f"until_s is {self.until_s:g}, not after at_s, {self.at_s:g}")
        return self

    @property
    def span(self) -> Span:
        """(from, until) in seconds; infinite for one that never ends."""
        return self.at_s, math.inf if self.until_s is None else self.until_s


class SatelliteLost(_Fault):
    """A satellite loses its power: its program ends at once, and its links go down.

    It comes back with its disk as it was. What it should have captured meanwhile is missing.

    Args:
        at_s: scenario time at which it happens.
        until_s: when the satellite is back; None for never.
        target: the satellite.
    """

    what: Literal["satellite lost"] = "satellite lost"


class StationDown(_Fault):
    """A ground station, or mission control, loses its power: its program ends at once, and its links go down.

    Args:
        at_s: scenario time at which it happens.
        until_s: when it works again; None for never.
        target: the station.
    """

    what: Literal["station down"] = "station down"


class LinkCut(_Fault):
    """A link is cut, in one direction or both.

    Args:
        at_s: scenario time at which it happens.
        until_s: when it works again; None for never.
        target: name of the link: "satellite - station", "satellite - satellite", "station - mission control".
        way: "down" (from the first-named end to the other, as to the ground), "up" or "both".
    """

    what: Literal["link cut"] = "link cut"
    way: Direction = "both"


class RateDegraded(_Fault):
    """A link is slower, such as in rain or beside an interferer.

    Args:
        at_s: scenario time at which it begins.
        until_s: when it ends; None for never.
        target: name of the link: "satellite - station", "satellite - satellite", "station - mission control".
        factor: of its rate, above 0 and at most 1.
        loss: probability that a packet is lost, beside the link's own.
        way: "down" (from the first-named end to the other, as to the ground), "up" or "both".
    """

    what: Literal["rate degraded"] = "rate degraded"
    factor: float = Field(gt=0, le=1)
    loss: float = Field(default=0.0, ge=0, lt=1)
    way: Direction = "both"


class BitFlips(_Fault):
    """Bits of a satellite's model flip, as by radiation: it starts again with a damaged copy of the weights.

    Args:
        at_s: scenario time at which it happens.
        until_s: when the satellite starts again with sound weights; None for never.
        target: the satellite.
        flips: number of bits.
        seed: chooses the bits.
    """

    what: Literal["bit flips in weights"] = "bit flips in weights"
    flips: int = Field(ge=1, le=1_000_000)
    seed: int = Field(default=0, ge=0)


Fault = Annotated[
    SatelliteLost | StationDown | LinkCut | RateDegraded | BitFlips, Field(discriminator="what")
]


def fault_problem(scenario: Scenario) -> str | None:
    """Return what is wrong with the faults of a scenario; None if nothing is."""
    satellites = {one.name: one for one in scenario.satellites}
    stations = {one.name for one in scenario.ground_nodes}
    links = {link.name for link in scenario.network_links}
    for number, fault in enumerate(scenario.faults):
        if isinstance(fault, SatelliteLost | BitFlips):
            kind, known = "satellite", set(satellites)
        else:
            kind, known = ("station", stations) if isinstance(fault, StationDown) else ("link", links)
        if fault.target not in known:
            return f"{fault.what!r} refers to unknown {kind} {fault.target!r}"
        if kind == "satellite" and satellites[fault.target].board is not None:
            return f"{fault.what!r} needs an emulated satellite; {fault.target!r} is a board"
        for other in scenario.faults[:number]:
            if _collide(fault, other):
                return f"{fault.what!r} of {fault.target!r} from {fault.at_s:g} s overlaps {other.what!r}"
    return None


def _collide(one: Fault, other: Fault) -> bool:
    """Return whether two faults want different things of one program at a time."""
    if one.target != other.target or one.what not in _SAME_PROGRAM or other.what not in _SAME_PROGRAM:
        return False
    return one.span[0] < other.span[1] and other.span[0] < one.span[1]


def check_weights(scenario: Scenario) -> str | None:
    """Return which weights bits cannot flip in; None if in all that are named."""
    for fault in scenario.faults:
        if isinstance(fault, BitFlips):
            model = Path(scenario.satellite(fault.target).model)
            if not any(model.glob("*.safetensors")):
                return f"{fault.what!r} of {fault.target}: {model} is no folder with *.safetensors"
    return None


def described(fault: Fault) -> str:
    """Return what a fault does, in words."""
    ways = "" if getattr(fault, "way", "both") == "both" else f", {getattr(fault, 'way', '')}link only"
    match fault:
        case RateDegraded():
            loss = f" and a loss of {fault.loss:.0%} more" if fault.loss else ""
            return f"{fault.factor:.3g} times the rate{loss}{ways}"
        case BitFlips():
            return f"{fault.flips} bits of its weights, seed {fault.seed}"
        case LinkCut():
            return f"no packet passes{ways}"
        case _:
            return "its program ends, and its links are down"


def links_hit(scenario: Scenario, fault: Fault) -> list[str]:
    """Return the links that a fault takes down or slows."""
    if isinstance(fault, BitFlips):
        return []
    return [link.name for link in scenario.network_links if fault.target in (link.name, *link.ends)]


def faulty_traces(scenario: Scenario, traces: Mapping[str, Trace]) -> dict[str, Trace]:
    """Return traces of links with the scenario's faults.

    Args:
        scenario: the scenario.
        traces: the traces without faults, by the links' names.
    """
    faulty = dict(traces)
    for fault in scenario.faults:
        for name in traces.keys() & set(links_hit(scenario, fault)):
            end = "on" if fault.until_s is None else f"to {fault.until_s:g} s"
            note = f"fault from {fault.at_s:g} s {end}: {fault.what} ({described(fault)})"
            ways = _ways(getattr(fault, "way", "both"))
            if isinstance(fault, RateDegraded):
                faulty[name] = degraded(
                    faulty[name], fault.span, note, factor=fault.factor, loss=fault.loss, ways=ways
                )
            else:
                faulty[name] = cut_off(faulty[name], fault.span, note, ways)
    return faulty


def _ways(direction: Direction) -> Sequence[Way]:
    return WAYS if direction == "both" else (direction,)
