"""What the solar panels of a scenario's satellites give."""

from __future__ import annotations

import pytest

from testbed import load_scenario
from testbed.scenario.sunlight import sunlights
from tests.support import ROOT
from tests.support.played_link import pass_like_trace
from traces import FLOCK_TLE, eclipses, find_satellite, read_elements


def test_the_panels_give_nothing_in_eclipse_until_the_run_can_be_over() -> None:
    scenario = load_scenario(ROOT / "topologies/six_u_day.py")
    name = scenario.satellites[0].name
    orbit = scenario.orbit_of(name)
    assert orbit is not None
    length_s = 6000.0
    sunlight = sunlights(scenario, {"link": pass_like_trace(1e6, length_s)})[name]
    dove = find_satellite(read_elements(FLOCK_TLE), name, at_utc=orbit.start)
    dark = eclipses(dove, orbit.start, length_s + scenario.grace_s)
    assert dark
    assert all(sunlight.energy_j(*span) == pytest.approx(0, abs=1e-6) for span in dark)
    begins_s = [row.time_s for row in sunlight.rows if not row.sunlit]
    assert min(begins_s) == pytest.approx(dark[0][0])
    assert 5 < sunlight.energy_j(0, length_s) / length_s < 20  # 12.9 W over the day
    assert max(row.time_s for row in sunlight.rows) > length_s - 60
