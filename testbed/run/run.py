"""A run of a scenario: build the network, start the nodes, play the links, collect the events, clean up.

Steps, undone in reverse order whatever happens in between:
    traces -> run folder -> node configurations, checked -> hosts, sky, links (down) -> brokers ->
    node programs (models loaded) -> probes -> clock starts, links are played -> events until all is answered
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from nodes.contract.config import is_shipped
from nodes.contract.events import (
    Answered,
    ContactLosses,
    Event,
    EventRecord,
    InferenceFinished,
    LinkChanged,
    LinkRepaired,
    ProgramChanged,
    Ready,
)
from nodes.contract.messages import Order
from nodes.contract.topics import slug
from testbed.errors import CapabilityError, ScenarioError, TestbedError
from testbed.forks.forks import LOOKS_EVERY_S, Forks
from testbed.machine.disk import disk_problem
from testbed.machine.processor_load import ProcessorLoad
from testbed.machine.stop_request import Stopped, StopRequest
from testbed.measure.fidelity import Interval, LinkFidelity, compare, trains_sent
from testbed.mqtt.broker import Broker, BrokerError, TcpListener, UnixListener
from testbed.mqtt.broker_watch import BrokerWatch
from testbed.mqtt.certificates import Authority
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import Direction
from testbed.network.player import Change
from testbed.network.programs import Program, end_session, spawn
from testbed.results.absence import absences
from testbed.results.clock.keeping_up import acceleration, in_scenario_time, lateness_warning
from testbed.results.contacts import backlogs, losses
from testbed.results.dishes import DishUse, dish_uses, turns_of, without_dish
from testbed.results.faults import explained, fault_records
from testbed.results.link_time import LinkTime
from testbed.results.nodes.clocks import node_clocks
from testbed.results.nodes.pace import node_paces
from testbed.results.report import render
from testbed.results.results import (
    ENDS_WITHOUT_ANSWER,
    Results,
    busy_intervals,
    frame_results,
    last_refusals,
    lost_events,
    malformed_counts,
)
from testbed.results.tasks import task_records
from testbed.results.troubles import troubles
from testbed.results.verdict import Ending
from testbed.run.boards import RunBoards, boards_of
from testbed.run.ceilings import ceilings
from testbed.run.clock.passing import PassingTime, next_of
from testbed.run.clock.skipping import NextStop, NodeState
from testbed.run.dishes.served import QUEUE_EVERY_S, RunDishes
from testbed.run.faults.played import RunFaults
from testbed.run.folder import RunFolder
from testbed.run.model_relay import ModelRelay, server_of
from testbed.run.offered_load import offered_load
from testbed.run.plan import DRAWINGS, FORKED, MANAGEMENT, MODELS, MQTT_PORT, RunPlan
from testbed.run.programs.user_programs import UserPrograms, check_programs
from testbed.run.progress import Progress
from testbed.run.routed.losses import LossWatch
from testbed.run.routed.run_routes import RunRoutes
from testbed.run.sockets import socket_folder
from testbed.run.speed import check_speed, hasten_tcp
from testbed.run.supervision import ManagementWatch, SupervisedNode
from testbed.run.tasks import RunTasks
from testbed.run.traces import link_traces, link_track, played_traces
from testbed.scenario.dishes.desk import Turn
from testbed.scenario.dishes.plan import DishPlan, dish_plan
from testbed.scenario.model import AnyLink, Link, Scenario, to_json
from traces.trace_file import write_trace

_LOG = logging.getLogger(__name__)
READY_WITHIN_S = 180.0  # time for a 7 B model from a slow disk
LEAD_S = 1.0  # from the start message to scenario second 0
GRACE_AT_LEAST_S = 5.0  # real, of a longer `grace_s` at a high speed
LAST_EVENTS_S = 0.5  # real, after the last contact
TICK_S = 0.1
EVENTS_A_STEP = 1000  # a flood of events must not keep the run from its other work
MODELS_SHOWN = "the process of the models"
ENDS = (Answered, *ENDS_WITHOUT_ANSWER)  # events that end a frame


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Args:
        folder: the run's folder and its files, such as `folder.report`.
        results: all figures; None if the run was stopped.
        exit_code: that of the verdict (testbed/results/verdict.py): 0 if it passed, 1 if not, 128 + signal if
            it was stopped.
    """

    folder: RunFolder
    results: Results | None
    exit_code: int


