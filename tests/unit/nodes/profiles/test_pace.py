"""Answers take exactly the time of a profile, or report their lateness."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from nodes.clocks.changing_scale import ChangingScale
from nodes.clocks.timescale import Piece, Timescale
from nodes.contract.events import EventRecord, Paced
from nodes.onboard.confidence import END
from nodes.onboard.stages import Stage
from nodes.profiles.pace import Pace, further_tokens
from nodes.profiles.profile import Profile
from nodes.vlm.answer import Answer, Timings
from testbed.results.nodes.pace import node_paces
from tests.support.made_up_profile import MADE_UP
from tests.support.nodes.ends import Recorder
from tests.support.records import record, started
from tests.support.starved import Starvation

PROFILE = Profile.model_validate(MADE_UP)


def answer(tokens: int) -> Answer:
    return Answer("two", tuple(range(tokens)), (-0.1,) * tokens, Timings(0.001, 0.002, 0.003, 0.004))


def test_an_answer_is_held_until_its_time_and_carries_the_profiles_stages() -> None:
    report = Recorder()
    pace = Pace(PROFILE, report, max_new_tokens=8)
    late_s = []
    with Starvation() as starvation:
        for tokens in (1, 3):
            begin_s = time.monotonic()
            work = pace.begin("f1", begin_s)
            held = work.answered(answer(tokens))
            late_s.append(time.monotonic() - begin_s - (0.17 + 0.01 * tokens))
            work.tell()
            assert held.timings == Timings(0.02, 0.10, 0.05, pytest.approx(0.01 * tokens))
            assert (held.text, held.token_ids) == ("two", answer(tokens).token_ids)
    assert min(late_s) >= 0
    assert max(late_s) < 1e-3 or starvation.starved
    first, _ = report.of("paced", frame="f1", profile="made-up")
    assert first["profile_s"] == pytest.approx(0.18) and first["computed_s"] < 0.01


def test_a_machine_that_is_hot_takes_longer_from_then_on() -> None:
    report = Recorder()
    pace = Pace(PROFILE, report, max_new_tokens=8)
    work = pace.begin("f1", time.monotonic() - 10.0)  # nothing has to be waited for
    work.seen()  # 0.12 s
    pace.slowdown = lambda: 2.0
    work.answered(answer(3))  # twice 0.05 s, and three further tokens of twice 0.01 s
    work.tell()
    (event,) = report.of("paced")
    assert event["profile_s"] == pytest.approx(0.12 + 2 * (0.05 + 0.03))
    assert work.timings() == Timings(0.02, 0.10, 0.10, pytest.approx(0.06))


def test_time_without_power_is_no_time_of_the_work() -> None:
    report = Recorder()
    begin_s = time.monotonic() - 10.0
    work = Pace(PROFILE, report, max_new_tokens=8).begin("f1", begin_s)
    work.rested(begin_s + 1.0, begin_s + 9.0)
    work.answered(answer(1))
    work.tell()
    (event,) = report.of("paced")
    assert event["computed_s"] == pytest.approx(2.0, abs=0.05)
    assert event["late_s"] == pytest.approx(2.0 - 0.18, abs=0.05)


def test_a_machine_that_is_slower_than_the_profile_is_marked_and_not_made_slower_still() -> None:
    report = Recorder()
    begin_s = time.monotonic() - 1.0  # computed for a second
    called_s = time.monotonic()
    work = Pace(PROFILE, report, max_new_tokens=8).begin("f1", begin_s)
    work.answered(answer(1))
    work.tell()
    assert time.monotonic() - called_s < 0.05
    (event,) = report.of("paced")
    assert event["late_s"] == pytest.approx(1.0 - 0.18, abs=0.05)
    (pace,) = node_paces(EventRecord.from_json({**e, "node": "FLOCK"}) for e in report.events)
    assert (pace.answers, pace.late) == (1, 1)
    assert "too slow" in str(pace.warning()) and "made-up" in str(pace.warning())


def test_answers_in_time_give_no_warning_and_other_nodes_no_pace() -> None:
    paced = Paced(frame="f", profile="p", profile_s=0.1, computed_s=0.1, late_s=2e-4)
    (pace,) = node_paces([record("S", paced), record("G", started())])
    assert pace.node == "S" and pace.warning() is None


def test_stages_are_held_one_by_one_and_what_is_never_reached_costs_nothing() -> None:
    report = Recorder()
    begin_s = time.monotonic()
    work = Pace(PROFILE, report, max_new_tokens=8).begin("f1", begin_s)
    work.tell()
    assert not report.events, "the model was not asked"
    with Starvation() as starvation:
        reached_s = []
        for stage, tokens in ((0, 0), (1, 1), (END, 3)):
            work.stage(Stage(stage, np.zeros(1), (-0.1,) * tokens))
            reached_s.append(time.monotonic() - begin_s)
            if stage == 0:
                assert work.timings() == Timings(0.02, 0.10, 0.0, 0.0)
        work.message("reduced")
        assert time.monotonic() - begin_s >= 0.23
        work.tell()
    assert reached_s == pytest.approx([0.12, 0.17, 0.20], abs=5e-3) or starvation.starved
    assert all(s >= due_s for s, due_s in zip(reached_s, (0.12, 0.17, 0.20), strict=True))
    (event,) = report.of("paced", frame="f1")
    assert event["profile_s"] == pytest.approx(0.23)
    assert event["computed_s"] < 0.05 or starvation.starved


class FollowedScale(ChangingScale):
    """Scenario time as a node's management plane gives it."""

    def scenario_s(self, monotonic_s: float) -> float:
        return self.scale.at(monotonic_s)

    def speed(self) -> float:
        return self.scale.speed

    def wait_until(self, time_s: float) -> bool:  # type: ignore[override]
        return super().wait_until(time_s, lambda: False)


