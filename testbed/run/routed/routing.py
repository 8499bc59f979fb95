"""The routes of a run and what follows from them, before any of it exists; pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.errors import ScenarioError
from testbed.network.routes.contact_graph import RoutedLink
from testbed.network.routes.named_choice import choice_named
from testbed.network.routes.path_trace import path_trace
from testbed.network.routes.routed_hosts import node_address
from testbed.network.routes.schedule import RouteSchedule
from testbed.run.traces import place_of
from testbed.scenario.model import MissionControl, Scenario
from traces.errors import StationError
from traces.terrestrial import constant_trace, fibre_delay_s
from traces.trace import Trace


@dataclass(frozen=True)
class Routing:
    """The ways to mission control.

    Args:
        control: name of mission control.
        schedule: the routes of all nodes.
        earth_traces: what each link on the ground follows, by its name.
        paths: the trace of each satellite's way to mission control, as if that were one link.
        addresses: own address of each node.
    """

    control: str
    schedule: RouteSchedule
    earth_traces: Mapping[str, Trace]
    paths: Mapping[str, Trace]
    addresses: Mapping[str, str]


def routing_of(scenario: Scenario, traces: Mapping[str, Trace]) -> Routing | None:
    """Return the routes of a scenario; None if it has no mission control.

    Args:
        scenario: the scenario.
        traces: the traces of the satellites' links, by name.

    Raises:
        ScenarioError: a place is unknown from which a delay follows.
        InputError: the choice of routes cannot be used, or returns what is none.
    """
    control = scenario.mission_control
    if control is None:
        return None
    earth_traces = _earth_traces(scenario, control, traces)
    boards = {satellite.name for satellite in scenario.satellites if satellite.board is not None}
    all_traces = earth_traces | dict(traces)
    links = [
        RoutedLink(link.name, link.ends, all_traces[link.name])
        for link in scenario.network_links
        if boards.isdisjoint(link.ends)
    ]
    schedule = RouteSchedule.compute(links, control.name, choice_named(scenario.routes))
    routed = [satellite.name for satellite in scenario.satellites if satellite.name not in boards]
    nodes = [*routed, *(node.name for node in scenario.ground_nodes)]
    return Routing(
        control.name,
        schedule,
        earth_traces,
        {name: path_trace(schedule, name) for name in routed},
        {name: node_address(number) for number, name in enumerate(nodes, start=1)},
    )


def _earth_traces(
    scenario: Scenario, control: MissionControl, traces: Mapping[str, Trace]
) -> dict[str, Trace]:
    first = next(iter(traces.values()))
    end_s = max(trace.end_s for trace in traces.values())
    made = {}
    for link in scenario.earth_links:
        wanted = control.link_to(link.station)
        delay_s, source = wanted.delay_s, "a scenario"
        if delay_s is None:
            delay_s = _fibre_delay_s(scenario, control, link.station)
            source = f"spaceverse (fibre, {control.detour:g} times the great circle, at 2/3 of light)"
        made[link.name] = constant_trace(
            link.ends,
            first.header.start_utc,
            end_s,
            delay_s=delay_s,
            rate_bit_s=wanted.rate_bit_s,
            made_by=source,
        )
    return made


def _fibre_delay_s(scenario: Scenario, control: MissionControl, name: str) -> float:
    try:
        return fibre_delay_s(place_of(control), place_of(scenario.station(name)), control.detour)
    except StationError as error:
        raise ScenarioError(
            f"link between {name} and {control.name}: its delay follows from their places: {error};"
            " set place, or the link's delay_s"
        ) from error