def run_scenario(
    scenario: Scenario,
    folder: str | Path = "runs",
    progress: Progress | None = None,
    *,
    speed: float | Literal["auto"] | None = None,
    skip_idle: bool | None = None,
) -> Outcome:
    """Run `scenario` in real time, or faster, and return its results. Needs root.

    Ctrl-C, an interrupted notebook cell and `kill` end the run in order: everything that it made is removed.

    Args:
        scenario: what to run.
        folder: parent of the run's folder.
        progress: display of the progress, such as `TerminalProgress(rich.console.Console())`; None: none.
        speed: seconds of scenario time in a real one, or "auto"; None: the scenario's.
        skip_idle: whether to jump over time in which no node has anything to do; None: the scenario's.

    Raises:
        InputError: the scenario cannot be run here; nothing was built.
        TestbedError: something failed during the run; results.json in its folder has what was known by then.
    """
    if os.geteuid() != 0:
        raise CapabilityError("a run creates network namespaces, which needs root: use sudo")
    if speed is not None:
        scenario = scenario.at_speed(speed)
    if skip_idle is not None:
        scenario = scenario.model_copy(update={"skip_idle": skip_idle})
    scenario.check_files()
    check_speed(scenario)
    check_programs(scenario)
    parent, progress = Path(folder), progress or Progress()
    with StopRequest() as stop:
        traces = link_traces(scenario)
        dishes = dish_plan(scenario, traces)
        foreseen = traces if dishes is None or dishes.live else dishes.traces
        played = played_traces(scenario, foreseen)
        limits = ceilings(scenario, traces, [s.name for s in scenario.satellites if s.board is not None])
        for line in (*offered_load(scenario, traces, dishes), *(f"WARNING: {limit}" for limit in limits)):
            progress.step(line)
        with RunFolder.new(parent, scenario.name) as run_folder:
            _LOG.info("run of scenario %s in %s", scenario.name, run_folder.path)
            run: _Run | None = None
            try:
                with socket_folder() as sockets:
                    plan = RunPlan(
                        scenario,
                        played,
                        run_folder,
                        sockets,
                        boards_of(scenario),
                        QUEUE_EVERY_S if _reports_queues(scenario, dishes) else None,
                        foreseen,
                    )
                    run = _Run(plan, progress, stop, limits, RunDishes(scenario, traces, dishes))
                    results = run.go()
            except Stopped:
                name = signal.Signals(stop.signal_number or signal.SIGINT).name
                if run is not None:
                    run.write_ending(Ending(f"stopped by {name}", stop.exit_code, stopped=True))
                progress.step("Stopped. All namespaces, interfaces and processes were removed.")
                return Outcome(run_folder, None, stop.exit_code)
            except Exception as error:
                known = _named(error, run_folder)
                code = getattr(known, "exit_code", 1)
                if run is not None and (code != 2 or run_folder.begun()):  # else the folder is removed
                    reason = str(known) if hasattr(known, "exit_code") else f"{type(known).__name__}: {known}"
                    run.write_ending(Ending(reason, code))
                if known is error:
                    raise
                raise known from error
    return Outcome(run_folder, results, results.verdict.exit_code)


def _named(error: Exception, folder: RunFolder) -> Exception:
    """Return the error of a run for one of the operating system, such as a full disk."""
    if not isinstance(error, OSError):
        return error
    return TestbedError(disk_problem(Path(str(error.filename or folder.path)), error))


def _reports_queues(scenario: Scenario, dishes: DishPlan | None) -> bool:
    """Return whether somebody reads the queues of satellites: a scheduler, or programs on nodes."""
    live = dishes is not None and dishes.live
    return live or any(node.programs for node in scenario.nodes)


