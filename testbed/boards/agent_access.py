"""The access of a board's agent to the runs of this machine: address, port, authority and password.

The authority and each board's password are generated once and are valid in every run, because the agent's
configuration is stored on the board. Only the owner of their files can read them:

    STATE/boards/authority.pem       private key and certificate; the agent has the certificate
    STATE/boards/passwords/BOARD
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.contract.board import AgentConfig
from nodes.contract.config import BrokerAddress, MqttAccess
from nodes.contract.files import replacing, sync_folder
from testbed.boards.inventory import Board
from testbed.boards.machine_network import facts as network_facts
from testbed.boards.machine_network.journal import state_folder
from testbed.errors import InputError
from testbed.mqtt.accounts import PASSWORD_BYTES
from testbed.mqtt.certificates import authority_pem, new_authority, read_authority

if TYPE_CHECKING:
    import trustme

AGENT_FOLDER = "/var/lib/spaceverse-agent"  # on the board
AGENT_PORT = 1884  # of a run's management broker; another broker on this machine may use 1883


def agent_password(board: str, state: Path | None = None) -> str:
    """Return the password of a board; generate it if there is none yet.

    Raises:
        InputError: the password file cannot be read or written.
    """
    # Not `agents`, where earlier versions kept passwords: those went over the network in clear.
    path = (state or state_folder()) / "boards" / "passwords" / board
    return _kept(path, _new_password).decode().strip()


def board_authority(state: Path | None = None) -> trustme.CA:
    """Return the authority that vouches for the runs of this machine; generate it if there is none yet.

    Raises:
        InputError: its file cannot be read or written, or is damaged.
    """
    path = (state or state_folder()) / "boards" / "authority.pem"
    pem = _kept(path, lambda: authority_pem(new_authority("authority of the runs with boards")))
    try:
        return read_authority(pem)
    except ValueError as error:
        raise InputError(
            f"{path} holds no private key and certificate ({error}); restore it, or remove it and create "
            "agent.json of every board again: spaceverse board agent-config"
        ) from error


def _new_password() -> bytes:
    return f"{secrets.token_urlsafe(PASSWORD_BYTES)}\n".encode()


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return a secret that is generated once; of several processes that start at once, the first counts."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
            with replacing(new, durable=True, private=True) as temporary:
                temporary.write_bytes(make())
            try:
                with suppress(FileExistsError):
                    os.link(new, path)
            finally:
                new.unlink()
            sync_folder(path.parent)
        return path.read_bytes()
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


def agent_config(board: Board, folder: str = AGENT_FOLDER) -> dict[str, Any]:
    """Return the configuration of a board's agent (nodes/agent.py).

    Args:
        board: A board of the inventory.
        folder: Folder on the board for the files of the agent.

    Raises:
        InputError: there is no route to the board, or its password or the authority is inaccessible.
    """
    address = own_address(board)
    access = MqttAccess(username=board.name, password=agent_password(board.name))
    authority = board_authority().cert_pem.bytes().decode()
    management = BrokerAddress(host=address, port=AGENT_PORT, access=access, ca_pem=authority)
    config = AgentConfig(board=board.name, management=management, folder=Path(folder), allow_code=False)
    return config.model_dump(mode="json", exclude_unset=True)
