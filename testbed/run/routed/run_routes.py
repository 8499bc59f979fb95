"""The routes of one run: its hosts, the routes as they were set, probes along the ways, and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from nodes.contract.events import PathChanged
from testbed.measure.fidelity import Interval, LinkFidelity, compare
from testbed.measure.probe import RTT_FRAME_BYTES
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.player import Change
from testbed.network.routes.path_trace import path_trace
from testbed.network.routes.route_player import RoutePlayer
from testbed.network.routes.routed_hosts import RoutedHost
from testbed.network.routes.schedule import RouteSchedule, RouteStep
from testbed.results.link_time import LinkTime
from testbed.run.plan import RunPlan
from testbed.run.routed.hosts import routed_hosts
from traces.trace import Trace


class RunRoutes:
    """The routes of a run to mission control; without one, all methods do nothing.

    Args:
        plan: the run.
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan, self._routing = plan, plan.routing
        self._hosts: dict[str, RoutedHost] = {}
        self._player: RoutePlayer | None = None
        self._told: dict[str, tuple[str, ...]] = {}

    def build(self, stack: ExitStack, network: EmulatedNetwork) -> None:
        """Give the hosts their addresses, and let them forward packets."""
        self._hosts = routed_hosts(stack, self._plan, network)

    def prepare(self, clock: RealClock, report: Callable[..., None]) -> None:
        """Be ready for `link_changed`; all links are down now.

        Args:
            clock: scenario time.
            report: receives each change of a satellite's way.
        """
        if self._routing is None:
            return

        def on_step(step: RouteStep) -> None:
            self._tell(step, clock, report)

        links = {link.name for link in self._routing.schedule.links}
        self._player = RoutePlayer(clock, self._routing.schedule, self._hosts, on_step, closed=links)

    def play(self, stack: ExitStack) -> None:
        """Begin to follow the schedule, until the end of the stack."""
        if self._player is not None:
            stack.callback(self._player.stop)
            self._player.start()

    def link_changed(self, change: Change) -> None:
        """Note a change of a link, after it was made."""
        if self._player is not None:
            self._player.link_changed(change.link, is_open=change.down.up and change.up_link.up)

    def restore(self, node: str) -> None:
        """Write the routes of a node again, of whose interfaces one was taken down."""
        if self._player is not None:
            self._player.restore(node)

    def check(self) -> None:
        """Raise the exception that ended the routes early."""
        if self._player is not None:
            self._player.check()

    def next_s(self) -> float:
        """Return the scenario time of the next change that is foreseen; inf if there is none."""
        return self._player.next_s() if self._player is not None else math.inf

    def start_probes(self, network: EmulatedNetwork) -> None:
        """Measure the way of each satellite that ever has one."""
        for satellite, trace in self._ways().items():
            if trace.contacts("both"):
                for ground in (False, True):
                    host = self._control if ground else satellite
                    network.start_probe(
                        f"the probe of the way of {satellite} at {host}",
                        host,
                        self._plan.way_probe_command(satellite, ground=ground),
                        self._plan.way_probe_log_path(satellite),
                    )

    def played(self, traces: Mapping[str, Trace]) -> RouteSchedule | None:
        """Return the routes as they were set; before the run, as they are foreseen.

        Args:
            traces: what the links followed.
        """
        if self._routing is None:
            return None
        foreseen = self._routing.schedule
        links = [replace(link, trace=traces.get(link.name, link.trace)) for link in foreseen.links]
        steps = (
            tuple(self._player.steps) if self._player is not None and self._player.steps else foreseen.steps
        )
        return replace(foreseen, links=tuple(links), steps=_from_zero(steps))

    def traces(self, played: RouteSchedule | None) -> dict[str, Trace]:
        """Return the way of each satellite as a trace, by the name of its record."""
        if played is None:
            return {}
        return {self._record(satellite): path_trace(played, satellite) for satellite in self._ways()}

    def link_times(
        self, played: RouteSchedule | None, start_monotonic_s: float
    ) -> dict[tuple[str, str], LinkTime]:
        """Return the way of each satellite as a link to mission control."""
        if played is None:
            return {}
        return {
            (satellite, self._control): LinkTime(path_trace(played, satellite), start_monotonic_s)
            for satellite in self._ways()
        }

    def fidelities(
        self, played: RouteSchedule | None, clock: RealClock, shaper: str, busy: Sequence[Interval]
    ) -> tuple[LinkFidelity, ...]:
        """Compare the round trips of the probes with the sums of the links' delays on the ways as they were.

        Args:
            played: the routes.
            clock: scenario time.
            shaper: name of the shaper, for the record.
            busy: when satellites were sending.
        """
        if played is None or self._plan.scenario.probe is not True:
            return ()
        return tuple(
            compare(
                link=self._record(satellite),
                shaper=shaper,
                trace_name="routes",
                trace=path_trace(played, satellite, frame_bytes=RTT_FRAME_BYTES),
                scale=clock.scale,
                logs=(
                    self._plan.way_probe_path(satellite, ground=False),
                    self._plan.way_probe_path(satellite, ground=True),
                ),
                busy=busy,
            )
            for satellite, trace in self._ways().items()
            if trace.contacts("both")
        )

    def _record(self, satellite: str) -> str:
        return f"way {satellite} - {self._control}"

    @property
    def _control(self) -> str:
        return "" if self._routing is None else self._routing.control

    def _ways(self) -> Mapping[str, Trace]:
        return {} if self._routing is None else self._routing.paths

    def _tell(self, step: RouteStep, clock: RealClock, report: Callable[..., None]) -> None:
        """Report the ways that are other ones than before."""
        for satellite in self._ways():
            path = step.path(satellite, self._control)
            if path != self._told.get(satellite, ()):
                self._told[satellite] = path
                report(
                    PathChanged(satellite=satellite, path=list(path)),
                    monotonic_s=clock.scale.monotonic_of(step.time_s),
                    time_s=step.time_s,
                )


def _from_zero(steps: tuple[RouteStep, ...]) -> tuple[RouteStep, ...]:
    """Return steps whose times increase from 0: of several at one time the last."""
    last = {step.time_s: step for step in steps}
    first = next(iter(last.values()))
    if first.time_s > 0:
        last = {0.0: RouteStep(0.0, {}), **last}
    return tuple(last.values())