class _Run:
    """A run in progress."""

    def __init__(
        self,
        plan: RunPlan,
        progress: Progress,
        stop: StopRequest,
        limits: Sequence[str],
        dishes: RunDishes,
    ) -> None:
        self.limits, self.dishes = limits, dishes
        self.plan, self.scenario, self.traces, self.folder = plan, plan.scenario, plan.traces, plan.folder
        self.progress, self.stop = progress, stop
        self.nodes: dict[str, SupervisedNode] = {}
        self.watches: list[BrokerWatch] = []
        self.station_watches: dict[str, BrokerWatch] = {}
        self.played = dict(plan.network_traces)  # less the boards' own delays
        self.boards = RunBoards(plan, self._report)
        self.faults = RunFaults(plan, self.nodes, self._report_at)
        self.tasks = RunTasks(plan.scenario, self._hand_over, self._report_at)
        self.plane: ManagementPlane | None = None
        self.routes = RunRoutes(plan)
        self.losses = LossWatch(self._counted, self._report_losses)
        self.user_programs = UserPrograms(plan, self.played, self._report_program)
        self.late_s: list[float] = []  # lateness of each change of a link, from scenario second 0 on
        self.start_monotonic_s = 0.0
        self.told_of_disk = False
        self.load: dict[str, float | None] = {}
        self.counters: dict[str, dict[str, dict[str, float]]] = {}

    def go(self) -> Results:
        with self.progress.shown(len(self.scenario.frames())), ExitStack() as stack:
            self.forks = stack.enter_context(Forks(FORKED))  # imports while the next steps are made
            self._write_inputs()
            self._check_nodes()
            self.boards.attach(stack)
            self.network = self._build(stack)
            plane = self.plane = self._start_brokers(stack)
            self._start_nodes(stack, plane)
            self._play(stack, plane)
            self.user_programs.start(stack, self.network, self.clock, plane)
            ending = self._gather(plane)
            self._begin("removing hosts, links and programs")
        return self._results(plane, self.network.shaper_text, ending)

    def _begin(self, step: str) -> None:
        """Tell that a step begins, in the folder that the run has made."""
        self.folder.check_place()
        self.progress.step(step)

    def _write_inputs(self) -> None:
        self._begin("writing traces and configurations")
        self.folder.write_whole(self.folder.scenario, to_json(self.scenario))
        self.plan.write_inputs()
        self.faults.prepare()
        self.folder.check_place()
        self.authority = Authority(self.plan.certificates) if self.scenario.tls else None

    def _check_nodes(self) -> None:
        """Let the programs check their configurations: only they know models and policies."""
        self._begin("checking configurations and models")
        names = self.plan.emulated_names
        if not names:
            return
        command = self.plan.check_command
        said = os.memfd_create("check")  # on no disk, which may be full
        with os.fdopen(said, encoding="utf-8", errors="replace") as text:
            process = self.forks.start(command[2], command[3:], said)
            try:
                while process.poll() is None:
                    self.stop.check()
                    time.sleep(LOOKS_EVERY_S)
            finally:
                end_session(process)
            text.seek(0)
            lines = text.read().splitlines()
        answers = [json.loads(line) for line in lines if line.startswith("{")]
        found = {one["config"]: one["fault"] for one in answers}
        unchecked = next((line for line in reversed(lines) if line and line[0] != "{"), "no message")
        for name in names:
            if (fault := found.get(str(self.plan.config_path(name)), unchecked)) is not None:
                raise ScenarioError(f"{name}: {fault}")

    def _build(self, stack: ExitStack) -> EmulatedNetwork:
        self._begin("building hosts and links")
        network = stack.enter_context(EmulatedNetwork(self.scenario.shaper, check_stop=self.stop.check))
        network.forks = self.forks
        for name in self.plan.host_names:
            network.add_host(name)
        for link in self.scenario.network_links:
            if isinstance(link, Link) and self.boards.has(link):
                self._add_board(stack, link, network)
                continue
            network.add_link(
                *link.ends,
                name=link.name,
                interface=self.plan.interface(link),
                addresses=(
                    f"{self.plan.address(link, ground=False)}/30",
                    f"{self.plan.address(link, ground=True)}/30",
                ),
                on_contact_end=link.on_contact_end,
            )
        network.start()
        hasten_tcp(network.hosts.values(), self.scenario.speed)
        self.routes.build(stack, network)
        return network

    def _add_board(self, stack: ExitStack, link: Link, network: EmulatedNetwork) -> None:
        """Attach a board; its link plays the trace minus the delay of the board's own path."""
        self.stop.check()
        self._begin(f"measuring the path to the board of {link.satellite}")
        station = network.hosts[link.station]
        made = network.links[link.name] = self.boards.add_link(
            stack, link, network.sky, station.namespace_path
        )
        self.played[link.name] = made.compensated(self.traces[link.name])
        write_trace(self.played[link.name], self.plan.compensated_trace_path(link))

    def _counted(self, link: str) -> dict[str, dict[str, float]]:
        """Return the shaper's counters of a link by direction."""
        shaper = self.network.sky.shaper
        return {way.value: dict(shaper.counters(link, way)) for way in Direction}

    def _report_losses(self, event: ContactLosses) -> None:
        if self.plane is not None:
            self.plane.report(event, time_s=self.clock.now_s())

    def _report(self, event: Event, *, monotonic_s: float | None = None) -> None:
        if self.plane is not None:
            self.plane.report(event, monotonic_s=monotonic_s)

    def _report_at(self, event: Event, time_s: float) -> None:
        if self.plane is not None:
            monotonic_s = self.clock.scale.monotonic_of(time_s)
            self.plane.report(event, monotonic_s=monotonic_s, time_s=time_s)

    def _hand_over(self, node: str, order: Order) -> None:
        if self.plane is not None:
            self.plane.hand_over(node, order)

    def _start_brokers(self, stack: ExitStack) -> ManagementPlane:
        self._begin("starting brokers")
        socket = self.plan.management_socket
        brokers = [
            Broker(
                self.folder.logs,
                [UnixListener(socket), *self.boards.listeners()],
                name=MANAGEMENT,
                popen=spawn,
                accounts=[*self.plan.management_accounts, *self.boards.accounts()],
            ),
            *(self._station_broker(ground.name) for ground in self.scenario.receivers),
        ]
        for broker in brokers:
            self.stop.check()
            stack.enter_context(broker)
        name = self.folder.path.name
        plane = ManagementPlane(
            socket,
            self.folder.events,
            self.plan.run_account,
            run=name,
            admission=self.plan.admission(),
            nodes=self.plan.event_nodes,
        )
        stack.callback(plane.close)
        management, *stations = [BrokerWatch(broker, plane.report) for broker in brokers]
        self.watches = [management, *stations]
        self.station_watches = {g.name: w for g, w in zip(self.scenario.receivers, stations, strict=True)}
        return plane

    def _station_broker(self, station: str) -> Broker:
        addresses = self.plan.broker_addresses(station)
        tls = self.authority.issue(slug(station), addresses) if self.authority is not None else None
        return Broker(
            self.folder.logs,
            [
                *(TcpListener(address, MQTT_PORT, tls) for address in addresses),
                UnixListener(self.plan.broker_socket(station)),
            ],
            name=self.plan.broker_name(station),
            popen=partial(spawn, netns_pid=self.network.hosts[station].pid),
            accounts=self.plan.broker_accounts(station),
        )

    def _start_nodes(self, stack: ExitStack, plane: ManagementPlane) -> None:
        self._begin("starting the nodes' programs and loading models")
        for station in self.scenario.receivers:
            if server := server_of(station.model):
                stack.enter_context(ModelRelay(self.plan.model_socket(station.name), *server))
        self.boards.assign(stack)
        stack.callback(self._stop_programs)
        if command := self.plan.models_command:
            start = partial(self._models_program, command)
            self.nodes[MODELS] = SupervisedNode(MODELS_SHOWN, start, self._report_program, says_ready=False)
        for name in self.plan.emulated_names:
            self.stop.check()
            self.nodes[name] = SupervisedNode(name, partial(self._program, name), self._report_program)
        waiting = set(self.plan.node_names)
        deadline_s = time.monotonic() + READY_WITHIN_S
        while waiting:
            self._step(plane)
            waiting -= {record.node for record in plane.seen(Ready)}
            if time.monotonic() > deadline_s:
                raise TestbedError(
                    f"nodes not ready after {READY_WITHIN_S:.0f} s: {', '.join(sorted(waiting))}"
                )
        if self.scenario.probe:
            self._start_probes()

    def _program(self, node: str) -> Program:
        """Start a node's program in its host."""
        command, log = self.plan.node_command(node), self.plan.log_path(node)
        return self.network.start_program(node, node, command, log)

    def _models_program(self, command: list[str]) -> Program:
        """Start the process that holds the models."""
        self.plan.models_socket.unlink(missing_ok=True)  # of one that was killed
        return Program(MODELS, command, log=self.plan.log_path(MODELS))

    def _report_program(self, event: ProgramChanged) -> None:
        if self.plane is not None:
            self.plane.report(event, time_s=self.clock.now_s() if self.started else None)

    @property
    def started(self) -> bool:
        """Whether scenario second 0 is set."""
        return self.start_monotonic_s > 0

    def _start_probes(self) -> None:
        for link in self.scenario.sky_links:
            if not self.traces[link.name].contacts("both"):
                continue
            if isinstance(link, Link) and self.boards.has(link):
                mac = self.boards.links[link.name].path.mac
                self._start_probe(link, link.station, self.plan.echo_probe_command(link, mac))
                continue
            for ground in (False, True):
                name = link.ends[ground]
                self._start_probe(link, name, self.plan.probe_command(link, ground=ground))
        self.routes.start_probes(self.network)

    def _start_probe(self, link: AnyLink, name: str, command: list[str]) -> None:
        log = self.plan.probe_log_path(link)
        self.network.start_probe(f"the probe of link {link.name} at {name}", name, command, log)

    def _stop_programs(self) -> None:
        programs: list[Program | SupervisedNode] = [*self.network.probes, *self.nodes.values()]
        for program in programs:
            program.ask_to_stop()
        for program in programs:
            program.stop()

    def _play(self, stack: ExitStack, plane: ManagementPlane) -> None:
        self.clock = RealClock(time.monotonic() + LEAD_S, self.scenario.speed)
        self.start_monotonic_s = self.clock.start_monotonic_s
        plane.start_nodes(self.clock.scale, skips=self.scenario.skip_idle)
        self.routes.prepare(self.clock, plane.report)
        was_up: dict[str, tuple[bool, bool]] = {}
        ends = {link.name: link.ends for link in self.scenario.network_links}

        def on_change(change: Change) -> None:
            if change.time_s >= 0:
                self.late_s.append(change.lateness_s)
            before, now = was_up.get(change.link), (change.down.up, change.up_link.up)
            if before != now:
                was_up[change.link] = now
                self.routes.link_changed(change)
                if change.link in self.boards.links and (before is None or any(before) != change.up):
                    satellite, station = ends[change.link]
                    plane.tell_contact(satellite, station, change.up)
                plane.report(
                    LinkChanged(
                        link=change.link,
                        up=change.up,
                        lateness_s=change.lateness_s,
                        downlink_up=now[0],
                        uplink_up=now[1],
                    ),
                    monotonic_s=self.clock.scale.monotonic_of(change.time_s),
                    time_s=change.time_s,
                )

        from testbed.network.contact_link import ContactLink  # Mininet is slow to import
        from testbed.network.end_watch import EndWatch

        own_links = [link for link in self.network.links.values() if isinstance(link, ContactLink)]
        self.ends = EndWatch(own_links)
        stack.callback(self.network.stop)
        stack.callback(self.dishes.stop)
        self.dishes.gate(self.network.links)
        player = self.network.play(self.played, self.clock, self.dishes.watch(on_change))
        self.dishes.start(self.clock, plane)
        self.routes.play(stack)
        self.passing = PassingTime(
            self.scenario,
            self.plan.node_names,
            self.clock,
            player,
            plane,
            self._stops(),
            other_machines=bool(self.boards.links),
        )
        stack.callback(self.passing.stop)
        self.progress.playing(self.traces)

    def _stops(self) -> list[NextStop]:
        """Return what no jump of scenario time may pass, beside events of nodes, captures and contacts."""
        stops: list[NextStop] = [next_of([self._last_events_s(), self._end_s()])]
        stops += [lambda _: self.dishes.next_s(), lambda _: self.faults.next_s]
        return [*stops, lambda _: self.tasks.next_s(), lambda _: self.routes.next_s()]

    def _gather(self, plane: ManagementPlane) -> Ending | None:
        """Wait until every frame has its answer, or until no more answers can arrive.

        Returns:
            Why the run ended early; None if it did not.
        """
        ending: Ending | None = None
        give_up_s = math.inf
        wanted = {*self.scenario.frames(), *self.scenario.questions()}
        done, read = set[str | None](), 0
        load = ProcessorLoad()
        grace_s, end_s = self._grace_s(), self._end_s()
        management = ManagementWatch(plane, self._report_program)
        while self.clock.now_s() < end_s or (not wanted <= done and management.delays_the_end()):
            self._step(plane)
            management.look()
            self.network.check_links()
            self.dishes.check()
            self.routes.check()
            self.faults.look(self.clock.now_s())
            self.tasks.look(self.clock.now_s())
            self._look_after_ends(plane)
            self.user_programs.look()
            self.passing.look(self._node_states(), self.late_s)
            for probe in self.network.take_ended_probes():
                event = ProgramChanged(program=probe.name, state="given up", reason=f"it {probe.ending()}")
                self._report_program(event)
            self.progress.tick(self.clock.now_s())
            fresh = plane.events[read:]
            read += len(fresh)
            for record in fresh:
                self.tasks.heard(record)
            done |= {record.frame for record in fresh if isinstance(record.event, ENDS)}
            done |= self.faults.missed | self.tasks.ended
            if wanted <= done and self._pass_is_over():
                break
            if not wanted <= done and (lost := self._all_lost()) is not None:
                give_up_s = min(give_up_s, self.clock.now_s() + grace_s)
                if self.clock.now_s() > give_up_s:  # what is on its way has had the time to arrive
                    ending = Ending(lost, 1)
                    break
        self.passing.stop()
        plane.stop_nodes()
        self.losses.look(last=True)
        for watch in self.watches:
            watch.look(last=True)
        self.load, self.counters = load.record(), self.network.sky.counters()["links"]
        return ending

    def _look_after_ends(self, plane: ManagementPlane) -> None:
        """Set again what another program changed at the ends of links, and report it."""
        ends = {link.name: link.ends for link in self.scenario.network_links}
        for link, number, change in self.ends.look():
            self.routes.restore(ends[link][number])
            event = LinkRepaired(link=link, end=ends[link][number], change=change)
            plane.report(event, time_s=self.clock.now_s())

    def _all_lost(self) -> str | None:
        """Return why no further frame can be answered, if no satellite or no station is left."""
        for kind, nodes in (("satellite", self.scenario.satellites), ("station", self.scenario.receivers)):
            names = [node.name for node in nodes]
            lost = [node for name in names if (node := self.nodes.get(name)) and node.given_up is not None]
            if len(lost) == len(names):
                return f"no {kind} is left: " + "; ".join(f"{node.name}: {node.given_up}" for node in lost)
        return None

    def _pass_is_over(self) -> bool:
        """Return whether all contacts have ended; a run that ends earlier would not cover its pass."""
        return self.clock.now_s() > self._last_events_s()

    def _last_events_s(self) -> float:
        """Return the scenario time by which the events of the last contact are there."""
        last_s = max((one.los_s for trace in self.traces.values() for one in trace.contacts()), default=0.0)
        return last_s + LAST_EVENTS_S * self.scenario.speed

    def _grace_s(self) -> float:
        """Return the time to wait for pending answers after the last trace."""
        grace_s = self.scenario.grace_s
        return max(grace_s, min(grace_s, GRACE_AT_LEAST_S) * self.scenario.speed)

    def _end_s(self) -> float:
        """Return the scenario time at which the run ends at the latest."""
        return max(trace.end_s for trace in self.traces.values()) + self._grace_s()

    def _node_states(self) -> dict[str, NodeState]:
        """Return the state of each node's program."""
        emulated = {name: self.nodes[name].state for name in self.plan.emulated_names}
        return emulated | self.boards.states()

    def _step(self, plane: ManagementPlane) -> None:
        """Wait for one tick: show new events, check that all processes live, obey a stop request."""
        self.stop.check()
        self.folder.check_place()
        try:
            for _ in range(EVENTS_A_STEP):
                record = plane.fresh.get(timeout=self._tick_s())
                self.progress.event(record)
                self.losses.note(record.event)
                if isinstance(record.event, Ready) and record.node in self.nodes:
                    self.nodes[record.node].is_ready()
                if plane.fresh.empty():
                    break
        except queue.Empty:
            pass
        self._look_after_brokers()
        self.losses.look()
        self.boards.look(self.clock.now_s() if self.started else None)
        for node in self.nodes.values():
            node.look(started=self.started)
        plane.check()
        if plane.unwritten is not None and not self.told_of_disk:
            self.told_of_disk = True
            problem = disk_problem(self.folder.events, plane.unwritten)
            self.progress.step(f"{problem}; the run goes on, and keeps its events in memory")

    def _tick_s(self) -> float:
        """Return how long to wait for events: less than TICK_S before a fault or task of the scenario."""
        if not self.started:
            return TICK_S
        next_s = min(self.faults.next_s, self.tasks.next_s())
        left_s = (next_s - self.clock.now_s()) / self.scenario.speed
        return min(TICK_S, max(0.001, left_s))

    def _look_after_brokers(self) -> None:
        """Restart brokers that died. A station whose broker cannot be kept is lost, and the others go on."""
        for watch in self.watches:
            if watch not in self.station_watches.values():
                watch.look()
        for station, watch in self.station_watches.items():
            if station in self.nodes and self.nodes[station].given_up is not None:
                continue
            try:
                watch.look()
            except BrokerError as error:
                if not self.started:
                    raise
                self.nodes[station].lose(str(error))

    def write_ending(self, ending: Ending) -> None:
        """Write results.json of a run that did not come to its end."""
        events = self.plane.events if self.plane is not None else []
        with suppress(TestbedError):
            self.folder.check_room()
            self._keep_events()
            results = self._figures(events, self.scenario.shaper, ending=ending)
            self.folder.keep_json(self.folder.results, results.to_json())
        if self.folder.trouble is not None:
            self.progress.step(self.folder.trouble)

    def _keep_events(self) -> None:
        """Write all events again if the disk did not take one of them."""
        if self.plane is not None and self.plane.unwritten is not None:
            lines = [record.to_line() + "\n" for record in self.plane.events]
            self.folder.keep(self.folder.events, "".join(lines))

    def _figures(
        self,
        events: Sequence[EventRecord],
        shaper: str,
        links: tuple[LinkFidelity, ...] = (),
        ways: tuple[LinkFidelity, ...] = (),
        ending: Ending | None = None,
    ) -> Results:
        models = [node.model for node in (*self.scenario.satellites, *self.scenario.receivers)]
        if self.started:
            events = in_scenario_time(events, self.clock.scale)
        paces = node_paces(events, self.scenario.speed)
        frames = frame_results(
            self.scenario,
            events,
            self.start_monotonic_s,
            self._link_times(),
            self.routes.played(self.traces),
        )
        turns = turns_of(events)
        faults = fault_records(self.scenario, events, frames, self.start_monotonic_s)
        inferences = [record.event for record in events if isinstance(record.event, InferenceFinished)]
        return Results(
            scenario=self.scenario.name,
            shaper=shaper,
            frames=explained(without_dish(self.scenario, self.dishes.in_view, turns, frames), faults),
            faults=faults,
            tasks=task_records(self.scenario, events, self.start_monotonic_s),
            links=links,
            ways=ways,
            link_error_bound_s=self.scenario.link_error_bound_s,
            brokers=tuple(watch.to_record() for watch in self.watches),
            malformed=malformed_counts(events),
            refusals=last_refusals(events),
            lost_events=lost_events(events),
            clocks=node_clocks(events),
            boards=self.boards.records(),
            paces=paces,
            machine=self._machine(),
            passage=self.passing.record(events) if self.started else None,
            acceleration=acceleration(self.scenario.speed, links, self.late_s, paces),
            troubles=troubles(events),
            disk=self.folder.trouble,
            absences=absences(events),
            backlogs=backlogs(events),
            losses=losses(events),
            dishes=turns,
            dish_uses=self._dish_uses(events, turns),
            computed=sum(one.remembered is None and one.prefill_s is not None for one in inferences),
            remembered=sum(one.remembered is True for one in inferences),
            ending=ending,
            shipped_models=any(map(is_shipped, models)),
        )

    def _dish_uses(self, events: Sequence[EventRecord], turns: Sequence[Turn]) -> tuple[DishUse, ...]:
        start_s = self.start_monotonic_s
        busy = {
            satellite.name: [
                (begin_s - start_s, end_s - start_s)
                for begin_s, end_s in busy_intervals(events, satellite.name)
            ]
            for satellite in self.scenario.satellites
        }
        return dish_uses(self.scenario, self.dishes.in_view, turns, busy)

    def _machine(self) -> tuple[str, ...]:
        """Return what this machine lacked for the run, in lines."""
        late = lateness_warning(self.late_s) if self.scenario.speed == 1 else None  # see `acceleration`
        return (*self.limits, *([late] if late is not None else []))

    def _results(self, plane: ManagementPlane, shaper: str, ending: Ending | None) -> Results:
        self.traces = self.dishes.left(self.traces)
        links = tuple(self._fidelity(link, plane, shaper) for link in self.scenario.sky_links)
        busy = self._busy(plane, [satellite.name for satellite in self.scenario.satellites])
        ends = [(link, ground) for link in self.scenario.sky_links for ground in (False, True)]
        logs = [self.plan.probe_path(link, ground=ground) for link, ground in ends]
        busy += trains_sent(logs, self.clock.scale)
        ways = self.routes.fidelities(self.routes.played(self.traces), self.clock, shaper, busy)
        self.folder.check_room()
        self._keep_events()
        self.folder.keep_json(self.folder.fidelity, [link.to_json() for link in (*links, *ways)])
        results = self._figures(plane.events, shaper, links, ways, ending)
        self.folder.keep_json(self.folder.results, results.to_json())
        self._draw_kept(results)
        tracks = [link_track(self.scenario, link, self.traces[link.name]) for link in self.scenario.links]
        shown = [track for track in tracks if track is not None]
        drawn_ways = self.routes.traces(self.routes.played(self.traces))
        report = render(results, self.scenario, self.traces, shown, self.folder.kept, drawn_ways)
        self.folder.keep(self.folder.report, report)
        return results

    def _draw_kept(self, results: Results) -> None:
        """Draw the images as received, in a process of its own; on failure the report shows none."""
        if any(frame.form is not None for frame in results.frames):
            with suppress(OSError), self.plan.log_path(DRAWINGS).open("wb") as log:
                subprocess.run(
                    self.plan.drawing_command(), stdout=log, stderr=log, check=False, start_new_session=True
                )

    def _fidelity(self, link: AnyLink, plane: ManagementPlane, shaper: str) -> LinkFidelity:
        relayed = bool(self.scenario.crosslinks)
        senders = [s.name for s in self.scenario.satellites] if relayed else [link.ends[0]]
        record = compare(
            link=link.name,
            shaper=shaper,
            trace_name=self.plan.trace_path(link).name,
            trace=self.traces[link.name],
            scale=self.clock.scale,
            logs=(self.plan.probe_path(link, ground=False), self.plan.probe_path(link, ground=True)),
            busy=self._busy(plane, senders),
        )
        return replace(record, load=self.load, counters=self.counters[link.name])

    def _busy(self, plane: ManagementPlane, senders: Sequence[str]) -> list[Interval]:
        """Return when any of some satellites was sending, in scenario time."""
        scale = self.clock.scale
        busy = [interval for sender in senders for interval in busy_intervals(plane.events, sender)]
        return [(scale.at(begin), scale.at(end)) for begin, end in busy]

    def _link_times(self) -> dict[tuple[str, str], LinkTime]:
        links = self.scenario.links
        ways = self.routes.link_times(self.routes.played(self.traces), self.start_monotonic_s)
        return ways | {
            (link.satellite, link.station): LinkTime(
                self.traces[link.name],
                self.start_monotonic_s,
                tuple(
                    self.traces[other.name]
                    for other in links
                    if other.satellite == link.satellite and other is not link
                ),
            )
            for link in links
        }
