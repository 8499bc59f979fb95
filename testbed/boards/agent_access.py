"""The access of a board's agent to the runs of this machine: address, port and password.

Each board has a password that is generated once and is valid in every run, because the agent's configuration
is stored on the board. Only the owner of the password file can read it.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import Any

from nodes.contract.board import AgentConfig
from nodes.contract.config import BrokerAddress, MqttAccess
from nodes.contract.files import write_atomically
from testbed.boards.inventory import Board
from testbed.boards.machine_network import facts as network_facts
from testbed.boards.machine_network.journal import state_folder
from testbed.errors import InputError
from testbed.mqtt.accounts import PASSWORD_BYTES

AGENT_PORT = 1884  # of a run's management broker; another broker on this machine may use 1883


def agent_password(board: str, state: Path | None = None) -> str:
    """Return the password of a board; generate it if there is none yet.

    Raises:
        InputError: the password file cannot be read or written.
    """
    path = (state or state_folder()) / "agents" / board
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n", private=True)
        return path.read_text().strip()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run with sudo") from error


def own_address(board: Board) -> str:
    """Return the source address of this machine for packets to a board's management address.

    Raises:
        InputError: the address cannot be resolved, or there is no route to it.
    """
    try:
        addresses = socket.getaddrinfo(board.management, board.ssh_port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(
            f"board {board.name}: {board.management}: {error.strerror}; correct the inventory"
        ) from error
    way = network_facts.way_to(str(addresses[0][4][0]))
    if way is None:
        raise InputError(
            f"board {board.name}: there is no route to {board.management}; correct the inventory"
        )
    return way.source


def agent_config(board: Board, folder: str = "/var/lib/spaceverse-agent") -> dict[str, Any]:
    """Return the configuration of a board's agent (nodes/agent.py).

    Args:
        board: A board of the inventory.
        folder: Folder on the board for the files of the agent.

    Raises:
        InputError: there is no route to the board, or its password is inaccessible.
    """
    access = MqttAccess(username=board.name, password=agent_password(board.name))
    management = BrokerAddress(host=own_address(board), port=AGENT_PORT, access=access)
    config = AgentConfig(board=board.name, management=management, folder=Path(folder))
    return config.model_dump(mode="json", exclude_unset=True)
