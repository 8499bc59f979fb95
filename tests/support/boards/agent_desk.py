"""The run's side of an agent's test: a broker with TLS, its management plane, and agents as processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nodes.contract.events import EVENTS
from nodes.data import EO_MINI
from testbed.boards.agents import BoardAgents
from testbed.mqtt.accounts import board_account, node_account, run_account
from testbed.mqtt.broker import Broker, TcpListener, UnixListener
from testbed.mqtt.certificates import Authority
from testbed.mqtt.management import ManagementPlane
from testbed.network.programs import Program, spawn
from tests.support.nodes.ends import free_port

LAPSE_S = 3.0
PASSWORD = "the board's own"  # noqa: S105 - a test's


class Desk:
    """The run's machine: broker, management plane, and the boards' desk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.authority = Authority(folder / "tls")
        certificate = self.authority.issue("management", ["127.0.0.1"])
        self.run, self.node = run_account(), node_account("sat-1")
        self.board = board_account("board-1", PASSWORD)
        self.other_board = board_account("board-2", "another board's own")
        self.broker = Broker(
            folder,
            [TcpListener("127.0.0.1", self.port, certificate), UnixListener(folder / "plane")],
            name="management",
            popen=spawn,
            accounts=[self.run, self.node, self.board, self.other_board],
        )
        self.broker.start()
        self.plane = ManagementPlane(folder / "plane", folder / "events.jsonl", self.run)
        self.boards = self.new_boards("run-1")
        self.agents: list[Program] = []
        self.agent_log = folder / "agent.log"

    def new_boards(self, run: str) -> BoardAgents:
        self.states: list[str] = []
        return BoardAgents(
            self.folder / "plane", run, self.run, heartbeat_lapse_s=LAPSE_S,
            on_state=lambda board, state: self.states.append(state["state"]),
        )  # fmt: skip

    def agent(self, password: str = PASSWORD, *, port: int | None = None, **changes: Any) -> Program:
        """Start the board's agent, with `changes` in its configuration."""
        config = {
            "board": "board-1",
            "management": {
                "host": "127.0.0.1", "port": port or self.port,
                "access": {"username": "board-1", "password": password},
                "ca_pem": self.authority.certificate.read_text(),
            },
            "folder": str(self.folder / "board"),
            **changes,
        }  # fmt: skip
        path = self.folder / "agent.json"
        path.write_text(json.dumps(config))
        self.agents.append(
            Program("agent", [sys.executable, "-m", "nodes.agent", str(path)], log=self.agent_log)
        )
        return self.agents[-1]

    def satellite(self, **changes: Any) -> dict[str, Any]:
        return satellite(self.boards, **changes)

    def state(self) -> str:
        return str(self.boards.state("board-1")["state"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [record.to_json() for record in self.plane.seen(EVENTS[kind])]

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
        self.boards.close()
        self.plane.close()
        self.broker.stop()


def satellite(boards: BoardAgents, **changes: Any) -> dict[str, Any]:
    """A satellite's configuration as `boards` would assign it, with `changes`."""
    image = boards.files.add(EO_MINI / "e0001.jpg")
    frames = [{"frame": f"f{n}", "image": image, "prompt": "How many?", "capture_s": n} for n in range(3)]
    station = {"name": "Svalbard", "host": "127.0.0.1", "port": 9}
    config = {
        "name": "Sat 1", "model": "/only/on/the/host/compact", "stations": [station], "frames": frames,
        "rate_bit_s": 1e6,
    }  # fmt: skip
    return config | changes
