"""Profiles and power systems that a scenario takes by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from nodes.contract.evaluation import PROFILE_ALIASES, profile_path, published_profiles
from nodes.contract.power.presets import POWER_PRESETS
from nodes.data import FIRST_LIGHT
from testbed.scenario.file import load_scenario
from testbed.scenario.model import GroundStation, Link, Orbit, Satellite, Scenario, read_frames, to_json
from traces.orbits.tle import FLOCK_TLE
from traces.utc import parse_utc

ORBIT = Orbit(elements=FLOCK_TLE, start=parse_utc("2018-01-20T00:00:00Z"), length_s=60)


def satellite(**fields: object) -> Satellite:
    values = {"name": "S", "model": "compact", "frames": read_frames(FIRST_LIGHT, [1.0])}
    return Satellite.model_validate(values | fields)


def scenario(flown: Satellite, follows: Orbit | Path) -> Scenario:
    return Scenario(
        name="tiny",
        satellites=(flown,),
        stations=(GroundStation(name="G", model="regular"),),
        links=(Link(satellite="S", station="G", follows=follows),),
    )


def test_a_shipped_profile_is_found_by_its_name() -> None:
    shipped = published_profiles()["orin-nx-2b-fp16"]
    assert satellite(profile="orin-nx-2b-fp16").profile == shipped
    station = GroundStation.model_validate({"name": "G", "profile": str(shipped)})
    assert station.profile == shipped
    own = GroundStation.model_validate({"name": "G", "profile": "own.json"})
    assert own.profile == Path("own.json").absolute()
    with pytest.raises(ValidationError, match=r"no profile is called 'orin-nx-2b'; .*did you mean orin-nx"):
        satellite(profile="orin-nx-2b")


def test_a_shipped_profile_is_found_by_machine_and_size_of_model() -> None:
    shipped = published_profiles()
    assert satellite(profile="jetson-orin-nx-2b").profile == shipped["orin-nx-2b-fp16"]
    assert profile_path("rtx-3090-7b") == shipped["rtx3090-7b-bf16"]
    assert not set(PROFILE_ALIASES) & set(shipped)
    assert set(PROFILE_ALIASES.values()) < set(shipped)


def test_profiles_and_power_systems_are_found_in_json_too(tmp_path: Path) -> None:
    whole = scenario(satellite(profile="orin-nx-2b-fp16", power="6u"), ORBIT)
    path = tmp_path / "scenario.json"
    path.write_text(to_json(whole))
    assert load_scenario(path) == whole
    by_name = json.loads(to_json(whole))
    by_name["satellites"][0] |= {"profile": "orin-nx-2b-fp16", "power": "6u"}
    path.write_text(json.dumps(by_name))
    assert load_scenario(path) == whole


def test_a_power_system_is_found_by_its_name_and_needs_an_orbit(tmp_path: Path) -> None:
    flown = satellite(power="6u")
    assert flown.power == POWER_PRESETS["6u"]
    with pytest.raises(ValidationError, match="satellite 'S' has power, and no link of it follows an orbit"):
        scenario(flown, tmp_path / "pass.csv")
    whole = scenario(flown, ORBIT)
    assert whole.orbit_of("S") == ORBIT
    path = tmp_path / "scenario.json"
    path.write_text(to_json(whole))
    assert load_scenario(path) == whole
