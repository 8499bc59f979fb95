"""Offered load: the images of a satellite against what its links can carry of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.run.routed.routing import routing_of
from testbed.scenario.capacity import BacklogCurve, backlog_curve, carried_bytes
from testbed.scenario.dishes.plan import ESTIMATED_BY, DishPlan
from testbed.scenario.model import Satellite, Scenario
from traces.trace import Trace


@dataclass(frozen=True)
class SatelliteLoad:
    """The images of a satellite against what its links can carry of them.

    Args:
        satellite: name of the satellite.
        images: number of images.
        offered_bytes: their size.
        carried_bytes: what the links carry down from the first capture on.
        backlog: what waits on board over time, if every image is sent whole.
    """

    satellite: str
    images: int
    offered_bytes: int
    carried_bytes: float
    backlog: BacklogCurve

    @property
    def load(self) -> float | None:
        """Offered over carried bytes; None if the links carry nothing."""
        return self.offered_bytes / self.carried_bytes if self.carried_bytes else None

    def line(self) -> str:
        """Return one line for the progress of a run."""
        line = f"{self.satellite}: {self.images} images of {self.offered_bytes / 1e6:.3g} MB in all"
        if self.load is None:
            return f"{line}, and its links carry nothing after the first: none can come down"
        line += f", {self.load:.0%} of the {self.carried_bytes / 1e6:.3g} MB that its links carry"
        if self.load > 1:
            line += (
                "; not all can come down whole: capture fewer, raise the rate, or let its policy drop or "
                "reduce"
            )
        return line


def satellite_loads(
    scenario: Scenario, traces: Mapping[str, Trace], dishes: DishPlan | None = None
) -> list[SatelliteLoad]:
    """Return the load of each satellite.

    Args:
        scenario: the scenario.
        traces: each link's trace.
        dishes: the plan of the dishes, if some station has too few for all of its links.
    """
    served = traces if dishes is None else dishes.traces
    routing = routing_of(scenario, served)
    ways = {} if routing is None else routing.paths
    return [_load(scenario, satellite, served, ways) for satellite in scenario.satellites]


def offered_load(
    scenario: Scenario, traces: Mapping[str, Trace], dishes: DishPlan | None = None
) -> list[str]:
    """Return a line per satellite: the size of its images, and what its links can carry of them.

    Args:
        scenario: the scenario.
        traces: each link's trace.
        dishes: the plan of the dishes, if some station has too few for all of its links.
    """
    lines = [load.line() for load in satellite_loads(scenario, traces, dishes)]
    if dishes is not None and dishes.live:
        lines.append(f"The run decides who gets a dish; these loads are those with {ESTIMATED_BY}.")
    return lines


def _load(
    scenario: Scenario, satellite: Satellite, traces: Mapping[str, Trace], ways: Mapping[str, Trace]
) -> SatelliteLoad:
    if satellite.name in ways:
        own = [ways[satellite.name]]
    else:
        own = [traces[link.name] for link in scenario.links if link.satellite == satellite.name]
    captures = [(frame.capture_s, frame.image.stat().st_size) for frame in satellite.frames]
    return SatelliteLoad(
        satellite=satellite.name,
        images=len(captures),
        offered_bytes=sum(size for _, size in captures),
        carried_bytes=carried_bytes(own, min(time_s for time_s, _ in captures)),
        backlog=backlog_curve(own, captures),
    )
