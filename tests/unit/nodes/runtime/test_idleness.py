"""What a node has to do is told when it changes, and answered with the version of its activities."""

from __future__ import annotations

import math
import queue

from nodes.contract import messages
from nodes.runtime.idleness import Idleness


def test_the_earliest_part_counts_and_a_busy_one_before_all() -> None:
    due_s = {"camera": 30.0, "downlink": math.inf}
    idleness = Idleness()
    idleness.watch(lambda: due_s["camera"])
    idleness.watch(lambda: due_s["downlink"])
    assert idleness.look() == messages.Idleness(version=0, busy=False, next_s=30.0)
    due_s["camera"] = math.inf
    idleness.changed()
    assert idleness.look(7) == messages.Idleness(version=1, busy=False, next_s=None, answers=7)
    due_s["downlink"] = -math.inf
    assert idleness.look().busy


def test_a_part_that_changes_during_the_look_is_looked_at_again() -> None:
    idleness, due_s = Idleness(), iter([math.inf, 5.0])

    def changing() -> float:
        value = next(due_s)
        if value == math.inf:
            idleness.changed()
        return value

    idleness.watch(changing)
    found = idleness.look()
    assert (found.version, found.next_s) == (1, 5.0)


def test_news_are_told_once_and_questions_always() -> None:
    told = queue.SimpleQueue[messages.Idleness]()
    due_s = [math.inf]
    idleness = Idleness()
    idleness.watch(lambda: due_s[0])
    idleness.tell(told.put, lambda: 3)
    try:
        first = told.get(timeout=2.0)
        assert (first.busy, first.changes, first.answers) == (False, 3, None)
        due_s[0] = -math.inf
        idleness.changed()
        assert told.get(timeout=2.0).busy
        idleness.changed()  # still busy: nothing new
        idleness.ask(4)
        answer = told.get(timeout=2.0)
        assert (answer.busy, answer.version, answer.answers) == (True, 2, 4)
        due_s[0] = 9.0
        idleness.changed()
        assert told.get(timeout=2.0).next_s == 9.0
        assert told.empty()
    finally:
        idleness.stop()
