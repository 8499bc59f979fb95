"""The links of a run as they are played: scenario time, reports of each change, and repairs of their ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

from nodes.contract.events import EventRecord, LinkChanged, LinkRepaired
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.player import Change
from testbed.results.clock.passage import Passage
from testbed.run.boards import RunBoards
from testbed.run.clock.passing import PassingTime
from testbed.run.clock.skipping import NextStop, NodeState
from testbed.run.dishes.served import RunDishes
from testbed.run.parts.network import RunNetwork
from testbed.run.parts.reports import RunReports
from testbed.run.plan import RunPlan
from testbed.run.routed.run_routes import RunRoutes

LEAD_S = 1.0  # from the start message to scenario second 0


class Playing:
    """Plays the links of a run.

    Args:
        plan: the run's plan.
        network: its hosts and links.
        boards: its boards, which hear of their contacts.
        dishes: decide which links are open.
        routes: follow the links.
        reports: receives each change of a contact.

    Attributes:
        late_s: lateness of each change of a link, from scenario second 0 on.
    """

    def __init__(
        self,
        plan: RunPlan,
        network: RunNetwork,
        boards: RunBoards,
        dishes: RunDishes,
        routes: RunRoutes,
        reports: RunReports,
    ) -> None:
        self._plan, self._scenario = plan, plan.scenario
        self._network, self._boards, self._dishes, self._routes = network, boards, dishes, routes
        self._reports = reports
        self._passing: PassingTime | None = None
        self._was_up: dict[str, tuple[bool, bool]] = {}
        self._ends = {link.name: link.ends for link in plan.scenario.network_links}
        self.late_s: list[float] = []

    def start(self, stack: ExitStack, plane: ManagementPlane, stops: Sequence[NextStop]) -> None:
        """Start scenario time, and play the links until `stack` ends.

        Args:
            stack: of the run.
            plane: leads to the nodes.
            stops: what no jump of scenario time may pass, beside events of nodes, captures and contacts.
        """
        clock = RealClock(time.monotonic() + LEAD_S, self._scenario.speed)
        self._reports.start(clock)
        plane.start_nodes(clock.scale, skips=self._scenario.skip_idle)
        self._routes.prepare(clock, plane.report)

        from testbed.network.contact_link import ContactLink  # Mininet is slow to import
        from testbed.network.end_watch import EndWatch

        emulated = self._network.emulated
        own_links = [link for link in emulated.links.values() if isinstance(link, ContactLink)]
        self._end_watch = EndWatch(own_links)
        stack.callback(emulated.stop)
        stack.callback(self._dishes.stop)
        self._dishes.gate(emulated.links)

        def on_change(change: Change) -> None:
            self._tell(change, clock, plane)

        player = emulated.play(self._network.played, clock, self._dishes.watch(on_change))
        self._dishes.start(clock, plane)
        self._routes.play(stack)
        self._passing = PassingTime(
            self._scenario,
            self._plan.node_names,
            clock,
            player,
            plane,
            stops,
            other_machines=bool(self._boards.links),
        )
        stack.callback(self._passing.stop)

    def look(self, nodes: Mapping[str, NodeState]) -> None:
        """Look after the ends of links, and let scenario time pass as it may; to be called often.

        Args:
            nodes: state of each node's program.
        """
        self._look_after_ends()
        if self._passing is not None:
            self._passing.look(nodes, self.late_s)

    def stop_passing(self) -> None:
        """Let scenario time run as it is."""
        if self._passing is not None:
            self._passing.stop()

    def passage(self, events: Iterable[EventRecord]) -> Passage | None:
        """Return how scenario time has passed; None where it is real time, or has not begun."""
        return None if self._passing is None else self._passing.record(events)

    def _look_after_ends(self) -> None:
        """Set again what another program changed at the ends of links, and report it."""
        for link, number, change in self._end_watch.look():
            end = self._ends[link][number]
            self._routes.restore(end)
            self._reports.report_now(LinkRepaired(link=link, end=end, change=change))

    def _tell(self, change: Change, clock: RealClock, plane: ManagementPlane) -> None:
        """Report a change of a contact; called by the player."""
        if change.time_s >= 0:
            self.late_s.append(change.lateness_s)
        before, now = self._was_up.get(change.link), (change.down.up, change.up_link.up)
        if before == now:
            return
        self._was_up[change.link] = now
        self._routes.link_changed(change)
        if change.link in self._boards.links and (before is None or any(before) != change.up):
            satellite, station = self._ends[change.link]
            plane.tell_contact(satellite, station, change.up)
        plane.report(
            LinkChanged(
                link=change.link,
                up=change.up,
                lateness_s=change.lateness_s,
                downlink_up=now[0],
                uplink_up=now[1],
            ),
            monotonic_s=clock.scale.monotonic_of(change.time_s),
            time_s=change.time_s,
        )
