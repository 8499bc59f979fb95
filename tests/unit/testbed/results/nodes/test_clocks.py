"""Clock bounds, from events to results."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.contract.events import ClockCompared, Event, EventRecord
from testbed.results.nodes.clocks import clock_bound_s, node_clocks
from tests.support import records as make
from tests.support.records import record


def event(node: str, within_s: float | None = None, event: Event | None = None) -> EventRecord:
    own = {} if within_s is None else {"clock_bound_s": within_s, "own_monotonic_s": 1.0}
    return record(node, event or make.started(), **own)


def clock(node: str, bound_s: float, **fields: Any) -> EventRecord:
    figures = {
        "offset_s": -3.7, "bound_s": bound_s, "drift_ppm": -50.0, "drift_bound_ppm": 12.0,
        "round_trip_s": 2 * bound_s, "exchanges": 10, "breaks": 0, "chrony": "chronyc is not installed",
    }  # fmt: skip
    return event(node, bound_s, ClockCompared(**(figures | fields)))


def test_bounds_of_two_nodes_add_up_and_the_runs_own_clock_adds_nothing() -> None:
    assert clock_bound_s([event("Svalbard"), event("sat")]) == 0.0
    assert clock_bound_s([event("board", 0.001), event("board", 0.003), event("Svalbard")]) == 0.003
    several = [event("a", 0.001), event("b", 0.002), event("c", 0.004)]
    assert clock_bound_s(several) == pytest.approx(0.006), "a time is between two of them"


def test_the_last_comparison_counts_and_a_clock_that_was_set_is_warned_of() -> None:
    events = [
        clock("board", 0.002),
        event("board", 0.004),
        event("Svalbard"),
        clock("board", 0.001, breaks=1),
    ]
    (found,) = node_clocks(events)
    assert (found.bound_s, found.worst_bound_s, found.breaks) == (0.001, 0.004, 1)
    assert "+3.700000 s" in found.line() and "1.000 ms" in found.line() and "not installed" in found.line()
    assert "set or slewed" in str(found.warning())
    assert node_clocks([event("Svalbard")]) == ()


def test_what_chrony_says_is_told() -> None:
    following = {
        "reference": "192.168.0.1", "stratum": 3, "synchronised": True, "bound_s": 0.000_4,
        "frequency_ppm": -12.3, "skew_ppm": 0.1,
    }  # fmt: skip
    (found,) = node_clocks([clock("board", 0.001, chrony=following)])
    assert "chrony follows 192.168.0.1, within 0.400 ms" in found.line() and found.warning() is None
    (alone,) = node_clocks([clock("board", 0.001, chrony=following | {"bound_s": None})])
    assert "follows no source" in alone.line()
