"""Offered load: the images of a satellite against what its links can carry of them."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.run.routed.routing import routing_of
from testbed.scenario.capacity import carried_bytes
from testbed.scenario.dishes.plan import ESTIMATED_BY, DishPlan
from testbed.scenario.model import Satellite, Scenario
from traces.trace import Trace


def offered_load(
    scenario: Scenario, traces: Mapping[str, Trace], dishes: DishPlan | None = None
) -> list[str]:
    """Return a line per satellite: the size of its images, and what its links can carry of them.

    Args:
        scenario: the scenario.
        traces: each link's trace.
        dishes: the plan of the dishes, if some station has too few for all of its links.
    """
    served = traces if dishes is None else dishes.traces
    routing = routing_of(scenario, served)
    ways = {} if routing is None else routing.paths
    lines = [_line(scenario, satellite, served, ways) for satellite in scenario.satellites]
    if dishes is not None and dishes.live:
        lines.append(f"The run decides who gets a dish; these loads are those with {ESTIMATED_BY}.")
    return lines


def _line(
    scenario: Scenario, satellite: Satellite, traces: Mapping[str, Trace], ways: Mapping[str, Trace]
) -> str:
    if satellite.name in ways:
        own = [ways[satellite.name]]
    else:
        own = [traces[link.name] for link in scenario.links if link.satellite == satellite.name]
    offered = sum(frame.image.stat().st_size for frame in satellite.frames)
    carried = carried_bytes(own, min(frame.capture_s for frame in satellite.frames))
    line = f"{satellite.name}: {len(satellite.frames)} images of {offered / 1e6:.3g} MB in all"
    if not carried:
        return f"{line}, and its links carry nothing after the first: none can come down"
    line += f", {offered / carried:.0%} of the {carried / 1e6:.3g} MB that its links carry"
    if offered > carried:
        line += (
            "; not all can come down whole: capture fewer, raise the rate, or let its policy drop or reduce"
        )
    return line
