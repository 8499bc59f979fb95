"""`spaceverse plan` of every scenario that ships with the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.main import main
from testbed.planning.drawing import figure_of
from testbed.planning.plan import Plan, plan_of
from testbed.scenario.faults import LinkCut
from testbed.scenario.file import load_scenario
from testbed.scenario.part import part_of
from tests.support import ROOT

PART_S = {"dove_day": (25_000, 29_000)}  # a day has a thousand contacts


def recording(folder: Path) -> Path:
    """Write a minute of delays, as `topologies/starlink_replay.py` reads it."""
    path = folder / "starlink.csv"
    rows = [f"{1705744800 + second}000000000,40.5,20.5,20" for second in range(70)]
    path.write_text("\n".join(["timestamp,rtt,uplink,downlink", *rows]) + "\n")
    return path


def planned(name: str) -> Plan:
    scenario = load_scenario(ROOT / f"topologies/{name}.py")
    return plan_of(part_of(scenario, *PART_S[name]) if name in PART_S else scenario)


SCENARIOS = sorted(
    path.stem for path in (ROOT / "topologies").glob("*.py") if "def scenario(" in path.read_text()
)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_topology_has_a_plan_and_a_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARLINK_RECORDING", str(recording(tmp_path)))
    plan = planned(name)
    assert [load.satellite for load in plan.loads] == [s.name for s in plan.scenario.satellites]
    assert [link.name for link in plan.links] == [link.name for link in plan.scenario.sky_links]
    for load in plan.loads:
        assert load.offered_bytes == sum(
            frame.image.stat().st_size for frame in plan.scenario.satellite(load.satellite).frames
        )
        assert load.backlog.most_bytes <= load.offered_bytes
    assert any(load.carried_bytes for load in plan.loads)
    axes = figure_of(plan).get_axes()
    assert len(axes) == (3 if plan.tracks else 2)
    assert bool(plan.tracks) == (name != "starlink_replay")
    json.dumps(plan.to_json(), allow_nan=False)


def test_contacts_sum_up_to_the_capacity_of_their_link() -> None:
    for link in planned("dove_fleet").to_json()["links"]:
        assert sum(contact["carried_bytes"] for contact in link["contacts"]) == pytest.approx(
            link["carried_bytes"]
        )


def test_faults_of_the_scenario_are_planned_with() -> None:
    whole = load_scenario(ROOT / "topologies/dove_pass.py")
    cut = LinkCut(at_s=60, until_s=100, target=whole.links[0].name)
    broken = whole.model_copy(update={"faults": (cut,)})
    loads = [plan_of(scenario).loads[0].carried_bytes for scenario in (whole, broken)]
    assert loads[0] - loads[1] == pytest.approx(40 * 30e3 / 8)  # the pass is capped at 30 kbit/s


def test_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plan", str(ROOT / "topologies/dove_fleet.py"), "--contacts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["FLOCK", "2P-12"] for line in lines)
    assert sum("FLOCK 2P-12 - Tromso" in line for line in lines) == 2  # its link, and its contact


def test_a_plan_is_drawn_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "plan.svg"
    assert main(["plan", str(ROOT / "topologies/dove_pass.py"), "-o", str(picture), "--json"]) == 0
    assert picture.read_text().startswith("<?xml")
    assert json.loads(capsys.readouterr().out)["satellites"][0]["images"] == 16
    assert main(["plan", str(ROOT / "topologies/dove_pass.py"), "-o", str(tmp_path / "plan.txt")]) == 2


def test_a_picture_on_standard_output_is_alone_there(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["plan", str(ROOT / "topologies/dove_pass.py"), "-o", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert out.startswith(b"\x89PNG")
    assert b"FLOCK 2P-1 - Svalbard" in err


def test_the_folder_of_a_run_is_not_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: name a file in it" in capsys.readouterr().err
