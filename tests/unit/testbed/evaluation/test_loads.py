"""Named loads of an evaluation, and the profiles of published compute times."""

from __future__ import annotations

import re

import pytest

from nodes.contract.evaluation import LOADS, published_profiles
from nodes.lab.evaluation.compute_times import ANSWER_TOKENS, ComputeTimes
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from nodes.profiles.profile import read_profile
from testbed.errors import ScenarioError
from testbed.evaluation.loads import ORBIT_S, make_loads, over_stations
from traces.utc import parse_utc

START = parse_utc("2018-01-20T08:00:00Z")


def test_every_load_has_contacts_and_captures_within_its_link() -> None:
    for case in make_loads(["orbit-1.4", "burst", "starlink"], "FLOCK 2P-1", START):
        (one,) = case.passes
        line = LinkForecast([ForecastRow(**row.model_dump()) for row in one.rows], one.end_s)
        assert case.name in LOADS
        assert 0 <= one.captures_s[0] <= one.captures_s[-1] < line.contacts[-1][1]
        aos_s = line.contacts[0][0]
        if case.name == "orbit-1.4":
            assert (case.load, one.end_s) == (1.4, 3 * ORBIT_S)
            assert len(line.contacts) >= 5, "several orbits and stations"
        elif case.name == "burst":
            assert one.captures_s[-1] - one.captures_s[0] == pytest.approx(30.0)
            assert one.captures_s[-1] == pytest.approx(aos_s)
        else:
            assert line.contacts == [(0.0, 600.0)], "a terminal keeps its carrier"
            assert len({row.down_bit_s for row in one.rows}) == 80


def test_one_station_at_a_time_has_the_satellite() -> None:
    contacts = over_stations("FLOCK 2P-1", START, ORBIT_S)
    times_s = [row.time_s for row in contacts.rows]
    assert times_s == sorted(set(times_s))
    assert all((row.down_bit_s > 0) == row.up for row in contacts.rows)
    with pytest.raises(ScenarioError, match="no contact in 60 s"):
        over_stations("FLOCK 2P-1", START, 60.0)


def test_published_times_name_their_source_and_what_is_derived() -> None:
    here = ComputeTimes(*([9.0] * 10))
    for name, path in published_profiles().items():
        profile = read_profile(path)
        assert profile.name == name
        assert profile.machine["source"] and profile.machine["derived"]
        assert profile.machine["estimate"].startswith("estimate: ")
        assert profile.energy is None or {"derived", "estimate"} & set(
            re.split(r"\W+", profile.energy.source)
        )
        on_ground = here.on_ground(profile)
        assert on_ground.whole_s == on_ground.regions_s == profile.answer_s(ANSWER_TOKENS)
        assert on_ground.see_s == 9.0
    board = read_profile(published_profiles()["orin-nano-2b-w4a16"])
    assert board.stage_s("vision") == 0.208
    assert ComputeTimes.of_profile(board, lambda: here).token_s == 0.0167
