"""The hosts and links of a run, with the boards' links, and the probes on them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from testbed.forks.forks import Forks
from testbed.measure.capture_writer import CaptureWriter
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import Direction
from testbed.run.boards import RunBoards
from testbed.run.parts.steps import Steps
from testbed.run.plan import RunPlan
from testbed.run.routed.run_routes import RunRoutes
from testbed.run.speed import hasten_tcp
from testbed.scenario.model import AnyLink, Link
from traces.trace import Trace
from traces.trace_file import write_trace


class RunNetwork:
    """Builds the network of a run.

    Args:
        plan: the run's plan.
        boards: its boards.
        routes: its routes.
        steps: leads the run.

    Attributes:
        emulated: the network, once it is built.
        played: the trace of each link, less the boards' own delays.
    """

    emulated: EmulatedNetwork

    def __init__(self, plan: RunPlan, boards: RunBoards, routes: RunRoutes, steps: Steps) -> None:
        self._plan, self._boards, self._routes, self._steps = plan, boards, routes, steps
        self.played = dict(plan.network_traces)

    def build(self, stack: ExitStack, forks: Forks) -> None:
        """Build hosts and links; they end with `stack`."""
        plan = self._plan
        self._steps.begin("building hosts and links")
        check_stop = self._steps.check_stop
        network = stack.enter_context(EmulatedNetwork(plan.scenario.shaper, check_stop=check_stop))
        network.forks = forks
        for name in plan.host_names:
            network.add_host(name)
        for link in plan.scenario.network_links:
            if isinstance(link, Link) and self._boards.has(link):
                self._add_board(stack, link, network)
                continue
            network.add_link(
                *link.ends,
                name=link.name,
                interface=plan.interface(link),
                addresses=(
                    f"{plan.address(link, ground=False)}/30",
                    f"{plan.address(link, ground=True)}/30",
                ),
                on_contact_end=link.on_contact_end,
            )
        network.start()
        hasten_tcp(network.hosts.values(), plan.scenario.speed)
        self._routes.build(stack, network)
        self.emulated = network
        self._start_captures(stack)

    def counters(self, link: str) -> dict[str, dict[str, float]]:
        """Return the shaper's counters of a link by direction."""
        shaper = self.emulated.sky.shaper
        return {way.value: dict(shaper.counters(link, way)) for way in Direction}

    def start_probes(self, traces: Mapping[str, Trace]) -> None:
        """Start the probes of those links that are measured and ever have a contact; if all, of ways, too."""
        for link in self._plan.scenario.probed_links:
            if not traces[link.name].contacts("both"):
                continue
            if isinstance(link, Link) and self._boards.has(link):
                mac = self._boards.links[link.name].path.mac
                self._start_probe(link, link.station, self._plan.echo_probe_command(link, mac))
                continue
            for ground in (False, True):
                name = link.ends[ground]
                self._start_probe(link, name, self._plan.probe_command(link, ground=ground))
        if self._plan.scenario.probe is True:
            self._routes.start_probes(self.emulated)

    def _start_captures(self, stack: ExitStack) -> None:
        """Capture the packets of the links that the scenario names; of a board's, at the station alone."""
        for link in self._plan.scenario.network_links:
            if link.name not in self._plan.scenario.capture:
                continue
            is_board = isinstance(link, Link) and self._boards.has(link)
            for ground in (True,) if is_board else (False, True):
                path = self._plan.capture_path(link, ground=ground)
                path.parent.mkdir(parents=True, exist_ok=True)
                space = self.emulated.hosts[link.ends[ground]].node.namespace
                writer = CaptureWriter(space, self._plan.interface(link), path)
                writer.__enter__()
                stack.callback(writer.__exit__, None, None, None)  # a run that fails keeps its captures

    def _add_board(self, stack: ExitStack, link: Link, network: EmulatedNetwork) -> None:
        """Attach a board; its link plays the trace minus the delay of the board's own path."""
        self._steps.check_stop()
        self._steps.begin(f"measuring the path to the board of {link.satellite}")
        station = network.hosts[link.station]
        made = network.links[link.name] = self._boards.add_link(
            stack, link, network.sky, station.namespace_path
        )
        self.played[link.name] = made.compensated(self._plan.traces[link.name])
        write_trace(self.played[link.name], self._plan.compensated_trace_path(link))

    def _start_probe(self, link: AnyLink, name: str, command: list[str]) -> None:
        log = self._plan.probe_log_path(link)
        self.emulated.start_probe(f"the probe of link {link.name} at {name}", name, command, log)
