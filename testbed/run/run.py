"""A run of a scenario: build the network, start the nodes, play the links, collect the events, clean up.

Steps, undone in reverse order whatever happens in between:
    traces -> run folder -> node configurations, checked -> hosts, sky, links (down) -> brokers ->
    node programs (models loaded) -> probes -> clock starts, links are played -> events until all is answered
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nodes.contract.events import ProgramChanged, Ready
from testbed.errors import CapabilityError, TestbedError
from testbed.forks.forks import Forks
from testbed.machine.collector import SparedObjects
from testbed.machine.disk import disk_problem
from testbed.machine.processor_load import ProcessorLoad
from testbed.machine.prompt_threads import PromptThreads
from testbed.machine.stop_request import Stopped, StopRequest
from testbed.mqtt.management import ManagementPlane
from testbed.results.results import Results
from testbed.results.verdict import Ending
from testbed.run.boards import RunBoards, boards_of
from testbed.run.ceilings import ceilings
from testbed.run.clock.passing import next_of
from testbed.run.clock.skipping import NextStop
from testbed.run.dishes.served import QUEUE_EVERY_S, RunDishes
from testbed.run.faults.played import RunFaults
from testbed.run.folder import RunFolder
from testbed.run.offered_load import offered_load
from testbed.run.own_folders import socket_folder
from testbed.run.parts.brokers import RunBrokers
from testbed.run.parts.ending import RunEnd
from testbed.run.parts.figures import RunFigures
from testbed.run.parts.live import LivePage, RunLive
from testbed.run.parts.network import RunNetwork
from testbed.run.parts.nodes import RunNodes
from testbed.run.parts.playing import Playing
from testbed.run.parts.reports import RunReports
from testbed.run.parts.steps import Steps
from testbed.run.plan import FORKED, RunPlan
from testbed.run.programs.user_programs import UserPrograms, check_programs
from testbed.run.progress import Progress
from testbed.run.routed.losses import LossWatch
from testbed.run.routed.run_routes import RunRoutes
from testbed.run.speed import check_speed
from testbed.run.supervision import ManagementWatch
from testbed.run.tasks import RunTasks
from testbed.run.traces import link_traces, played_traces
from testbed.scenario.dishes.plan import DishPlan, dish_plan
from testbed.scenario.model import Scenario, to_json

_LOG = logging.getLogger(__name__)
TICK_S = 0.1
EVENTS_A_STEP = 1000  # a flood of events must not keep the run from its other work


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
    live: LivePage | None = None,
) -> Outcome:
    """Run `scenario` in real time, or faster, and return its results. Needs root.

    Ctrl-C, an interrupted notebook cell and `kill` end the run in order: everything that it made is removed.

    Args:
        scenario: what to run.
        folder: parent of the run's folder.
        progress: display of the progress, such as `TerminalProgress(rich.console.Console())`; None: none.
        speed: seconds of scenario time in a real one, or "auto"; None: the scenario's.
        skip_idle: whether to jump over time in which no node has anything to do; None: the scenario's.
        live: where to offer a live page of the run; None: nowhere.

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
    if live is not None:
        live.check()
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
                    run = _Run(plan, progress, stop, limits, RunDishes(scenario, traces, dishes), live)
                    results = run.go()
            except Stopped:
                if run is not None:
                    run.write_ending(Ending(f"stopped by {stop.asker}", stop.exit_code, stopped=True))
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
        live: LivePage | None,
    ) -> None:
        self.plan, self.scenario, self.folder = plan, plan.scenario, plan.folder
        self.progress, self.dishes = progress, dishes
        self.steps = steps = Steps(plan.folder, progress, stop)
        self.reports = reports = RunReports()
        self.boards = boards = RunBoards(plan, reports.report)
        self.routes = routes = RunRoutes(plan)
        self.network = RunNetwork(plan, boards, routes, steps)
        self.live = RunLive(live, plan, reports, steps)
        self.brokers = RunBrokers(plan, boards, self.live, steps)
        self.nodes = RunNodes(plan, boards, reports, steps)
        self.playing = Playing(plan, self.network, boards, dishes, routes, reports)
        self.user_programs = UserPrograms(plan, self.network.played, reports.report_now)
        self.faults = RunFaults(plan, self.nodes.supervised, self.user_programs, reports.report_at)
        self.tasks = RunTasks(plan.scenario, reports.hand_over, reports.report_at)
        self.losses = LossWatch(self.network.counters, reports.report_now)
        self.figures = RunFigures(plan, limits, reports, boards, self.brokers, dishes, routes, self.playing)
        self.told_of_disk = False

    def go(self) -> Results:
        with self.progress.shown(len(self.scenario.frames())), ExitStack() as stack:
            forks = stack.enter_context(Forks(FORKED))  # imports while the next steps are made
            self._write_inputs()
            self.user_programs.prepare(stack, self.steps)
            self.nodes.check(forks)
            self.boards.attach(stack)
            self.network.build(stack, forks)
            emulated = self.network.emulated
            plane = self.reports.plane = self.brokers.start(stack, emulated)
            self.live.start(stack, plane)
            self.nodes.start(stack, emulated, plane, partial(self._step, plane))
            if self.scenario.probe:
                self.network.start_probes(self.plan.traces)
            end = RunEnd(self.scenario, self.plan.traces)
            self.playing.start(stack, plane, self._stops(end))
            self.progress.playing(self.plan.traces)
            self.user_programs.start(stack, emulated, self.reports.clock, plane)
            if self.scenario.speed != 1 or self.scenario.adapt_speed:
                stack.enter_context(PromptThreads())
            spared = stack.enter_context(SparedObjects())
            ending = self._gather(plane, end, spared)
            self.steps.begin("removing hosts, links and programs")
        return self.figures.write(emulated.shaper_text, ending)

    def write_ending(self, ending: Ending) -> None:
        """Write results.json of a run that did not come to its end."""
        self.figures.write_ending(ending)
        if self.folder.trouble is not None:
            self.progress.step(self.folder.trouble)

    def _write_inputs(self) -> None:
        self.steps.begin("writing traces and configurations")
        self.folder.write_whole(self.folder.scenario, to_json(self.scenario))
        self.plan.write_inputs()
        self.faults.prepare()
        self.folder.check_place()
        self.brokers.make_authority()

    def _stops(self, end: RunEnd) -> list[NextStop]:
        """Return what no jump of scenario time may pass, beside events of nodes, captures and contacts."""
        stops: list[NextStop] = [next_of([end.last_events_s, end.end_s])]
        stops += [lambda _: self.dishes.next_s(), lambda _: self.faults.next_s]
        return [*stops, lambda _: self.tasks.next_s(), lambda _: self.routes.next_s()]

    def _gather(self, plane: ManagementPlane, end: RunEnd, spared: SparedObjects) -> Ending | None:
        """Wait until every frame has its answer, or until no more answers can arrive.

        Returns:
            Why the run ended early; None if it did not.
        """
        ending: Ending | None = None
        read = 0
        clock, emulated = self.reports.clock, self.network.emulated
        load = ProcessorLoad()
        management = ManagementWatch(plane, self.reports.report_now)
        while clock.now_s() < end.end_s or (not end.all_done and management.delays_the_end()):
            self._step(plane)
            management.look()
            emulated.check_links()
            self.dishes.check()
            self.routes.check()
            self.faults.look(clock.now_s())
            self.tasks.look(clock.now_s())
            self.playing.look(self.nodes.states())
            self.user_programs.look()
            for probe in emulated.take_ended_probes():
                event = ProgramChanged(program=probe.name, state="given up", reason=f"it {probe.ending()}")
                self.reports.report_now(event)
            self.progress.tick(clock.now_s())
            fresh = plane.events[read:]
            read += len(fresh)
            spared.look(read)
            for record in fresh:
                self.tasks.heard(record)
            end.note(fresh, self.faults.missed | self.tasks.ended)
            if end.is_over(clock.now_s()):
                break
            ending = end.without_nodes(clock.now_s(), self.nodes.all_lost())
            if ending is not None:
                break
        self.playing.stop_passing()
        plane.stop_nodes()
        self.losses.look(last=True)
        self.brokers.look_last()
        self.figures.load, self.figures.counters = load.record(), emulated.sky.counters()["links"]
        return ending

    def _step(self, plane: ManagementPlane) -> None:
        """Wait for one tick: show new events, check that all processes live, obey a stop request."""
        self.steps.check_stop()
        self.folder.check_place()
        self.live.look()
        nodes, started = self.nodes.supervised, self.reports.started
        try:
            for _ in range(EVENTS_A_STEP):
                record = plane.fresh.get(timeout=self._tick_s())
                self.progress.event(record)
                self.losses.note(record.event)
                if isinstance(record.event, Ready) and record.node in nodes:
                    nodes[record.node].is_ready()
                if plane.fresh.empty():
                    break
        except queue.Empty:
            pass
        self.brokers.look(nodes, started=started)
        self.losses.look()
        self.boards.look(self.reports.now_s)
        for node in nodes.values():
            node.look(started=started)
        plane.check()
        if plane.unwritten is not None and not self.told_of_disk:
            self.told_of_disk = True
            problem = disk_problem(self.folder.events, plane.unwritten)
            self.progress.step(f"{problem}; the run goes on, and keeps its events in memory")

    def _tick_s(self) -> float:
        """Return how long to wait for events: less than TICK_S before a fault or task of the scenario."""
        now_s = self.reports.now_s
        if now_s is None:
            return TICK_S
        left_s = (min(self.faults.next_s, self.tasks.next_s()) - now_s) / self.scenario.speed
        return min(TICK_S, max(0.001, left_s))
