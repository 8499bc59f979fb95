"""A scenario that cannot run faster than real time is refused in one line, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import ScenarioError
from testbed.run.speed import check_speed
from testbed.scenario.model import FIRST_AUTO_SPEED, RTT_ERROR_S, Scenario
from tests.support.made_up_profile import MADE_UP


def scenario(folder: Path, speed: float, satellite: dict[str, Any], station: dict[str, Any]) -> Scenario:
    (folder / "profile.json").write_text(json.dumps(MADE_UP))
    frame = {"frame": "f", "image": "f.png", "prompt": "?", "truth": "", "capture_s": 0}
    node = {"model": "m", "profile": folder / "profile.json"}
    return Scenario.model_validate(
        {
            "name": "s",
            "speed": speed,
            "satellites": [{"name": "S", "frames": [frame], **node, **satellite}],
            "stations": [{"name": "G", **node, **station}],
            "links": [{"satellite": "S", "station": "G", "follows": "t.csv"}],
        }
    )


@pytest.mark.parametrize(
    ("satellite", "station", "reason"),
    [
        ({"profile": None}, {}, "S has no profile"),
        ({"board": "orin"}, {}, "S is the board orin"),
        ({}, {"profile": None}, "G has no profile"),
        ({}, {"profile": None, "model": "openai:http://localhost:8000/v1"}, "G has a model behind a server"),
    ],
)
def test_a_node_whose_time_is_its_own_is_named(
    tmp_path: Path, satellite: dict[str, Any], station: dict[str, Any], reason: str
) -> None:
    check_speed(scenario(tmp_path, 1, satellite, station))
    with pytest.raises(ScenarioError, match=rf"^speed 20: {reason}.* or run at speed 1$"):
        check_speed(scenario(tmp_path, 20, satellite, station))


def test_time_is_skipped_with_a_board_and_not_hastened(tmp_path: Path) -> None:
    skipping = scenario(tmp_path, 1, {"board": "orin"}, {}).model_copy(update={"skip_idle": True})
    check_speed(skipping)
    with pytest.raises(ScenarioError, match=r"^speed 2: S is the board orin, which computes in real time"):
        check_speed(skipping.at_speed(2))


def test_an_automatic_speed_is_a_first_speed_that_may_change(tmp_path: Path) -> None:
    automatic = scenario(tmp_path, 1, {}, {}).at_speed("auto")
    assert (automatic.speed, automatic.adapt_speed) == (pytest.approx(1e-3 / RTT_ERROR_S), True)
    loose = automatic.model_copy(update={"link_error_bound_s": 0.1}).at_speed("auto")
    assert (loose.speed, loose.adapt_speed) == (FIRST_AUTO_SPEED, True)
    fixed = automatic.at_speed(20)
    assert (fixed.speed, fixed.adapt_speed) == (20.0, False)


def test_nodes_with_a_profile_may_run_ahead(tmp_path: Path) -> None:
    check_speed(scenario(tmp_path, 20, {}, {}))


@pytest.mark.parametrize("speed", [0.5, 0, -1, 1001, float("nan")])
def test_a_speed_that_cannot_be_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ScenarioError, match="speed: Input should be"):
        scenario(tmp_path, 1, {}, {}).at_speed(speed)


def test_answers_are_kept_only_where_a_profile_says_how_long_they_take(tmp_path: Path) -> None:
    def keeping(satellite: dict[str, Any], station: dict[str, Any]) -> Scenario:
        return scenario(tmp_path, 1, satellite, station).model_copy(update={"answers": tmp_path})

    check_speed(keeping({}, {}))
    check_speed(keeping({}, {"profile": None, "model": "openai:http://localhost:8000/v1"}))  # never kept
    with pytest.raises(ScenarioError, match=r"^answers: G has no profile, so that .*, or omit answers$"):
        check_speed(keeping({}, {"profile": None}))
