"""Dishes given away before a run: the turns, and the traces that are left of the links."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.errors import ScenarioError
from testbed.scenario.dishes.desk import DishDesk, PassInView, StationDishes, Turn
from testbed.scenario.dishes.schedulers import LongestPass, scheduler_named
from testbed.scenario.model import Scenario
from traces.changes import only_during
from traces.trace import Trace

ESTIMATED_BY = "longest-pass"


@dataclass(frozen=True)
class DishPlan:
    """The plan of all dishes.

    Attributes:
        turns: Who has which dish when, in order of time.
        traces: What is left of each link's trace, by the link's name.
        live: Whether the schedulers decide during the run. The plan is then an estimate of `ESTIMATED_BY`.
    """

    turns: tuple[Turn, ...]
    traces: Mapping[str, Trace]
    live: bool = False


def stations_with_dishes(scenario: Scenario) -> list[StationDishes]:
    """Return the stations that have fewer dishes than satellites. Raises ScenarioError."""
    found = []
    for ground in scenario.stations:
        linked = sum(link.station == ground.name for link in scenario.links)
        if ground.dishes is None or ground.dishes >= linked:
            continue
        name = ground.scheduler or scenario.scheduler
        try:
            scheduler = scheduler_named(name)
        except ValueError as error:
            raise ScenarioError(f"station {ground.name}: {error}") from None
        found.append(StationDishes(ground.name, ground.dishes, ground.slew_s, scheduler, name))
    return found


def desk_of(
    scenario: Scenario, traces: Mapping[str, Trace], stations: list[StationDishes], until_s: float = math.inf
) -> DishDesk:
    """Return a desk for stations, with every pass over them."""
    names = {station.station for station in stations}
    passes = [
        PassInView(link.station, link.satellite, contact.aos_s, contact.los_s)
        for link in scenario.links
        if link.station in names
        for contact in traces[link.name].contacts()
        if contact.aos_s < until_s
    ]
    return DishDesk(stations, passes)


def dish_plan(scenario: Scenario, traces: Mapping[str, Trace]) -> DishPlan | None:
    """Return who has which dish when; None if every station has a dish for each of its satellites.

    Args:
        scenario: the scenario.
        traces: the trace of each link by its name, as if it were always served.

    Raises:
        ScenarioError: a scheduler cannot be used, or fails; or it decides during a run with routes.
    """
    stations = stations_with_dishes(scenario)
    if not stations:
        return None
    live = any(station.scheduler.live for station in stations)
    if live and scenario.mission_control is not None:
        named = next(station.named for station in stations if station.scheduler.live)
        raise ScenarioError(
            f"scheduler {named} decides during the run, but routes to {scenario.mission_control.name} are "
            "computed before it: choose longest-pass or round-robin"
        )
    if live:
        stations = [
            StationDishes(s.station, s.dishes, s.slew_s, LongestPass(), ESTIMATED_BY) for s in stations
        ]
    turns = _turns(desk_of(scenario, traces, stations))
    limited = {station.station: station for station in stations}
    left = dict(traces)
    for link in scenario.links:
        if link.station in limited:
            note = f"served by a dish of {link.station} as {limited[link.station].named} gave it"
            left[link.name] = served(traces[link.name], link.satellite, link.station, turns, note)
    return DishPlan(turns, left, live)


def served(trace: Trace, satellite: str, station: str, turns: tuple[Turn, ...], note: str) -> Trace:
    """Return what dishes of a station leave of a link's trace."""
    spans = [
        (turn.open_s, trace.end_s if turn.until_s is None else turn.until_s)
        for turn in turns
        if (turn.satellite, turn.station) == (satellite, station)
    ]
    return only_during(trace, [(from_s, until_s) for from_s, until_s in spans if from_s < until_s], note)


def _turns(desk: DishDesk) -> tuple[Turn, ...]:
    ended: list[Turn] = []
    now_s = desk.next_s(-math.inf)
    while now_s < math.inf:
        ended += desk.decide(now_s).ended
        now_s = desk.next_s(now_s)
    return tuple(sorted(ended, key=lambda turn: (turn.from_s, turn.station, turn.dish)))
