"""Events about the ways of satellites to mission control."""

from __future__ import annotations

from collections.abc import Callable

from nodes.contract.events import PathChanged
from testbed.network.routes.schedule import RouteStep
from testbed.run.routed.routing import Routing


class PathReports:
    """Reports each change of a satellite's way to mission control.

    Args:
        routing: the routes of the run.
        report: receives the events.
        monotonic_of: converts scenario time into CLOCK_MONOTONIC.
    """

    def __init__(
        self, routing: Routing, report: Callable[..., None], monotonic_of: Callable[[float], float]
    ) -> None:
        self._routing, self._report, self._monotonic_of = routing, report, monotonic_of
        self._paths: dict[str, tuple[str, ...]] = {}

    def __call__(self, step: RouteStep) -> None:
        """Report what is different from the step before."""
        for satellite in self._routing.paths:
            path = step.path(satellite, self._routing.control)
            if path != self._paths.get(satellite, ()):
                self._paths[satellite] = path
                self._report(
                    PathChanged(satellite=satellite, path=list(path)),
                    monotonic_s=self._monotonic_of(step.time_s),
                    time_s=step.time_s,
                )
