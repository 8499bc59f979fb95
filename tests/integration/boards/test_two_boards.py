"""Two boards fly beside an emulated satellite, and time jumps with them.

Each board is a network namespace with two cables to the host's, and its agent has a monotonic clock of its
own, in a time namespace.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed import Scenario, load_scenario
from testbed.kernel.namespace import NetworkNamespace
from testbed.scenario.model import to_json
from tests.support import ROOT
from tests.support.boards.played_host import command, look, look_until, on_its_sysfs, settle

pytestmark = pytest.mark.root
BOARDS = {"jetson-1": 4000, "jetson-2": -3}  # and how far its clock is ahead, in seconds
INVENTORY = """
[boards.jetson-{number}]
management = "192.0.{number}.2"
link = "10.201.{number}.1/30"
attach = {{ kind = "nic", interface = "nic{number}" }}
"""


@dataclass
class Table:
    """The host, and the folder of all files."""

    host: NetworkNamespace
    folder: Path

    def start_run(self, scenario: Scenario) -> subprocess.Popen[bytes]:
        path = self.folder / "scenario.json"
        path.write_text(to_json(scenario.model_copy(update={"boards": self.folder / "boards.toml"})))
        program = [sys.executable, "-m", "testbed.cli.main", "run", str(path), "--json"]
        return self.host.popen(
            on_its_sysfs([*program, "--output", str(self.folder / "runs")]),
            cwd=ROOT,
            env={**os.environ, "SPACEVERSE_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with ExitStack() as stack:
        host = stack.enter_context(NetworkNamespace.create("host"))
        host.write_sysctl("ipv6/conf/default/accept_dad", "0")
        host.set_up("lo", True)
        texts, agents = [], []
        for number, (name, ahead_s) in enumerate(BOARDS.items(), start=1):
            board = stack.enter_context(NetworkNamespace.create(f"board{number}"))
            board.write_sysctl("ipv6/conf/default/accept_dad", "0")
            board.set_up("lo", True)
            for kind, index in (("nic", 100 + number), ("mgmt", 110 + number)):
                host.add_veth(f"{kind}{number}", peer_name=kind, peer_path=board.path, index=index)
                board.set_up(kind, True)
                host.set_up(f"{kind}{number}", True)
            host.add_address(f"mgmt{number}", f"192.0.{number}.1", 24)
            board.add_address("mgmt", f"192.0.{number}.2", 24)
            board.add_address("nic", f"10.201.{number}.1", 30)
            stack.enter_context(board.call(lambda: socket.create_server(("", 22))))  # of its ssh server
            texts.append(INVENTORY.format(number=number))
            agents.append((name, board, ahead_s))
        (tmp_path / "boards.toml").write_text("".join(texts))
        for name, board, ahead_s in agents:
            stack.callback(end, started_agent(host, board, name, ahead_s, tmp_path))
        settle(host)
        yield Table(host, tmp_path)


def started_agent(
    host: NetworkNamespace, board: NetworkNamespace, name: str, ahead_s: int, folder: Path
) -> subprocess.Popen[bytes]:
    printed = command(host, f"board agent-config {name} --boards {folder}/boards.toml", folder / "state")
    config = json.loads(printed.stdout) | {"folder": str(folder / name), "power": False}
    (folder / f"{name}.json").write_text(json.dumps(config))
    own_clock = ["unshare", "--time", f"--monotonic={ahead_s}", "--fork", "--kill-child"]
    agent = [*own_clock, sys.executable, "-m", "nodes.agent", str(folder / f"{name}.json")]
    with (folder / f"{name}.log").open("wb") as log:
        return board.popen(agent, cwd=ROOT, stdout=log, stderr=log)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_two_boards_fly_beside_an_emulated_satellite_and_time_jumps_with_them(table: Table) -> None:
    before = look(table.host)
    with table.start_run(load_scenario(ROOT / "topologies/two_boards.py")) as run:
        out, said = run.communicate(timeout=240)
    logs = "".join(path.read_text() for path in table.folder.glob("*.log"))
    assert run.returncode == 0, said.decode() + logs
    results = json.loads(out)
    assert results["totals"]["answered"] == 9
    assert results["passage"]["ended"] is None and results["passage"]["skipped_s"] > 200
    clocks = {clock["node"]: clock for clock in results["clocks"]}
    for satellite, ahead_s in (("FLOCK 2P-1", 4000), ("FLOCK 2P-12", -3)):
        assert abs(clocks[satellite]["offset_s"] + ahead_s) <= clocks[satellite]["bound_s"]
    # What its frames waited for is the pass, 263 s after the start, and no jump came too late for it.
    late = [frame for frame in results["frames"] if frame["satellite"] == "FLOCK 2P-12"]
    assert {frame["station"] for frame in late} == {"Svalbard"}
    for frame in late:
        wait_s = frame["latency"]["contact_wait_s"]
        worked_s = frame["latency"]["queue_s"] + frame["latency"]["onboard_inference_s"]
        assert worked_s + wait_s > 263 - 7 and wait_s < 263 + 2
        assert 255 < frame["end_to_end_s"] < 300
    assert look_until(table.host, before) == before
