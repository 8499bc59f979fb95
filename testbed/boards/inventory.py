"""The inventory of boards: `boards.toml`, with one table per board.

[boards.jetson-1]
management = "192.168.55.1"        # address or name, for ssh and the agent; never shaped
ssh_user = "nvidia"
link = "10.201.1.1/30"            # the board's address on the emulated link; the ground gets the other, .2
attach = { kind = "nic", interface = "enp3s0" }

[boards.pi-2]
management = "pi-2.lab.example"
attach = { kind = "vlan", interface = "enp4s0", vlan = 102 }

[boards.far-3]
management = "10.8.0.3"
attach = { kind = "vxlan", remote = "10.8.0.3", vni = 3 }

[boards.far-4]
management = "10.8.0.4"
attach = { kind = "route", address = "10.8.0.4" }
"""

from __future__ import annotations

import ipaddress
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nodes.contract.strict import problem_text
from testbed.errors import InputError

# Imported by name: a type checker for 3.10 would look for a package that is not installed on 3.11.
_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

DEFAULT_PATH = Path("boards.toml")
VXLAN_PORT = 4789  # RFC 7348, section 5
VXLAN_OVERHEAD_BYTES = {4: 50, 6: 70}  # outer IP + UDP + VXLAN + inner Ethernet header; RFC 7348, section 5

Interface = Annotated[str, Field(pattern=r"^[^\s/:]{1,15}$")]
BoardName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NicAttachment(_Strict):
    """The board is connected to a NIC of this machine, and nothing else is."""

    kind: Literal["nic"]
    interface: Interface


class VlanAttachment(_Strict):
    """The board is connected to a managed switch, in a VLAN of its own; `interface` is the trunk."""

    kind: Literal["vlan"]
    interface: Interface
    vlan: int = Field(ge=1, le=4094)


class VxlanAttachment(_Strict):
    """The board is in another network and uses VXLAN; `remote` is its address in that network."""

    kind: Literal["vxlan"]
    remote: str
    vni: int = Field(ge=1, lt=1 << 24)
    port: int = Field(default=VXLAN_PORT, ge=1, le=65535)

    @field_validator("remote")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return _address(value)


class RouteAttachment(_Strict):
    """The board is reached by IP routing; `address` is the address of the board."""

    kind: Literal["route"]
    address: str

    @field_validator("address")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if ipaddress.ip_address(_address(value)).version != 4:
            raise ValueError("a board attached by route needs an IPv4 address; over IPv6, use vxlan")
        return value


Attachment = Annotated[
    NicAttachment | VlanAttachment | VxlanAttachment | RouteAttachment, Field(discriminator="kind")
]


class Board(_Strict):
    """One board.

    Args:
        name: Its name in scenarios and commands.
        attach: How its packets reach the sky.
        management: Address or host name in the management plane, for ssh and the agent; never shaped.
        link: Address of the board on its link, in a /30 network ("10.201.1.1/30"); the ground's end gets the
            other address. Required for runs. A board attached by route keeps its own address, and needs a
            route to the ground's address.
        ssh_user: User name for ssh.
        ssh_port: TCP port of its ssh server.
    """

    name: BoardName
    attach: Attachment
    management: str = Field(min_length=1, max_length=253)
    link: str | None = None
    ssh_user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    ssh_port: int = Field(default=22, ge=1, le=65535)

    @field_validator("link")
    @classmethod
    def _two_ends(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                network = ipaddress.IPv4Interface(value)
            except ValueError:
                raise ValueError(
                    f"{value!r} is not an IPv4 address with a prefix length, such as 10.201.1.1/30"
                ) from None
            if network.ip not in list(network.network.hosts()) or network.network.prefixlen != 30:
                raise ValueError(f"{value!r} is not one of the two addresses of a /30, such as 10.201.1.1/30")
        return value

    def link_addresses(self) -> tuple[str, str]:
        """Return the IPv4 addresses of the board and of the ground on the link.

        Raises:
            InputError: the inventory has no address for the link.
        """
        if self.link is None:
            raise InputError(
                f"board {self.name} has no address on its link; add a line to its table in the inventory: "
                'link = "10.201.1.1/30"'
            )
        own = ipaddress.IPv4Interface(self.link)
        (ground,) = (host for host in own.network.hosts() if host != own.ip)
        on_link = self.attach.address if isinstance(self.attach, RouteAttachment) else str(own.ip)
        return on_link, str(ground)


class _File(_Strict):
    boards: dict[str, dict[str, Any]] = Field(min_length=1)


class Inventory(_Strict):
    """All boards by name."""

    boards: dict[str, Board]

    @model_validator(mode="after")
    def _each_its_own_place(self) -> Inventory:
        places: dict[str, str] = {}
        for board in self.boards.values():
            where = place(board.attach)
            if where in places:
                raise ValueError(f"boards {places[where]} and {board.name} are attached alike: {where}")
            places[where] = board.name
        nics = {b.attach.interface for b in self.boards.values() if isinstance(b.attach, NicAttachment)}
        for board in self.boards.values():
            if isinstance(board.attach, VlanAttachment) and board.attach.interface in nics:
                nic = board.attach.interface
                raise ValueError(
                    f"board {board.name} is on a VLAN of {nic}, which another board uses as its NIC"
                )
        return self

    def board(self, name: str) -> Board:
        """Return the board called `name`.

        Raises:
            InputError: there is no such board; the text lists the boards of the inventory.
        """
        if name not in self.boards:
            raise InputError(f"unknown board {name!r}; the inventory has: {', '.join(sorted(self.boards))}")
        return self.boards[name]


def read_inventory(path: Path = DEFAULT_PATH) -> Inventory:
    """Read and check an inventory.

    Raises:
        InputError: the file is missing or wrong; the text names file, board and field.
    """
    try:
        with path.open("rb") as file:
            raw = _toml.load(file)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; create the inventory, or name another with --boards"
        ) from error
    except (_toml.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    try:
        tables = _File.model_validate(raw).boards
    except ValidationError as error:
        raise InputError(f"{path}: {problem_text(error)}; a board is a table [boards.NAME]") from error
    boards = {name: _board(path, name, table) for name, table in tables.items()}
    try:
        return Inventory(boards=boards)
    except ValidationError as error:
        raise InputError(f"{path}: {problem_text(error)}") from error


def _board(path: Path, name: str, table: dict[str, Any]) -> Board:
    try:
        return Board.model_validate({**table, "name": name})
    except ValidationError as error:
        raise InputError(f"{path}: board {name}: {problem_text(error)}") from error


def place(attach: Attachment) -> str:
    """Return in words where a board is attached; unique within an inventory."""
    match attach:
        case NicAttachment():
            return f"NIC {attach.interface}"
        case VlanAttachment():
            return f"VLAN {attach.vlan} of {attach.interface}"
        case VxlanAttachment():
            return f"VXLAN {attach.vni} on port {attach.port}"
        case RouteAttachment():
            return f"address {attach.address}"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
