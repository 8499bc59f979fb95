"""The file of a profile, and its readers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes import profile as command
from nodes import satellite
from nodes.contract.config import ConfigError, GroundConfig
from nodes.contract.events import Ready
from nodes.contract.models.options import ModelOptions
from nodes.lab.evaluation.compute_times import ComputeTimes
from nodes.models import COMPACT
from nodes.profiles.profile import Profile, check_comparable, difference, read_profile
from nodes.runtime.program import check_model
from testbed.errors import ScenarioError
from testbed.results.troubles import troubles
from testbed.run.folder import RunFolder
from testbed.run.plan import RunPlan
from testbed.run.traces import link_trace
from testbed.scenario.file import load_scenario
from tests.support import ROOT
from tests.support.made_up_profile import MADE_UP
from tests.support.records import record


def written(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    content = copy.deepcopy(MADE_UP)
    change(content)
    path = folder / "profile.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p["stages"].pop("vision"), "missing stages: vision"),
        (lambda p: p["stages"].update(nap=p["stages"]["pack"]), "unknown stages: nap"),
        (lambda p: p["stages"]["vision"].update(p50_s=-1), "stages.vision.p50_s"),
        (lambda p: p.update(nmae="x"), "unknown field 'nmae'"),
        (lambda p: p.update(format="other"), "format"),
    ],
)
def test_a_file_that_is_no_profile_is_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    with pytest.raises(ConfigError, match="profile") as error:
        read_profile(written(tmp_path, change))
    assert expected in str(error.value) and "\n" not in str(error.value)


def profile_with(options: dict[str, Any]) -> Profile:
    return Profile.model_validate(MADE_UP | {"options": options})


def test_an_older_file_says_device_and_threads_alone() -> None:
    old = Profile.model_validate(MADE_UP | {"device": "cuda", "threads": 2})
    assert old.options == ModelOptions(device="cuda", model_threads=2)
    check_comparable(old, ModelOptions(max_pixels=1000))
    assert difference(old, ModelOptions(dtype="bfloat16")) is None
    assert Profile.model_validate_json(old.model_dump_json()) == old


def test_times_of_images_of_another_size_are_refused(tmp_path: Path) -> None:
    measured = ModelOptions(max_pixels=200_000).model_dump()
    path = written(tmp_path, lambda p: p.update(options=measured))
    node = {"name": "G", "model": str(COMPACT), "profile": path, "management": {"host": "h"}}
    node |= {"broker": {"host": "h"}, "inbox": tmp_path}
    check_model(GroundConfig.model_validate(node | {"max_pixels": 200_000}), path)
    with pytest.raises(
        ConfigError, match=r"max_pixels 200000, and the model runs with unset: .*; set max_pix"
    ):
        check_model(GroundConfig.model_validate(node), path)


def test_a_model_that_ran_otherwise_is_said() -> None:
    measured = ModelOptions(device="cuda", dtype="bfloat16", quantisation="nf4", model_threads=8).model_dump()
    said = difference(profile_with(measured), ModelOptions())
    assert said == "dtype bfloat16 there, float32 here; quantisation nf4 there, unset here"
    assert difference(profile_with(ModelOptions().model_dump()), ModelOptions(dtype="float32")) is None
    ready = Ready(model="m", parameters=1, load_s=1, warm_up_s=1, profile="orin", differs=said)
    (warning,) = troubles([record("S", ready)])
    assert warning.startswith("S: profile orin is of a model that ran otherwise (dtype bfloat16 there")


def test_one_format_serves_the_event_model_as_well(tmp_path: Path) -> None:
    here = ComputeTimes(*(float(number) for number in range(1, 11)))
    asked = []

    def measure() -> ComputeTimes:
        asked.append(1)
        return here

    times = ComputeTimes.of_profile(read_profile(written(tmp_path)), measure)
    assert (times.see_s, times.read_s, times.token_s) == (pytest.approx(0.12), 0.05, 0.01)
    assert (times.pack_s, times.reduce_s) == (0.04, 0.03)
    assert (times.whole_s, times.reduced_s, times.regions_s) == (7.0, 8.0, 9.0), "the ground's, measured here"
    assert times.reporting_s == 10.0, "the ground's as well"
    assert times.attend_s == 4.0, "an old profile does not hold it"
    assert len(asked) == 1
    whole = dict.fromkeys(("attend", "whole", "reduced", "regions", "pass_on"), MADE_UP["stages"]["pack"])
    ComputeTimes.of_profile(read_profile(written(tmp_path, lambda p: p["stages"].update(whole))), measure)
    assert len(asked) == 1, "nothing was missing"


def test_a_scenario_hands_a_profile_to_the_nodes_which_check_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = load_scenario(ROOT / "topologies/dove_pass.py")
    path = written(tmp_path)
    paced = scenario.satellites[0].model_copy(update={"profile": path})
    scenario = scenario.model_copy(update={"satellites": (paced,)})
    scenario.check_files()
    traces = {link.name: link_trace(scenario, link) for link in scenario.links}
    plan = RunPlan(scenario, traces, RunFolder.create(tmp_path, scenario.name), Path("/tmp/s"))  # noqa: S108
    plan.write_inputs()
    config = plan.config_path(paced.name)
    assert json.loads(config.read_text())["profile"] == str(path)
    assert "profile" not in plan.node_configs()["Svalbard"]
    assert satellite.main(["--config", str(config), "--check"]) == 0
    capsys.readouterr()
    path.write_text("{}")
    assert satellite.main(["--config", str(config), "--check"]) == 2
    assert "profile.json" in capsys.readouterr().err
    path.unlink()
    with pytest.raises(ScenarioError, match="no profile"):
        scenario.check_files()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert command.percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["./nowhere"], "nowhere"),
        ([str(COMPACT), "--data", "/nowhere"], "/nowhere"),
        ([str(COMPACT), "--repeats", "0"], "--repeats"),
        ([str(COMPACT), "--output", "/nowhere/p.json"], "/nowhere"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert command.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_this_machine_is_measured_with_the_model_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A Raspberry Pi's program that says 3 W: where no sensor is, its figures have to come from somewhere.
    program = tmp_path / "vcgencmd"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = get_throttled ]; then echo throttled=0x50000; exit; fi\n'
        "printf ' VDD_CORE_A current(7)=3.0A\\n VDD_CORE_V volt(15)=1.0V\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(command, "IDLE_S", 0.3)
    monkeypatch.setattr(command, "BETWEEN_S", 0.0)
    out = tmp_path / "here.json"
    arguments = [str(COMPACT), "--output", str(out), "--name", "here", "--repeats", "4", "--cold-starts", "1"]
    assert command.main([*arguments, "--threads", "1"]) == 0
    measured = read_profile(out)
    assert set(measured.stages) == {
        "cold_start", "preprocess", "vision", "prefill", "decode", "attend", "pack", "reduce"
    }  # fmt: skip
    for name, stage in measured.stages.items():
        assert 0 < stage.p50_s <= stage.p95_s, name
    assert measured.stages["cold_start"].p50_s > measured.answer_s(1), "a cold start holds an answer"
    assert measured.energy is not None and measured.energy.idle_w == pytest.approx(3.0)
    assert measured.energy.p50_j == pytest.approx(0.0, abs=1e-6), "it never took more than idling"
    assert measured.throttled == ["under-voltage", "throttled"]
    assert measured.machine["architecture"] and measured.parameters > 1_000_000
    assert "vcgencmd pmic_read_adc" in capsys.readouterr().out


def test_a_board_without_a_sensor_says_so() -> None:
    text = "\n".join(command.lines(Profile.model_validate(MADE_UP | {"no_energy": "no power sensor: none"})))
    assert "not measured: no power sensor" in text and "vision" in text
