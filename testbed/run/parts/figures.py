"""The results of a run: figures from its events and links, and the files that hold and show them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from nodes.contract.config import is_shipped
from nodes.contract.events import EventRecord, InferenceFinished
from testbed.errors import TestbedError
from testbed.measure.fidelity import Interval, LinkFidelity, compare, trains_sent
from testbed.results.absence import absences
from testbed.results.clock.answer_lateness import answer_lateness
from testbed.results.clock.keeping_up import acceleration, in_scenario_time, lateness_warning
from testbed.results.contacts import backlogs, losses
from testbed.results.dishes import DishUse, dish_uses, turns_of, without_dish
from testbed.results.faults import explained, fault_records
from testbed.results.link_time import LinkTime
from testbed.results.nodes.clocks import node_clocks
from testbed.results.nodes.pace import node_paces
from testbed.results.nodes.power import power_records
from testbed.results.report import render
from testbed.results.results import (
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
from testbed.run.boards import RunBoards
from testbed.run.dishes.served import RunDishes
from testbed.run.parts.brokers import RunBrokers
from testbed.run.parts.playing import Playing
from testbed.run.parts.reports import RunReports
from testbed.run.plan import DRAWINGS, RunPlan
from testbed.run.routed.run_routes import RunRoutes
from testbed.run.traces import link_track
from testbed.scenario.dishes.desk import Turn
from testbed.scenario.model import AnyLink


@dataclass
class RunFigures:
    """Computes and writes the results of a run.

    Args:
        plan: the run's plan.
        limits: what this machine lacks for the run, in lines.
        reports: the events of the run, and its clock.
        boards: its boards.
        brokers: its brokers.
        dishes: its dishes.
        routes: its routes.
        playing: how its links were played.
        load: load of this machine during the run.
        counters: the shaper's counters, by link and direction.
    """

    plan: RunPlan
    limits: Sequence[str]
    reports: RunReports
    boards: RunBoards
    brokers: RunBrokers
    dishes: RunDishes
    routes: RunRoutes
    playing: Playing
    load: Mapping[str, float | None] = field(default_factory=dict)
    counters: Mapping[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take what the plan says."""
        self._scenario, self._traces, self._folder = self.plan.scenario, self.plan.traces, self.plan.folder

    def write(self, shaper: str, ending: Ending | None) -> Results:
        """Write the results and the report of a run that came to its end, and return the results."""
        self._traces = self.dishes.left(self._traces)
        links = tuple(self._fidelity(link, shaper) for link in self._scenario.sky_links)
        busy = self._busy([satellite.name for satellite in self._scenario.satellites])
        ends = [(link, ground) for link in self._scenario.sky_links for ground in (False, True)]
        logs = [self.plan.probe_path(link, ground=ground) for link, ground in ends]
        clock = self.reports.clock
        busy += trains_sent(logs, clock.scale)
        played = self.routes.played(self._traces)
        ways = self.routes.fidelities(played, clock, shaper, busy)
        self._folder.check_room()
        self._keep_events()
        self._folder.keep_json(self._folder.fidelity, [link.to_json() for link in (*links, *ways)])
        results = self._figures(shaper, links, ways, ending)
        self._folder.keep_json(self._folder.results, results.to_json())
        self._draw_kept(results)
        tracks = [link_track(self._scenario, link, self._traces[link.name]) for link in self._scenario.links]
        shown = [track for track in tracks if track is not None]
        drawn_ways = self.routes.traces(played)
        report = render(results, self._scenario, self._traces, shown, self._folder.kept, drawn_ways)
        self._folder.keep(self._folder.report, report)
        return results

    def write_ending(self, ending: Ending) -> None:
        """Write results.json of a run that did not come to its end."""
        with suppress(TestbedError):
            self._folder.check_room()
            self._keep_events()
            results = self._figures(self._scenario.shaper, ending=ending)
            self._folder.keep_json(self._folder.results, results.to_json())

    def _keep_events(self) -> None:
        """Write all events again if the disk did not take one of them."""
        plane = self.reports.plane
        if plane is not None and plane.unwritten is not None:
            lines = [record.to_line() + "\n" for record in plane.events]
            self._folder.keep(self._folder.events, "".join(lines))

    def _figures(
        self,
        shaper: str,
        links: tuple[LinkFidelity, ...] = (),
        ways: tuple[LinkFidelity, ...] = (),
        ending: Ending | None = None,
    ) -> Results:
        scenario, start_s, started = self._scenario, self.reports.start_monotonic_s, self.reports.started
        models = [node.model for node in (*scenario.satellites, *scenario.receivers)]
        events: Sequence[EventRecord] = self.reports.events
        if started:
            events = in_scenario_time(events, self.reports.clock.scale)
        paces = node_paces(events, scenario.speed)
        played = self.routes.played(self._traces)
        frames = frame_results(scenario, events, start_s, self._link_times(), played)
        turns = turns_of(events)
        faults = fault_records(scenario, events, frames, start_s)
        inferences = [record.event for record in events if isinstance(record.event, InferenceFinished)]
        return Results(
            scenario=scenario.name,
            shaper=shaper,
            frames=explained(without_dish(scenario, self.dishes.in_view, turns, frames), faults),
            faults=faults,
            tasks=task_records(scenario, events, start_s),
            links=links,
            ways=ways,
            link_error_bound_s=scenario.link_error_bound_s,
            brokers=tuple(watch.to_record() for watch in self.brokers.watches),
            malformed=malformed_counts(events),
            refusals=last_refusals(events),
            lost_events=lost_events(events),
            clocks=node_clocks(events),
            boards=self.boards.records(),
            paces=paces,
            powers=power_records(scenario, events, self.plan.sunlights),
            machine=self._machine(),
            passage=self.playing.passage(events),
            acceleration=acceleration(
                scenario.speed, links, self.playing.late_s, paces, answer_lateness(events)
            ),
            troubles=troubles(events),
            disk=self._folder.trouble,
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
        start_s = self.reports.start_monotonic_s
        busy = {
            satellite.name: [
                (begin_s - start_s, end_s - start_s)
                for begin_s, end_s in busy_intervals(events, satellite.name)
            ]
            for satellite in self._scenario.satellites
        }
        return dish_uses(self._scenario, self.dishes.in_view, turns, busy)

    def _machine(self) -> tuple[str, ...]:
        """Return what this machine lacked for the run, in lines."""
        late = (
            lateness_warning(self.playing.late_s) if self._scenario.speed == 1 else None
        )  # see `acceleration`
        return (*self.limits, *([late] if late is not None else []))

    def _draw_kept(self, results: Results) -> None:
        """Draw the images as received, in a process of its own; on failure the report shows none."""
        if any(frame.form is not None for frame in results.frames):
            with suppress(OSError), self.plan.log_path(DRAWINGS).open("wb") as log:
                subprocess.run(
                    self.plan.drawing_command(), stdout=log, stderr=log, check=False, start_new_session=True
                )

    def _fidelity(self, link: AnyLink, shaper: str) -> LinkFidelity:
        relayed = bool(self._scenario.crosslinks)
        senders = [s.name for s in self._scenario.satellites] if relayed else [link.ends[0]]
        record = compare(
            link=link.name,
            shaper=shaper,
            trace_name=self.plan.trace_path(link).name,
            trace=self._traces[link.name],
            scale=self.reports.clock.scale,
            logs=(self.plan.probe_path(link, ground=False), self.plan.probe_path(link, ground=True)),
            busy=self._busy(senders),
        )
        return replace(record, load=self.load, counters=self.counters[link.name])

    def _busy(self, senders: Sequence[str]) -> list[Interval]:
        """Return when any of some satellites was sending, in scenario time."""
        scale = self.reports.clock.scale
        events = self.reports.events
        busy = [interval for sender in senders for interval in busy_intervals(events, sender)]
        return [(scale.at(begin), scale.at(end)) for begin, end in busy]

    def _link_times(self) -> dict[tuple[str, str], LinkTime]:
        links, start_s = self._scenario.links, self.reports.start_monotonic_s
        ways = self.routes.link_times(self.routes.played(self._traces), start_s)
        return ways | {
            (link.satellite, link.station): LinkTime(
                self._traces[link.name],
                start_s,
                tuple(
                    self._traces[other.name]
                    for other in links
                    if other.satellite == link.satellite and other is not link
                ),
            )
            for link in links
        }
