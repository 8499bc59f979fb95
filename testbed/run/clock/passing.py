"""How scenario time passes in a run: skipping and an automatic speed, where the scenario asks for them."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from nodes.contract.events import EventRecord
from testbed.mqtt.management import ManagementPlane
from testbed.network.clock import RealClock
from testbed.network.player import Player
from testbed.results.clock.answer_lateness import LatenessWatch
from testbed.results.clock.passage import Passage, passage
from testbed.run.clock.auto_speed import AutoSpeed
from testbed.run.clock.run_time import RunTime
from testbed.run.clock.skipping import NextStop, NodeState, Skipping
from testbed.scenario.model import Scenario, highest_auto_speed


def next_of(times_s: Iterable[float]) -> NextStop:
    """Return a function that gives the next of some scenario times."""
    in_order = sorted(times_s)

    def next_stop(time_s: float) -> float:
        number = bisect_right(in_order, time_s)
        return in_order[number] if number < len(in_order) else math.inf

    return next_stop


class PassingTime:
    """Skips idle time and adapts the speed, until `stop`.

    Args:
        scenario: says what is wanted.
        names: of all nodes with a program.
        clock: of the run, which has started.
        player: plays the links.
        plane: leads to the nodes.
        stops: further scenario times that no jump may pass, beside captures and edges of contacts.
        other_machines: whether there are nodes on other machines.
    """

    def __init__(
        self,
        scenario: Scenario,
        names: Iterable[str],
        clock: RealClock,
        player: Player,
        plane: ManagementPlane,
        stops: Iterable[NextStop],
        *,
        other_machines: bool = False,
    ) -> None:
        self._scenario, self._clock, self._plane = scenario, clock, plane
        self._ended_s: float | None = None
        self._run_time = RunTime(clock, player, plane, other_machines=other_machines)
        self._skipping: Skipping | None = None
        self._auto: AutoSpeed | None = None
        self._seen_late = self._seen_events = 0
        self._lateness = LatenessWatch()
        if scenario.skip_idle:
            captures_s = (frame.capture_s for frame in scenario.frames().values())
            known = [lambda _: player.next_edge_s(), next_of(captures_s), *stops]
            self._skipping = Skipping(names, self._run_time, plane, known)
            self._skipping.start()
        if scenario.adapt_speed:
            self._auto = AutoSpeed(
                scenario.speed, time.monotonic(), highest_auto_speed(scenario.link_error_bound_s)
            )

    def look(self, nodes: Mapping[str, NodeState], late_s: Sequence[float]) -> None:
        """Do what is due; call it often.

        Args:
            nodes: state of each node's program.
            late_s: lateness of all changes of links so far.
        """
        if self._skipping is not None:
            self._skipping.attend(nodes)
            if self._skipping.failure is not None:
                raise self._skipping.failure
        if self._auto is not None:
            self._adapt(self._auto, late_s)

    def stop(self) -> None:
        """Let scenario time run as it is; may be called twice."""
        if self._skipping is not None:
            self._skipping.stop()
        if self._ended_s is None:
            self._ended_s = time.monotonic()

    def record(self, events: Iterable[EventRecord]) -> Passage | None:
        """Return how scenario time has passed; None where it is real time."""
        scenario, scale = self._scenario, self._clock.scale
        if scenario.speed == 1 and not (scenario.skip_idle or scenario.adapt_speed):
            return None
        ended_s = time.monotonic() if self._ended_s is None else self._ended_s
        return passage(
            events,
            speed=scenario.speed,
            scenario_s=scale.at(ended_s),
            real_s=ended_s - scale.start_monotonic_s,
        )

    def _adapt(self, auto: AutoSpeed, late_s: Sequence[float]) -> None:
        new = self._plane.events[self._seen_events :]
        self._seen_events += len(new)
        scale = self._clock.scale
        answers = [self._lateness.add(record, scale.at(record.monotonic_s)) for record in new]
        auto.add(late_s[self._seen_late :], [one for one in answers if one is not None])
        self._seen_late = len(late_s)
        changed = auto.look(time.monotonic())
        if changed is not None:
            self._run_time.run_at(changed.speed, changed.reason)
