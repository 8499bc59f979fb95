"""A desk with a board: runs with an emulated satellite, a stand-in of a board, and one station."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.data import FIRST_LIGHT
from nodes.models import COMPACT, REGULAR
from testbed.kernel.namespace import NetworkNamespace
from tests.support.boards.played_host import ROOT, command, on_its_sysfs
from tests.support.boards.stand_in import MANAGEMENT, StandIn, stand_in

EMULATED, BOARD_SATELLITE = "EMULATED", "FLOCK 2P-1"
INVENTORY = f"""
[boards.jetson-1]
management = "{MANAGEMENT}"
link = "10.201.1.1/30"
attach = {{ kind = "nic", interface = "tap0" }}
"""
SCENARIO = """
from pathlib import Path
from testbed.scenario.model import GroundStation, Link, Satellite, Scenario, read_frames

FRAMES = read_frames(Path({frames!r}), {captures_s})

def scenario():
    common = dict(model={compact!r}, accept_confidence=0.9)
    return Scenario(
        name="desk",
        satellites=(
            Satellite(name="EMULATED", frames=FRAMES[:{emulated}], **common),
            Satellite(name="FLOCK 2P-1", frames=FRAMES[{emulated}:], board="jetson-1", **common),
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
    """The machine that plays the host, its board, and the folder of all files."""

    host: NetworkNamespace
    board: StandIn
    folder: Path

    def write_scenario(self, trace: str, *, emulated: tuple[float, ...], board: tuple[float, ...]) -> None:
        """Write `desk.py`, with the capture times of each satellite and the trace of both links."""
        for name, satellite in (("emulated", EMULATED), ("board", BOARD_SATELLITE)):
            (self.folder / f"{name}.csv").write_text(trace.format(satellite=satellite))
        text = SCENARIO.format(
            folder=str(self.folder),
            frames=str(FIRST_LIGHT),
            captures_s=(*emulated, *board),
            emulated=len(emulated),
            compact=str(COMPACT),
            regular=str(REGULAR),
        )
        (self.folder / "desk.py").write_text(text)

    def command(self, arguments: str) -> subprocess.CompletedProcess[str]:
        """`spaceverse ARGUMENTS` on the host."""
        return command(self.host, f"{arguments} --boards {self.folder}/boards.toml", self.folder / "state")

    def clean(self) -> subprocess.CompletedProcess[str]:
        """`spaceverse clean` on the host."""
        return command(self.host, "clean", self.folder / "state")

    @property
    def login(self) -> str:
        """Options of `spaceverse board` for the login on the board."""
        access = self.board.access
        return f"--identity {access.identity} --known-hosts {access.known_hosts}"

    def start_run(self, environment: Mapping[str, str] = os.environ) -> subprocess.Popen[bytes]:
        """Start `spaceverse run desk.py` on the host."""
        options = ["--output", str(self.folder / "runs"), "--json"]
        program = [sys.executable, "-m", "testbed.cli.main", "run", str(self.folder / "desk.py"), *options]
        own = {"SPACEVERSE_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT)}
        return self.host.popen(
            on_its_sysfs(program),
            cwd=ROOT,
            env={**environment, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def runs(self) -> list[Path]:
        """Return the folders of all runs, the latest last."""
        return sorted(self.folder.glob("runs/*"))

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the latest run."""
        runs = self.runs()
        path = runs[-1] / "events.jsonl" if runs else None
        lines = path.read_text().splitlines(keepends=True) if path is not None and path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def answered(self, satellite: str) -> list[str]:
        """Return the answered frames of a satellite."""
        captured = {e["frame"] for e in self.events() if e["event"] == "captured" and e["node"] == satellite}
        return [e["frame"] for e in self.events() if e["event"] == "answered" and e["frame"] in captured]


@contextmanager
def board_desk(folder: Path, *, real_time: bool = True, bare: bool = False) -> Iterator[Desk]:
    """Yield a host and a booting board, with the configuration of its agent unless it is `bare`."""
    board_folder = folder / "board"
    board_folder.mkdir()
    (folder / "boards.toml").write_text(INVENTORY)
    with NetworkNamespace.create("host") as host:
        host.set_up("lo", True)
        with stand_in(host, board_folder, real_time=real_time, bare=bare) as board:
            board.switch_on()
            desk = Desk(host, board, folder)
            if not bare:
                printed = desk.command("board agent-config jetson-1")
                config = json.loads(printed.stdout) | {"folder": str(board_folder / "agent"), "power": False}
                (board_folder / "agent.json").write_text(json.dumps(config))
            yield desk
