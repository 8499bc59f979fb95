"""How scenario time passed, from the events of jumps and speeds."""

from __future__ import annotations

import pytest

from nodes.contract.events import RUN, SkippingEnded, SpeedChanged, TimeJumped
from testbed.results.clock.passage import LISTED_MAX, Passage, duration_text, passage
from tests.support.records import record


def test_jumps_and_speeds_are_told_in_one_line() -> None:
    events = [
        record(RUN, TimeJumped(from_s=10.0, to_s=7200.0), 5.0, time_s=7200.0),
        record(RUN, SpeedChanged(speed=14.0, before=20.0, reason="late"), 6.0, time_s=7210.0),
        record(RUN, TimeJumped(from_s=7300.0, to_s=7310.0), 7.0, time_s=7310.0),
    ]
    found = passage(events, speed=20.0, scenario_s=7400.0, real_s=20.0)
    assert found.line() == (
        "2 h 3 min of scenario time in 20 s: 370 times as fast as real time; 2 jumps over 2 h 0 min of idle "
        "time; speed 14 to 20, changed 1 times"
    )
    assert found.warning() is None
    values = found.to_json()
    assert (values["jumps"], values["skipped_s"], values["speed_up"]) == (2, 7200.0, 370.0)
    assert values["speeds"] == ((0.0, 20.0), (7210.0, 14.0))


def test_an_early_end_of_skipping_is_a_warning() -> None:
    ended = record(RUN, SkippingEnded(reason="dove did not answer"), 5.0)
    found = passage([ended], speed=1.0, scenario_s=10.0, real_s=10.0)
    assert found.warning() == "idle time was no longer skipped: dove did not answer"


def test_of_very_many_jumps_the_longest_are_listed_in_order() -> None:
    jumps_s = tuple((10.0 * k, 10.0 * k + 1 + k % 7) for k in range(LISTED_MAX * 3 // 2))
    listed = Passage(1e5, 1e3, jumps_s).listed
    assert len(listed) == LISTED_MAX and listed == sorted(listed)
    assert min(to_s - from_s for from_s, to_s in listed) >= 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.2, "41 s"), (119, "119 s"), (600, "10 min"), (7260, "2 h 1 min")]
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
