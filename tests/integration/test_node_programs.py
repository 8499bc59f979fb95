"""The user's own programs on nodes: their limits, their ends, and the state that they ask for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.machine import control_group
from testbed.machine.control_group import ControlGroup, hierarchy
from testbed.run.programs.state import VARIABLE
from tests.support.container_image import archive, image_layout, root_filesystem
from tests.support.faulty_server import faulty_server
from tests.support.injected_run import DOWN, HEADER, UP, picture, processes_of, run, scenario_of

# All tests that make control groups, which are the machine's, on one worker: one removes those of all runs.
pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.xdist_group("control groups")]

# Asks as any program would, by an HTTP client and the socket's path.
ASKS = f"""
import json, os, socket, sys, time
from http.client import HTTPConnection

def get(path):
    connection = HTTPConnection("node")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["{VARIABLE}"])
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())

links = sorted(os.listdir("/sys/class/net"))
print(json.dumps([os.environ["SPACEVERSE_NODE"], links, get("/else")]), flush=True)
while True:
    status, state = get("/state")
    print(json.dumps(state), flush=True)
    if state["links"][0]["up"]:
        break
    time.sleep(0.1)
"""


def program(name: str, code: str, **limits: Any) -> dict[str, Any]:
    return {"name": name, "command": [sys.executable, "-c", code], **limits}


def test_programs_run_on_their_node_within_their_limits_and_know_its_state(tmp_path: Path) -> None:
    spins = "import time\nt = time.time()\nwhile time.time() - t < 2: pass\nprint(time.process_time())"
    grows = "import time\nx = []\nwhile True: x.append(bytearray(1 << 20)); time.sleep(1e-4)"
    programs = [
        program("asks", ASKS),
        program("spins", spins, cores=0.25),
        program("grows", grows, memory_bytes=60_000_000),
        program("fails", "import sys; sys.exit('no camera')"),
        program("stays", "import time; time.sleep(1000)"),
    ]
    root = root_filesystem(tmp_path / "root")
    configured = ("--config.entrypoint", "/act", "--config.cmd", "ask", "--config.env", "FROM_IMAGE=yes")
    layout = image_layout(tmp_path / "layout", root, *configured, "--config.user", "7:7")
    containers = [
        {"name": "From a file", "image": str(archive(layout, tmp_path / "saved.tar"))},
        {"name": "from folder", "image": str(root), "command": ["/act", "ask"]},
        {"name": "c-spins", "image": str(layout), "command": ["/act", "spin"], "cores": 0.25},
        {"name": "c-grows", "image": str(root), "command": ["/act", "grow"], "memory_bytes": 20_000_000},
        {"name": "c-stays", "image": str(root), "command": ["/act", "stay", str(tmp_path)]},
        {"name": "c-fails", "image": str(root), "command": ["/missing"]},
    ]
    asks_once = program("asks", ASKS.split("while", maxsplit=1)[0])
    frames = [
        {
            "frame": "f",
            "image": str(picture(tmp_path, "f.jpg")),
            "prompt": "send: ?",
            "truth": "",
            "capture_s": 0.5,
        }
    ]
    with faulty_server(lambda prompt, image: "") as server:
        stations = [{"name": "G", "model": server, "programs": [asks_once, *containers]}]
        scenario = scenario_of(tmp_path, frames=frames, satellite={"programs": programs}, stations=stations)
        (tmp_path / "pass.csv").write_text(
            HEADER.format(end_s=11) + DOWN.format(0.0) + UP.format(4.0) + DOWN.format(10.0)
        )
        ended = run(scenario, tmp_path)
    assert ended.results is not None, ended.errors
    (logs,) = tmp_path.glob("runs/*/logs")
    head, *states = [json.loads(line) for line in (logs / "s-asks.log").read_text().splitlines()]
    assert head == ["S", ["link0", "lo"], [404, {"error": "ask for /state"}]]
    assert json.loads((logs / "g-asks.log").read_text())[0] == "G"
    first, last = states[0], states[-1]
    assert first["node"] == "S" and first["speed"] == 1.0 and first["position"] is None
    assert first["time_s"] < 4 and last["utc"].startswith("2018-01-20T00:00:0")
    (before,), (during,) = first["links"], last["links"]
    assert not before["up"] and before["downlink"] is None and during["up"]
    assert during["uplink"] == {"rate_bit_s": 1e6, "delay_s": 0.005, "loss": 0.0}
    assert before["contact"] == during["contact"] == {"aos_s": 4.0, "los_s": 10.0} and during["peer"] == "G"
    queues = [state["queue"] for state in states if state["queue"] is not None]
    assert queues and queues[0]["items"] == 1 and queues[0]["size_bytes"] > 1000, last
    assert float((logs / "s-spins.log").read_text()) < 0.25 * 2 * 1.3
    warnings = "\n".join(ended.results["warnings"])
    assert "fails at S was lost" in warnings and "no camera" in warnings
    assert "grows at S was lost" in warnings and "killed by SIGKILL" in warnings
    assert "asks" not in warnings and "spins" not in warnings and "stays" not in warnings
    assert "c-grows at G was lost" in warnings and "exit code 137" in warnings
    assert "c-fails at G was lost" in warnings and "/missing" in warnings
    assert "From a file" not in warnings and "from folder" not in warnings
    said, state = container_log(logs / "g-from-a-file.log")
    assert said == ["from-a-file G yes pid 1 user 7", "link link0", "link lo", "written: Permission denied"]
    assert state["node"] == "G" and state["links"][0]["name"] == "S - G"
    said, state = container_log(logs / "g-from-folder.log")
    assert said == ["from-folder G (null) pid 1 user 0", "link link0", "link lo"] and state["node"] == "G"
    assert [path.name for path in root.iterdir()] == ["act"], "the image has changed"
    assert float((logs / "g-c-spins.log").read_text()) < 0.25 * 4 * 1.3
    assert processes_of(tmp_path) == []
    assert control_group.left_behind() == [] == ours()


def container_log(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return what a container said beside the state, sorted, and the state that it was told."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    (state,) = [json.loads(line) for line in lines if line.startswith("{")]
    return sorted(line for line in lines if line[:4] in ("link", "writ", "from")), state


def test_a_group_of_a_killed_run_is_found_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ControlGroup(cores=0.5, memory_bytes=1 << 24)
    folders = list(group.folders)
    assert folders and set(folders) <= set(ours()) and control_group.left_behind() == []
    monkeypatch.setattr(control_group, "start_ticks", lambda pid: None)  # as if we had ended
    assert set(control_group.remove_left_behind()) == set(folders)
    assert not any(folder.exists() for folder in folders)
    group.close()


def ours() -> list[Path]:
    """Return the groups of any run."""
    places = {hierarchy(controller).folder for controller in ("cpu", "memory")}
    return sorted(path for place in places for path in place.glob("spaceverse-*"))
