"""Dishes in a run: planned turns are told as they come, live ones open and close gates of played links."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodes.contract.events import DishAssigned, DishReleased, Event, EventRecord, QueueReported
from testbed.network.clock import RealClock
from testbed.network.link_state import LinkState
from testbed.network.player import Change, Player
from testbed.run.dishes.served import RunDishes
from testbed.scenario.dishes.plan import dish_plan
from tests.unit.testbed.scenario.dishes.test_plan import TRACES, scenario

SPEED = 3000


class Plane:
    """Events of a run and of its nodes."""

    def __init__(self, *reported: EventRecord) -> None:
        self.events = list(reported)

    def report(self, event: Event, *, monotonic_s: float, time_s: float) -> None:
        self.events.append(EventRecord(node="run", monotonic_s=monotonic_s, time_s=time_s, event=event))

    def told(self) -> list[tuple[str, str, float]]:
        kinds = DishAssigned, DishReleased
        return [
            (record.name, record.event.satellite, record.time_s or 0.0)
            for record in self.events
            if isinstance(record.event, kinds)
        ]


class Link:
    """A link that notes whether it is up."""

    sky = None

    def __init__(self, name: str) -> None:
        self.name, self.ups = name, list[bool]()

    def set(self, down: LinkState, up: LinkState) -> None:
        self.ups.append(down.up)

    def check(self) -> None:
        """Find nothing wrong."""


def queue(satellite: str, size_bytes: int) -> EventRecord:
    event = QueueReported(items=1, size_bytes=size_bytes, best_value=1.0, deadline_s=None, sending=False)
    return EventRecord(node=satellite, monotonic_s=0.0, event=event)


def play(dishes: RunDishes, plane: Plane, links: dict[str, Link]) -> list[Change]:
    """Play the scenario to its end."""
    changes: list[Change] = []
    clock = RealClock(time.monotonic() + 0.02, SPEED)
    gated = dict(links)
    dishes.gate(gated)  # type: ignore[arg-type]
    player = Player(clock, {gated[name]: TRACES[name] for name in links}, dishes.watch(changes.append))  # type: ignore[misc]
    with player:
        dishes.start(clock, plane)  # type: ignore[arg-type]
        player.join(10)
        time.sleep(0.05)
        dishes.stop()
    dishes.check()
    return changes


def test_a_live_scheduler_opens_the_link_of_the_one_with_the_most_on_board(tmp_path: Path) -> None:
    made = scenario(tmp_path, "most-backlog", dishes=1)
    dishes = RunDishes(made, TRACES, dish_plan(made, TRACES))
    plane, links = Plane(queue("A", 1000), queue("B", 4000)), {name: Link(name) for name in TRACES}
    changes = play(dishes, plane, links)
    assert plane.told() == [
        ("dish_assigned", "A", 10),
        ("dish_released", "A", 60),
        ("dish_assigned", "B", 60),
        ("dish_released", "B", 460),
    ]
    assert links["A - G"].ups[:2] == [True, False] and True not in links["A - G"].ups[2:]
    assert links["B - G"].ups.count(True) == 1
    opened = [change.time_s for change in changes if change.link == "B - G" and change.up]
    assert opened == [90], "not at its AOS, but when the dish has turned"
    left = {name: [(c.aos_s, c.los_s) for c in t.contacts()] for name, t in dishes.left(TRACES).items()}
    assert left == {"A - G": [(10, 60)], "B - G": [(90, 460)]}


def test_planned_turns_are_told_and_links_left_alone(tmp_path: Path) -> None:
    made = scenario(tmp_path, dishes=1)
    dishes = RunDishes(made, TRACES, dish_plan(made, TRACES))
    plane = Plane()
    play(dishes, plane, {name: Link(name) for name in TRACES})
    assert [name for name, *_ in plane.told()] == ["dish_assigned", "dish_released"] * 2
    assert dishes.left(TRACES) == TRACES


def test_a_failing_scheduler_ends_the_run(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "from testbed import DishScheduler\nclass Scheduler(DishScheduler):\n    live = True\n"
        "    def score(self, one):\n        raise LookupError('lost the plot')\n"
    )
    made = scenario(tmp_path, str(code), dishes=1)
    dishes = RunDishes(made, TRACES, dish_plan(made, TRACES))
    with pytest.raises(Exception, match=r"mine\.py of G failed: LookupError: lost the plot"):
        play(dishes, Plane(), {name: Link(name) for name in TRACES})
