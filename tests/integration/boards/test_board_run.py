"""A whole run with one emulated satellite and one board: a machine with its own kernel, NICs and clock."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed import uml
from testbed.kernel import NetworkNamespace
from tests.integration.boards.played_host import ROOT, command, look, look_until, on_its_sysfs, settle
from tests.integration.boards.stand_in import MANAGEMENT, stand_in
from tests.integration.nodes.ends import wait_for
from traces.trace import Trace

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
# end_s: 19.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss
0.0,0,0.0,0.0,0.0,0.0,0.0,0.0
3.0,1,4000000.0,250000.0,0.006,0.006,0.0,0.0
9.0,1,2000000.0,250000.0,0.004,0.004,0.0,0.0
18.0,0,0.0,0.0,0.0,0.0,0.0,0.0
"""
SCENARIO = """
from pathlib import Path
from testbed.scenario import GroundStation, Link, Satellite, Scenario, read_frames

FRAMES = read_frames(Path({frames!r}), (1, 1, 13, 4, 5, 6))

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
        grace_s=3,
    )
"""


@dataclass
class Desk:
    """The machine that plays the host, its board, and where everything lies."""

    host: NetworkNamespace
    board: subprocess.Popen[bytes]
    folder: Path

    def command(self, arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.host, f"{arguments} --boards {self.folder}/boards.toml", self.folder / "state")

    def start_run(self) -> subprocess.Popen[bytes]:
        options = ["--output", str(self.folder / "runs"), "--json"]
        program = [sys.executable, "-m", "testbed.cli", "run", str(self.folder / "desk.py"), *options]
        environment = {**os.environ, "SPACEVERSE_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT)}
        return self.host.popen(
            on_its_sysfs(program), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def events(self) -> list[dict[str, Any]]:
        """Of the latest run."""
        runs = sorted(self.folder.glob("runs/*/events.jsonl"))
        lines = runs[-1].read_text().splitlines(keepends=True) if runs else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def answered(self, satellite: str) -> list[str]:
        """Frames of a satellite that have their answers."""
        captured = {e["frame"] for e in self.events() if e["event"] == "captured" and e["node"] == satellite}
        return [e["frame"] for e in self.events() if e["event"] == "answered" and e["frame"] in captured]

    def halt_board(self) -> None:
        """The machine itself, not its programs: it says no word more."""
        (machine,) = Path(f"/proc/{self.board.pid}/task/{self.board.pid}/children").read_text().split()
        os.killpg(int(machine), signal.SIGKILL)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path
    board_folder = folder / "board"
    board_folder.mkdir()
    (folder / "boards.toml").write_text(INVENTORY)
    for name, satellite in (("emulated", "EMULATED"), ("board", "FLOCK 2P-1")):
        (folder / f"{name}.csv").write_text(TRACE.format(satellite=satellite))
    parts = {"compact": str(COMPACT), "regular": str(REGULAR), "frames": str(FIRST_LIGHT)}
    (folder / "desk.py").write_text(SCENARIO.format(folder=str(folder), accept=0.9, **parts))
    with NetworkNamespace.create("host") as host:
        host.set_up("lo", True)
        with stand_in(host, board_folder / "agent.json", board_folder) as board:
            made = Desk(host, board, folder)
            printed = made.command("board agent-config jetson-1")
            config = json.loads(printed.stdout) | {"folder": str(board_folder / "agent"), "power": False}
            (board_folder / "agent.json").write_text(json.dumps(config))
            yield made


def test_a_board_flies_beside_an_emulated_satellite_until_it_is_halted(desk: Desk) -> None:
    wait_for(lambda: desk.command("board check jetson-1").returncode == 0, "a board that can be attached", 60)
    settle(desk.host)
    before = look(desk.host)
    with desk.start_run() as run:
        wait_for(lambda: len(desk.answered("FLOCK 2P-1")) == 3, "the board's three answers", 240)
        assert len(desk.answered("EMULATED")) == 2
        desk.halt_board()
        out, said = run.communicate()
    assert run.returncode == 0, said.decode() + (desk.folder / "board/board.log").read_text()
    assert without_carrier(look_until(desk.host, before, 1.0)) == without_carrier(before)
    results = json.loads(out)
    assert results["totals"]["answered"] == 6  # one of the emulated satellite's after the board's end
    (warning,) = results["warnings"]
    assert warning.startswith("board jetson-1 was lost at 1")
    assert [link["link"] for link in results["links"]] == ["EMULATED - G", "FLOCK 2P-1 - G"]
    for link, samples in zip(results["links"], (40, 8), strict=True):
        assert link["rtt_error_p50_s"] < 1e-3
        assert link["rtt_samples"] >= samples
    judge_board(results)
    judge_clocks(results)
    (folder,) = (desk.folder / "runs").iterdir()
    report = (folder / "report.html").read_text()
    assert "FLOCK 2P-1 is board jetson-1" in report and "EMULATED" in report
    played = Trace.read(folder / "traces/flock-2p-1-g-compensated.csv")
    own_s = results["boards"][0]["path"]["rtt_s"] / 2
    assert played.row_at(5).down_delay_s == pytest.approx(0.006 - own_s, abs=1e-6)


def judge_board(results: dict[str, Any]) -> None:
    (record,) = results["boards"]
    assert record["board"] == "jetson-1" and record["satellite"] == "FLOCK 2P-1"
    assert 0 < record["path"]["rtt_s"] < 8e-3
    assert record["path"]["rate_bit_s"] > 1e6


def judge_clocks(results: dict[str, Any]) -> None:
    clocks = {clock["node"]: clock for clock in results["clocks"]}
    assert clocks.keys() == {"FLOCK 2P-1", "jetson-1"}  # its node's and its agent's, of one machine
    satellite, agent = clocks["FLOCK 2P-1"], clocks["jetson-1"]
    assert satellite["bound_s"] < 0.02 and satellite["worst_bound_s"] < 0.25
    assert abs(satellite["drift_ppm"] + 100) < satellite["drift_bound_ppm"]  # it is 100 ppm fast
    # Asked at moments some seconds apart, in which the clocks drift by 0.1 ms a second.
    assert abs(satellite["offset_s"] - agent["offset_s"]) < satellite["bound_s"] + agent["bound_s"] + 2e-3
    for frame in results["frames"]:
        assert sum(frame["split"].values()) == pytest.approx(frame["end_to_end_s"], rel=0.01)
        assert (frame["clock_bound_s"] > 0) == (frame["satellite"] == "FLOCK 2P-1")


def without_carrier(shown: str) -> str:
    """The taps lose it with the board, which the run cannot undo."""
    shown = re.sub(r'"NO-CARRIER",|,"LOWER_UP"|"operstate":"\w+"|"linkdown"', "", shown)
    return re.sub(r"\s+", " ", shown)
