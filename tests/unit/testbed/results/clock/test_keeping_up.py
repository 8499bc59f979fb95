"""A run ahead of real time says what that cost, in scenario time."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from nodes.clocks.timescale import Timescale
from testbed.measure.fidelity import LinkFidelity, Sample
from testbed.results.clock.answer_lateness import AnswerLateness
from testbed.results.clock.keeping_up import Acceleration, acceleration, in_scenario_time
from testbed.results.latency import FrameResult
from testbed.results.nodes.pace import NodePace
from testbed.results.results import Results
from testbed.results.table import results_table
from tests.support.records import captured, record

LINK = LinkFidelity(
    link="S - G",
    shaper="recording",
    trace="t.csv",
    clock_bound_s=0.0,
    probe_load_bit_s=0.0,
    rtt=(Sample(1.0, 0.020, 0.022),),
    rtt_behind_traffic=0,
    down_rate=(Sample(1.0, 1e6, 0.98e6),),
    up_rate=(),
)
FRAME = FrameResult("f", "S", "?", "a", "a", 0.0, "a", "ground", None, "a", 0, None, None)
PACE = NodePace("S", "orin", answers=4, late=0, late_s=0.01)


def shown(results: Results) -> list[str]:
    console = Console(width=180, record=True, file=StringIO())
    console.print(results_table(results, 180))
    return console.export_text().splitlines()


def of(found: Acceleration | None) -> Acceleration:
    assert found is not None
    return found


def test_speed_errors_and_keeping_up_stand_at_the_top() -> None:
    found = of(acceleration(20, [LINK], [0.010] * 99 + [0.200], [PACE]))
    assert found.kept_up and found.warning() is None
    results = Results("a test", "recording", (FRAME,), (LINK,), 1.0, acceleration=found)
    line = next(line for line in shown(replace(results, links=())) if line.startswith("speed 20"))
    assert "this machine kept up" in line
    assert "RTT error p50 2.00 ms, p99 2.00 ms" in line and "late by p50 10.0 ms, p99 11.9 ms" in line


@pytest.mark.parametrize(
    ("link", "lateness_s", "late_s", "said"),
    [
        (LINK, [1.5] * 3, 0.0, "1 % of the links' changes were more than 1.50 s late"),
        (replace(LINK, down_rate=(Sample(1.0, 1e6, 0.7e6),)), [0.01], 0.0, "a link carried 30% less"),
        (LINK, [0.01], 0.6, "6.0% of the answers' latency was lateness"),
    ],
)
def test_a_machine_that_does_not_keep_up_is_a_warning(
    link: LinkFidelity, lateness_s: list[float], late_s: float, said: str
) -> None:
    found = of(acceleration(20, [link], lateness_s, [PACE], [AnswerLateness(late_s, 10.0)]))
    assert said in str(found.warning()) and "lower --speed" in str(found.warning())
    assert found.to_json()["kept_up"] is False
    assert found.warning() in Results("a test", "recording", (FRAME,), (), 1.0, acceleration=found).warnings()


def test_real_time_has_nothing_to_say() -> None:
    assert acceleration(1, [LINK], [1.0], [replace(PACE, late=4)]) is None


def test_stamps_are_as_if_time_had_run_as_fast_as_the_clock() -> None:
    events = [record("S", captured(), at_s=1000.0 + after_s) for after_s in (-0.5, 0.0, 1.5)]
    assert in_scenario_time(events, Timescale.starting(1000.0)) is events
    moved = in_scenario_time(events, Timescale.starting(1000.0, 20))
    assert [event.monotonic_s for event in moved] == [990.0, 1000.0, 1030.0]


def test_of_many_links_that_were_not_measured_the_warning_has_the_number() -> None:
    def warnings(unmeasured: int) -> list[str]:
        links = [replace(LINK, link=f"L{number}", rtt=()) for number in range(unmeasured)]
        return Results("a test", "recording", (FRAME,), (LINK, *links), 1.0).warnings()

    assert warnings(2) == [f"link L{n} was not measured: its figures are the configured ones" for n in (0, 1)]
    assert warnings(9) == ["9 of 10 links were not measured: their figures are the configured ones"]


def test_the_first_lines_say_how_late_the_answers_were() -> None:
    late = [AnswerLateness(0.1, 100.0)] * 99 + [AnswerLateness(4.0, 100.0)]
    found = of(acceleration(20, [LINK], [0.010], [PACE], late))
    assert found.kept_up
    assert found.line().endswith("answers late by p50 0.100 s, p99 0.139 s, 0.1% of their latency")
