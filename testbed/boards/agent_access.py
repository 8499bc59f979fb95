"""How a board's agent finds and joins the runs of this machine: address, port, and a password of its own.

The password is made once for each board and is the same in every run, as the agent's configuration lies on
the board. It lies in a file that only its owner can read.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Any

from nodes.contract.files import write_atomically
from testbed.boards.inventory import Board
from testbed.boards.machine_network import facts as network_facts
from testbed.boards.machine_network.journal import state_folder
from testbed.errors import InputError
from testbed.mqtt.accounts import PASSWORD_BYTES

AGENT_PORT = 1884  # of a run's management broker, for boards; 1883 is a broker's that may be there anyway


def agent_password(board: str, state: Path | None = None) -> str:
    """A board's password; made if it has none yet. Raises InputError."""
    path = (state or state_folder()) / "agents" / board
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n", private=True)
        return path.read_text().strip()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run with sudo") from error


def own_address(board: Board) -> str:
    """This machine's address on the way to a board's management address. Raises InputError."""
    try:
        found = socket.getaddrinfo(board.management, board.ssh_port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(
            f"board {board.name}: {board.management}: {error.strerror}; correct the inventory"
        ) from error
    way = network_facts.way_to(str(found[0][4][0]))
    if way is None:
        raise InputError(f"board {board.name}: no route leads to {board.management}; correct the inventory")
    return way.source


def agent_config(board: Board, folder: str = "/var/lib/spaceverse-agent") -> dict[str, Any]:
    """What the board's agent is to be given (nodes/agent.py). Raises InputError."""
    access = {"username": board.name, "password": agent_password(board.name)}
    return {
        "board": board.name,
        "management": {"host": own_address(board), "port": AGENT_PORT, "access": access},
        "folder": folder,
    }
