"""Who gets a dish: by passes alone, by what satellites report, at several stations, by a user's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed.errors import ScenarioError
from testbed.scenario.dishes.desk import DishDesk, PassInView, StationDishes, Turn
from testbed.scenario.dishes.schedulers import TURN_S, DishScheduler, InView, Queue, scheduler_named

SLEW_S = 30.0


def desk(name: str, *passes: PassInView, dishes: int = 1, scheduler: DishScheduler | None = None) -> DishDesk:
    stations = dict.fromkeys(one.station for one in passes)
    return DishDesk(
        [StationDishes(s, dishes, SLEW_S, scheduler or scheduler_named(name), name) for s in stations], passes
    )


def played(made: DishDesk, queues: Mapping[str, Queue] | None = None) -> list[Turn]:
    """Every turn, as its end was told."""
    turns, now_s = [], made.next_s(-math.inf)
    while now_s < math.inf:
        turns += made.decide(now_s, queues).ended
        now_s = made.next_s(now_s)
    return sorted(turns, key=lambda turn: (turn.from_s, turn.dish))


def brief(turns: list[Turn]) -> list[tuple[str, float, float, float | None]]:
    return [(turn.satellite, turn.from_s, turn.open_s, turn.until_s) for turn in turns]


A, B = PassInView("G", "A", 10, 300), PassInView("G", "B", 60, 460)


def test_the_longest_pass_takes_the_dish_after_it_has_turned() -> None:
    turns = played(desk("longest-pass", A, B))
    # The dish is free before the first pass, and points there when it begins.
    assert brief(turns) == [("A", 10, 10, 60), ("B", 60, 60 + SLEW_S, 460)]
    assert turns[0].ended == "B got the dish: a pass of 400 s"
    assert turns[1].waiting == ("A",)


def test_a_pass_that_is_hardly_longer_takes_no_dish_but_gets_it_at_the_end() -> None:
    close = PassInView("G", "B", 60, 380)
    assert brief(played(desk("longest-pass", A, close))) == [("A", 10, 10, 300), ("B", 300, 330, 380)]


def test_no_dish_turns_to_a_satellite_that_will_be_gone() -> None:
    short = PassInView("G", "B", 200, 300 + SLEW_S)
    assert brief(played(desk("longest-pass", A, short))) == [("A", 10, 10, 300)]


def test_each_gets_a_dish_where_there_are_enough() -> None:
    assert brief(played(desk("longest-pass", A, B, dishes=2))) == [("A", 10, 10, 300), ("B", 60, 60, 460)]


def test_round_robin_gives_turns() -> None:
    turns = brief(played(desk("round-robin", A, B)))
    assert turns[0] == ("A", 10, 10, 10 + TURN_S)
    assert [name for name, *_ in turns] == ["A", "B", "A", "B"]
    lengths_s = [until_s - open_s for _, _, open_s, until_s in turns[:3] if until_s is not None]
    assert lengths_s == pytest.approx([TURN_S] * 3, abs=5)


def test_most_backlog_leaves_an_image_in_transfer_alone_unless_there_is_cause() -> None:
    queues = {"A": Queue(2, 1000, 1.0, None, sending=True), "B": Queue(3, 1900, 1.0)}
    assert brief(played(desk("most-backlog", A, B), queues)) == [("A", 10, 10, 300), ("B", 300, 330, 460)]
    queues["B"] = Queue(3, 2100, 1.0)
    assert brief(played(desk("most-backlog", A, B), queues))[:2] == [("A", 10, 10, 60), ("B", 60, 90, 460)]
    queues |= {"A": Queue(2, 1000, 1.0), "B": Queue(3, 1300, 1.0)}
    assert brief(played(desk("most-backlog", A, B), queues))[0] == ("A", 10, 10, 60), (
        "no image is interrupted"
    )


def test_a_satellite_that_has_nothing_gives_its_dish_away_within_seconds() -> None:
    made = desk("most-backlog", A, B)
    made.decide(10, {})
    queues = {"A": Queue(1, 1000, 1.0), "B": Queue(1, 900, 1.0)}
    assert not made.decide(60, queues).begun
    assert made.next_s(60) == 65
    decision = made.decide(65, queues | {"A": Queue()})
    assert [turn.satellite for turn in decision.begun] == ["B"]


def test_a_dish_is_not_taken_from_a_satellite_that_it_has_just_turned_to() -> None:
    made = desk("most-backlog", A, B)
    made.decide(10, {"A": Queue(1, 100, 1.0)})
    made.decide(60, {"A": Queue(1, 100, 1.0), "B": Queue(1, 900, 1.0)})
    queues = {"A": Queue(1, 9000, 1.0), "B": Queue(1, 900, 1.0)}
    assert not made.decide(95, queues).begun, "the link is up since 90 s"
    assert [turn.satellite for turn in made.decide(120, queues).begun] == ["A"]


def test_highest_value_looks_at_deadlines_among_equals() -> None:
    passes = PassInView("G", "A", 10, 300), PassInView("G", "B", 10, 300)
    queues = {"A": Queue(9, 9000, 1.0), "B": Queue(1, 10, 2.0)}
    assert played(desk("highest-value", *passes), queues)[0].satellite == "B"
    queues = {"A": Queue(9, 9000, 1.0), "B": Queue(1, 10, 1.0, deadline_s=400)}
    first = played(desk("highest-value", *passes), queues)[0]
    assert (first.satellite, first.why) == ("B", "an item of value 1 on board, due at 400 s")
    made = desk("highest-value", *passes)
    sent = {"A": Queue(1, 10, 1.0, sending=True), "B": Queue()}
    assert made.decide(10, sent).begun[0].satellite == "A"
    due = sent | {"B": Queue(1, 10, 1.0, deadline_s=90)}
    assert not made.decide(60, due).begun, "A is in mid-image"
    assert made.decide(65, due | {"A": Queue(1, 10, 1.0)}).begun[0].satellite == "B"


def test_a_satellite_holds_no_second_dish_while_another_waits() -> None:
    here, there = PassInView("G", "A", 0, 200), PassInView("H", "A", 100, 400)
    turns = played(desk("longest-pass", here, there, PassInView("H", "B", 90, 230)))
    assert [(turn.station, turn.satellite, turn.from_s) for turn in turns] == [
        ("G", "A", 0),
        ("H", "B", 90),
        ("H", "A", 200),  # the longer pass, as soon as G has lost it
    ]


def test_a_free_dish_goes_first_to_one_that_nobody_serves() -> None:
    here, there = PassInView("G", "A", 0, 200), PassInView("H", "A", 90, 400)
    turns = played(desk("longest-pass", here, there, PassInView("H", "B", 90, 230)))
    assert [(t.station, t.satellite) for t in turns if t.from_s == 90] == [("H", "B")]


def test_a_user_s_file_is_asked_and_its_faults_name_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = "from testbed import DishScheduler\nclass Scheduler(DishScheduler):\n    def score(self, one):\n"
    path.write_text(f"{text}        return one.satellite == 'B'\n")
    turns = played(desk("", A, B, scheduler=scheduler_named(str(path))))
    assert [turn.satellite for turn in turns] == ["A", "B"]
    path.write_text(f"{text}        return 1 / 0\n")
    made = desk("mine.py", A, B, scheduler=scheduler_named(str(path)))
    with pytest.raises(ScenarioError, match=r"scheduler mine\.py of G failed: ZeroDivisionError"):
        made.decide(10)
    path.write_text("class Scheduler: ...")
    with pytest.raises(ValueError, match=r"not a testbed\.DishScheduler"):
        scheduler_named(str(path))
    path.write_text("from testbed import DishScheduler\nclass Scheduler(DishScheduler): ...")
    with pytest.raises(ValueError, match=r"cannot be used: TypeError: .*abstract.*score"):
        scheduler_named(str(path))
    path.write_text("oops(")
    with pytest.raises(ValueError, match="cannot be used: SyntaxError"):
        scheduler_named(str(path))
    with pytest.raises(ValueError, match="did you mean longest-pass"):
        scheduler_named("longestpass")
    assert InView("A", "G", 5, 0, 10).reported == Queue()
