"""Gives the dishes of a run's stations, as planned before it or by what the satellites report."""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from nodes.contract.events import DishAssigned, DishReleased, Event, QueueReported
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.player import Change, PlayedLink
from testbed.run.dishes.gate import GatedLink
from testbed.scenario.dishes.desk import DishDesk, Turn
from testbed.scenario.dishes.plan import DishPlan, desk_of, served, stations_with_dishes
from testbed.scenario.dishes.schedulers import Queue
from testbed.scenario.model import Scenario
from traces.trace import Trace

QUEUE_EVERY_S = 1.0  # how often satellites report their queues, in scenario time

OnChange = Callable[[Change], None]


class RunDishes:
    """Who has which dish during a run, in a thread of its own.

    Where the schedulers know the passes alone, the turns are those of the plan, to which the links' traces
    have been cut; they are only reported. Else each link has a gate, which opens when a dish has turned.

    Args:
        scenario: the scenario.
        traces: the trace of each link, as if it were always served.
        plan: the plan of the dishes; None if no station has too few.

    Attributes:
        error: why it has ended early; None if it has not.
        in_view: the trace of each link, as if it were always served.
    """

    def __init__(self, scenario: Scenario, traces: Mapping[str, Trace], plan: DishPlan | None) -> None:
        self.error: Exception | None = None
        self._scenario, self.in_view, self._plan = scenario, traces, plan
        self._stations = stations_with_dishes(scenario) if plan is not None else []
        self._named = {station.station: station.named for station in self._stations}
        self._links = {(link.satellite, link.station): link.name for link in scenario.links}
        self._gates: dict[str, GatedLink] = {}
        self._turns: list[Turn] = []
        self._known: dict[str, Queue] = {}
        self._due_s = -math.inf
        self._read = 0  # events that were looked at
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._telling = threading.Lock()

    @property
    def live(self) -> bool:
        """Whether it is decided during the run."""
        return self._plan is not None and self._plan.live

    def gate(self, links: dict[str, PlayedLink]) -> None:
        """Put a gate before each link whose dish is given during the run."""
        if self.live:
            for link in self._scenario.links:
                if link.station in self._named:
                    self._gates[link.name] = links[link.name] = GatedLink(links[link.name])

    def watch(self, on_change: OnChange) -> OnChange:
        """Return what the player calls after a change: behind a closed gate, a link is told to be down."""

        def tell(change: Change) -> None:
            with self._telling:
                if (gate := self._gates.get(change.link)) is not None:
                    down, up = gate.passes
                    change = replace(change, down=down, up_link=up)
                on_change(change)

        self._tell = tell
        return tell

    def start(self, clock: RealClock, plane: ManagementPlane) -> None:
        """Begin to give dishes."""
        if self._plan is not None:
            self._clock, self._plane = clock, plane
            self._thread = threading.Thread(target=self._serve, name="dishes", daemon=True)
            self._thread.start()

    def next_s(self) -> float:
        """Return the scenario time of the next decision or turn of a gate; inf if there is none."""
        return self._due_s if self.live else math.inf

    def stop(self) -> None:
        """End the thread. May be called twice."""
        self._stopping.set()
        if self._thread is not None:
            self._clock.wake()
            self._thread.join()

    def check(self) -> None:
        """Raise the error that ended it early."""
        if self.error is not None:
            raise self.error

    def left(self, traces: Mapping[str, Trace]) -> dict[str, Trace]:
        """Return the traces as they were played: what gates have left of them."""
        turns = tuple(self._turns)
        played = dict(traces)
        for link in self._scenario.links:
            if link.name in self._gates:
                note = f"served by a dish of {link.station} as {self._named[link.station]} gave it"
                played[link.name] = served(traces[link.name], link.satellite, link.station, turns, note)
        return played

    def _serve(self) -> None:
        try:
            if self.live:
                self._decide(desk_of(self._scenario, self.in_view, self._stations))
            else:
                self._tell_plan()
        except Exception as error:
            self.error = error

    def _tell_plan(self) -> None:
        """Report the turns of the plan as they come."""
        assert self._plan is not None  # noqa: S101  # there is a thread
        told = [(turn.from_s, 1, number) for number, turn in enumerate(self._plan.turns)]
        told += [
            (turn.until_s, 0, number)
            for number, turn in enumerate(self._plan.turns)
            if turn.until_s is not None
        ]
        for time_s, begins, number in sorted(told):
            if not self._clock.wait_until(time_s, self._stopping):
                return
            turn = self._plan.turns[number]
            self._report(_assigned(turn, self._named) if begins else _released(turn), time_s)

    def _decide(self, desk: DishDesk) -> None:
        """Give dishes at each begin and end of a pass, and while satellites wait also in between."""
        opening: list[tuple[float, str]] = []
        decision_s = desk.next_s(-math.inf)
        while (due_s := min(decision_s, opening[0][0] if opening else math.inf)) < math.inf:
            self._due_s = due_s
            if not self._clock.wait_until(due_s, self._stopping):
                return
            if opening and opening[0][0] <= due_s:
                self._turn_gate(heapq.heappop(opening)[1], due_s, is_open=True)
                continue
            made = desk.decide(due_s, self._queues())
            for turn in made.ended:
                link = self._links[turn.satellite, turn.station]
                opening = [one for one in opening if one[1] != link]
                self._turns = [one for one in self._turns if not _same(one, turn)] + [turn]
                self._turn_gate(link, due_s, is_open=False)
                self._report(_released(turn), due_s)
            for turn in made.begun:
                self._turns.append(turn)
                opening.append((turn.open_s, self._links[turn.satellite, turn.station]))
                self._report(_assigned(turn, self._named), due_s)
            heapq.heapify(opening)
            decision_s = desk.next_s(due_s)
        self._due_s = math.inf

    def _queues(self) -> dict[str, Queue]:
        """Return what each satellite reported last."""
        fresh = self._plane.events[self._read :]
        self._read += len(fresh)
        for record in fresh:
            if isinstance(event := record.event, QueueReported):
                self._known[record.node] = Queue(**event.model_dump())
        return self._known

    def _turn_gate(self, link: str, due_s: float, *, is_open: bool) -> None:
        gate = self._gates[link]
        before = gate.passes
        gate.turn(is_open=is_open)
        if gate.passes != before:
            self._tell(Change(link, due_s, self._clock.late_s(due_s), *gate.passes))

    def _report(self, event: Event, time_s: float) -> None:
        self._plane.report(event, monotonic_s=self._clock.scale.monotonic_of(time_s), time_s=time_s)


def _same(one: Turn, other: Turn) -> bool:
    return (one.station, one.dish, one.from_s) == (other.station, other.dish, other.from_s)


def _assigned(turn: Turn, named: Mapping[str, str]) -> DishAssigned:
    return DishAssigned(
        station=turn.station,
        dish=turn.dish,
        satellite=turn.satellite,
        open_s=turn.open_s,
        scheduler=named[turn.station],
        why=turn.why,
        waiting=list(turn.waiting),
    )


def _released(turn: Turn) -> DishReleased:
    return DishReleased(station=turn.station, dish=turn.dish, satellite=turn.satellite, why=turn.ended)
