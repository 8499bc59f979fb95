"""What the run itself adds to the agreement of the nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from nodes.contract.messages import Idleness
from testbed.network.clock import RealClock
from testbed.run.clock.passing import next_of
from testbed.run.clock.run_time import RunTime
from testbed.run.clock.skipping import Skipping
from tests.support.waiting import wait_for


class Plane:
    """Answers questions at once, as a node that has nothing to do."""

    on_idleness: Callable[[str, Idleness], None]

    def __init__(self, clock_bound_s: float = 0.0) -> None:
        self.clock_bound_s = clock_bound_s
        self.changes = 0
        self.reported = list[Any]()

    def lost_s(self) -> float:
        return 0.0

    def ask_nodes(self, question: int) -> None:
        self.tell(question)

    def retime_nodes(self, scale: Any) -> None:
        self.changes = len(scale.pieces) - 1
        self.tell(None)

    def report(self, event: Any, **stamps: float | None) -> None:
        self.reported.append(event)

    def tell(self, question: int | None) -> None:
        told = Idleness(
            version=1,
            busy=False,
            changes=self.changes,
            answers=question,
            clock_bound_s=self.clock_bound_s,
        )
        self.on_idleness("dove", told)


class Player:
    """Counts how often links were set anew."""

    followed = 0

    def follow_speed(self) -> None:
        self.followed += 1


def test_another_speed_is_told_to_clock_nodes_and_links_and_goes_on_from_where_time_was() -> None:
    plane, clock, player = Plane(), RealClock(speed=20.0), Player()
    plane.on_idleness = lambda node, told: None
    before_s = clock.now_s()
    RunTime(clock, player, plane).run_at(5.0, "late")  # type: ignore[arg-type]
    assert (clock.speed, plane.changes, player.followed) == (5.0, 1, 1)
    assert before_s <= clock.now_s() < before_s + 5
    (event,) = plane.reported
    assert (event.speed, event.before, event.reason) == (5.0, 20.0, "late")


def test_a_node_that_told_before_it_was_listened_to_is_asked_and_time_jumps_from_stop_to_stop() -> None:
    plane, clock = Plane(), RealClock()
    run_time = RunTime(clock, player=None, plane=plane)  # type: ignore[arg-type]
    stops = [next_of([1e4, 5e4]), lambda _: math.inf]
    skipping = Skipping(["DOVE"], run_time, plane, stops)  # type: ignore[arg-type]
    skipping.start()
    try:
        wait_for(lambda: clock.now_s() > 5e4, "two jumps", 5)
    finally:
        skipping.stop()
    assert skipping.failure is None and skipping.ended is None
    (first, second) = plane.reported
    assert 1e4 - 1 < first.to_s < 1e4 < second.from_s < 5e4 - 1 < second.to_s < 5e4
    assert clock.now_s() < 5e4 + 60


def test_a_jump_lands_earlier_by_the_bound_of_a_clock_on_another_machine() -> None:
    plane, clock = Plane(clock_bound_s=0.75), RealClock()
    run_time = RunTime(clock, player=None, plane=plane, other_machines=True)  # type: ignore[arg-type]
    skipping = Skipping(["DOVE"], run_time, plane, [next_of([1e4])])  # type: ignore[arg-type]
    skipping.start()
    try:
        wait_for(lambda: bool(plane.reported), "a jump", 5)
    finally:
        skipping.stop()
    (jump,) = plane.reported
    assert jump.to_s == pytest.approx(1e4 - 0.1 - 0.75)
