"""A whole run with one emulated satellite and one board: a machine with its own kernel, NICs and clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed import uml
from testbed.kernel import NetworkNamespace
from tests.integration.boards.played_host import ROOT, command, look, look_until, on_its_sysfs, settle
from tests.integration.boards.stand_in import MANAGEMENT, stand_in

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(uml.missing() is not None, reason=f"{uml.missing()}: {uml.MEND}"),
]
INVENTORY = f"""
[boards.jetson-1]
management = "{MANAGEMENT}"
link = "10.201.1.1/30"
attach = {{ kind = "nic", interface = "tap0" }}
"""
TRACE = """# spaceverse-trace 2
# satellite: {satellite}
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 26.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
4.0,1,4000000.0,250000.0,0.006,0.006,0.0,0.0
14.0,1,2000000.0,250000.0,0.004,0.004,0.0,0.0
22.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""
SCENARIO = """
from pathlib import Path
from testbed.scenario import GroundStation, Link, Satellite, Scenario, read_frames

FRAMES = read_frames(Path({frames!r}), (1, 1, 2, 6, 7, 9))

def scenario():
    common = dict(model={compact!r}, accept_confidence={accept})
    return Scenario(
        name="desk",
        satellites=(
            Satellite(name="EMULATED", frames=FRAMES[:3], **common),
            Satellite(name="FLOCK 2P-1", frames=FRAMES[3:], board="jetson-1", **common),
        ),
        stations=(GroundStation(name="G", model={regular!r}),),
        links=(
            Link(satellite="EMULATED", station="G", follows=Path({folder!r}) / "emulated.csv"),
            Link(satellite="FLOCK 2P-1", station="G", follows=Path({folder!r}) / "board.csv"),
        ),
        boards=Path({folder!r}) / "boards.toml",
    )
"""


def write_inputs(folder: Path, accept: float = 0.9) -> None:
    (folder / "boards.toml").write_text(INVENTORY)
    for name, satellite in (("emulated", "EMULATED"), ("board", "FLOCK 2P-1")):
        (folder / f"{name}.csv").write_text(TRACE.format(satellite=satellite))
    parts = {"compact": str(COMPACT), "regular": str(REGULAR), "frames": str(FIRST_LIGHT)}
    (folder / "desk.py").write_text(SCENARIO.format(folder=str(folder), accept=accept, **parts))


def run_command(folder: Path) -> list[str]:
    options = ["--output", str(folder / "runs"), "--json"]
    return on_its_sysfs([sys.executable, "-m", "testbed.cli", "run", str(folder / "desk.py"), *options])


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "SPACEVERSE_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}


def test_a_board_flies_beside_an_emulated_satellite(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    board_folder = tmp_path / "board"
    board_folder.mkdir()
    with NetworkNamespace.create("host") as host:
        host.set_up("lo", True)
        with stand_in(host, board_folder / "agent.json", board_folder) as board:
            printed = command(
                host, f"board agent-config jetson-1 --boards {tmp_path}/boards.toml", tmp_path / "state"
            )
            config = json.loads(printed.stdout) | {"folder": str(board_folder / "agent"), "power": False}
            (board_folder / "agent.json").write_text(json.dumps(config))
            settle(host)
            before = look(host)
            done = host.call(
                lambda: subprocess.run(
                    run_command(tmp_path),
                    cwd=ROOT,
                    env=environment(tmp_path),
                    capture_output=True,
                    text=True,
                    check=False,
                )
            )
            said = (board_folder / "board.log").read_text()
            assert done.returncode == 0, done.stderr + said
            assert board.poll() is None
            assert look_until(host, before) == before
    results = json.loads(done.stdout)
    assert results["totals"]["answered"] == 6
    links = {link["link"]: link for link in results["links"]}
    for name in ("EMULATED - G", "FLOCK 2P-1 - G"):
        assert links[name]["rtt_error_p50_s"] < 1e-3
        assert links[name]["rtt_samples"] > 20
    (record,) = results["boards"]
    assert record["board"] == "jetson-1" and record["satellite"] == "FLOCK 2P-1"
    assert 0 < record["path"]["rtt_s"] < 8e-3
    clocks = {clock["node"]: clock for clock in results["clocks"]}
    assert clocks.keys() == {"FLOCK 2P-1", "jetson-1"}  # its node's and its agent's, of one machine
    satellite, agent = clocks["FLOCK 2P-1"], clocks["jetson-1"]
    assert satellite["worst_bound_s"] < 0.05
    assert abs(satellite["offset_s"] - agent["offset_s"]) < satellite["bound_s"] + agent["bound_s"]
    assert abs(satellite["drift_ppm"] + 100) < satellite["drift_bound_ppm"]  # it is 100 ppm fast
    assert results["warnings"] == []
    for frame in results["frames"]:
        assert sum(frame["split"].values()) == pytest.approx(frame["end_to_end_s"], rel=0.01)
        on_board = frame["satellite"] == "FLOCK 2P-1"
        assert (frame["clock_bound_s"] > 0) == on_board
    (folder,) = (tmp_path / "runs").iterdir()
    report = (folder / "report.html").read_text()
    assert "FLOCK 2P-1 is board jetson-1" in report and "EMULATED" in report
