"""A plan of dishes cuts the traces, and load, capacity and scenario files know of it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from testbed.errors import ScenarioError
from testbed.run.offered_load import offered_load
from testbed.scenario.dishes.plan import dish_plan
from testbed.scenario.file import load_scenario
from testbed.scenario.model import Frame, GroundStation, Link, Satellite, Scenario, to_json
from traces.trace import Trace, TraceHeader
from traces.trace_file import write_trace


def passing(aos_s: float, los_s: float, end_s: float = 500) -> Trace:
    time_s = np.array([0.0, aos_s, los_s])
    up, rate, zero = np.array([False, True, False]), np.full(3, 8e3), np.zeros(3)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(header, time_s, up, up, rate, rate, zero, zero, zero, zero, end_s)


TRACES = {"A - G": passing(10, 300), "B - G": passing(60, 460)}


def scenario(folder: Path, of_all: str = "longest-pass", **station: Any) -> Scenario:
    Image.new("RGB", (1, 1)).save(folder / "f.jpg")
    for name, trace in TRACES.items():
        write_trace(trace, folder / f"{name[0]}.csv")
    frames = {
        name: (Frame(frame=f"f{name}", image=folder / "f.jpg", prompt="?", truth="yes", capture_s=1.0),)
        for name in "AB"
    }
    return Scenario(
        name="tiny",
        satellites=tuple(Satellite(name=name, model="compact", frames=frames[name]) for name in "AB"),
        stations=(GroundStation(name="G", model="regular", **station),),
        links=tuple(Link(satellite=name, station="G", follows=folder / f"{name}.csv") for name in "AB"),
        scheduler=of_all,
    )


def test_traces_are_cut_to_the_plan(tmp_path: Path) -> None:
    plan = dish_plan(scenario(tmp_path, dishes=1), TRACES)
    assert plan is not None and not plan.live
    contacts = {
        name: [(c.aos_s, c.los_s) for c in trace.contacts("both")] for name, trace in plan.traces.items()
    }
    assert contacts == {"A - G": [(10, 60)], "B - G": [(90, 460)]}
    assert [turn.satellite for turn in plan.turns] == ["A", "B"]
    note = "served by a dish of G as longest-pass gave it"
    assert plan.traces["B - G"].header.notes == (note,)


@pytest.mark.parametrize("dishes", [None, 2, 7])
def test_enough_dishes_need_no_plan(tmp_path: Path, dishes: int | None) -> None:
    assert dish_plan(scenario(tmp_path, dishes=dishes), TRACES) is None


def test_the_offered_load_counts_what_dishes_leave(tmp_path: Path) -> None:
    whole = offered_load(scenario(tmp_path), TRACES)
    assert "0.29 MB that its links carry" in whole[0] and "0.4 MB" in whole[1]
    limited = scenario(tmp_path, dishes=1)
    cut = offered_load(limited, TRACES, dish_plan(limited, TRACES))
    assert "0.05 MB that its links carry" in cut[0] and "0.37 MB" in cut[1]
    lively = scenario(tmp_path, "most-backlog", dishes=1)
    plan = dish_plan(lively, TRACES)
    assert plan is not None and plan.live
    assert offered_load(lively, TRACES, plan) == [
        *cut,
        "The run decides who gets a dish; these loads are those with longest-pass.",
    ]


def test_a_satellite_that_gets_no_dish_is_told_before_the_run(tmp_path: Path) -> None:
    limited = scenario(tmp_path, dishes=1)
    traces = TRACES | {"A - G": passing(60, 100)}
    lines = offered_load(limited, traces, dish_plan(limited, traces))
    assert lines[0].endswith("and its links carry nothing after the first: none can come down")


def test_a_station_s_own_scheduler_goes_first(tmp_path: Path) -> None:
    own = scenario(tmp_path, "most-backlog", dishes=1, scheduler="round-robin", slew_s=0)
    plan = dish_plan(own, TRACES)
    assert plan is not None and not plan.live and len(plan.turns) > 2


def test_invalid_dishes_and_schedulers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="dishes"):
        scenario(tmp_path, dishes=0)
    with pytest.raises(ValidationError, match="did you mean most-backlog"):
        scenario(tmp_path, "most-backlogs")
    missing = scenario(tmp_path, str(tmp_path / "none.py"), dishes=1)
    with pytest.raises(ScenarioError, match=r"station G: scheduler file .*none\.py does not exist"):
        dish_plan(missing, TRACES)


def test_a_scenario_of_data_runs_no_scheduler_s_file(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("raise SystemExit('it ran')")
    for number, made in enumerate(
        (scenario(tmp_path, str(code)), scenario(tmp_path, dishes=1, scheduler=str(code)))
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(to_json(made))
        with pytest.raises(ScenarioError, match=r"mine\.py is a program.*--allow-code"):
            load_scenario(path)
        assert load_scenario(path, allow_code=True) == made


def test_routes_need_a_plan_that_is_known_before_the_run(tmp_path: Path) -> None:
    lively = scenario(tmp_path, "most-backlog", dishes=1).model_dump()
    routed = Scenario.model_validate(
        lively | {"mission_control": {"name": "Control", "model": "regular", "place": "0,0,0"}}
    )
    with pytest.raises(ScenarioError, match="most-backlog decides during the run, but routes to Control are"):
        dish_plan(routed, TRACES)