def test_a_message_that_the_profile_does_not_know_takes_as_long_as_here() -> None:
    report = Recorder()
    work = Pace(PROFILE, report, max_new_tokens=8).begin("f1", time.monotonic())
    with Starvation() as starvation:
        work.seen()
        time.sleep(0.05)  # finds regions, of which this profile says nothing
        work.message("regions")
        work.tell()
    (event,) = report.of("paced")
    assert event["profile_s"] >= 0.17
    assert (event["profile_s"] < 0.2 and event["late_s"] < 0.01) or starvation.starved


@pytest.mark.parametrize(
    ("tokens", "most", "further"), [(0, 8, 0), (1, 8, 1), (7, 8, 7), (8, 8, 7), (1, 1, 0)]
)
def test_the_token_that_ends_an_answer_costs_as_well(tokens: int, most: int, further: int) -> None:
    assert further_tokens(tokens, most) == further


def test_where_time_runs_faster_a_machine_has_less_time_and_says_so_in_scenario_time() -> None:
    report = Recorder()
    pace = Pace(PROFILE, report, max_new_tokens=8, clock=FollowedScale(Timescale.starting(0.0, 4.0)))
    with Starvation() as starvation:
        begin_s = time.monotonic()
        work = pace.begin("f1", begin_s)
        held = work.answered(answer(1))
        took_s = time.monotonic() - begin_s
        work.tell()
    assert took_s >= 0.18 / 4
    assert took_s < 0.18 / 4 + 1e-3 or starvation.starved
    assert held.timings == Timings(0.02, 0.10, 0.05, pytest.approx(0.01))
    late = pace.begin("f2", time.monotonic() - 1.0)
    late.answered(answer(1))
    late.tell()
    on_time, event = report.of("paced")
    assert on_time["profile_s"] == pytest.approx(0.18)
    assert event["late_s"] == pytest.approx(4.0 - 0.18, abs=0.2)
    assert event["computed_s"] == pytest.approx(4.0, abs=0.2)


def test_a_jump_ends_a_delay_and_times_are_of_scenario_time() -> None:
    report, holds = Recorder(), list[float | None]()
    begin_s = time.monotonic()
    clock = FollowedScale(Timescale(Piece(begin_s, 1000.0, 1.0)))
    vision = PROFILE.stages["vision"].model_copy(update={"p50_s": 600.0})
    slow = PROFILE.model_copy(update={"stages": PROFILE.stages | {"vision": vision}})
    work = Pace(slow, report, max_new_tokens=8, clock=clock, on_hold=holds.append).begin("f1", begin_s)
    jump = threading.Timer(0.05, lambda: clock.add(Piece(time.monotonic(), 1600.0, 1.0)))
    jump.start()
    with Starvation() as starvation:
        work.answered(answer(1))
    took_s = time.monotonic() - begin_s
    work.tell()
    jump.join()
    (event,) = report.of("paced")
    assert holds == [pytest.approx(1600.08), None]
    assert took_s > 0.1 and (took_s < 0.3 or starvation.starved)
    assert event["profile_s"] == pytest.approx(600.08)
    assert event["computed_s"] < 0.05
    assert event["late_s"] < 0.1 or starvation.starved
