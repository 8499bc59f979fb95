"""Records of probes in scenario time that jumps and changes its speed."""

from __future__ import annotations

from nodes.clocks.timescale import Piece, Timescale
from testbed.measure.scenario_time import in_scenario_time, is_comparable

SCALE = Timescale(Piece(100.0, 0.0, 10.0), Piece(101.0, 500.0, 10.0), Piece(102.0, 510.0, 2.0))


def test_a_record_has_the_speed_of_its_moment() -> None:
    for arrived_s, speed, time_s in ((100.5, 10.0, 5.0), (101.5, 10.0, 505.0), (102.5, 2.0, 511.0)):
        record = {"kind": "rtt", "monotonic_s": arrived_s, "rtt_s": 0.01}
        moved = in_scenario_time(record, SCALE)
        assert moved["rtt_s"] == 0.01 * speed
        assert moved["monotonic_s"] == 100.0 + time_s


def test_what_was_under_way_during_a_change_is_not_compared() -> None:
    def rtt(arrived_s: float) -> dict[str, float]:
        return {"monotonic_s": arrived_s, "rtt_s": 0.02, "turnaround_s": 0.01}

    assert [is_comparable(rtt(s), SCALE) for s in (100.9, 101.029, 101.031, 102.01)] == [
        True,
        False,
        True,
        False,
    ]
    assert not is_comparable({"monotonic_s": 101.01, "there_s": 0.02}, SCALE)
    assert is_comparable({"monotonic_s": 101.0}, SCALE)  # a probe that was never answered
    assert is_comparable(rtt(101.01), Timescale.starting(100.0))
