"""The inventory of boards: `boards.toml`, one table for each.

[boards.jetson-1]
management = "192.168.55.1"        # address or name, for ssh and the agent; never shaped
ssh_user = "nvidia"
link = "10.201.1.1/30"            # the board's address on the emulated link; the ground's is the other, .2
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

from testbed.errors import InputError

# By name, because a type checker for 3.10 would look for a package that 3.11 does not install.
_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

DEFAULT_PATH = Path("boards.toml")
VXLAN_PORT = 4789  # RFC 7348, section 5
VXLAN_OVERHEAD_BYTES = {4: 50, 6: 70}  # outer IP + UDP + VXLAN + inner Ethernet header; RFC 7348, section 5

Interface = Annotated[str, Field(pattern=r"^[^\s/:]{1,15}$")]
BoardName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NicAttachment(_Strict):
    """The board hangs on a NIC of this machine, and nothing else does."""

    kind: Literal["nic"]
    interface: Interface


class VlanAttachment(_Strict):
    """The board hangs on a managed switch, on an access port of its own VLAN; `interface` is the trunk."""

    kind: Literal["vlan"]
    interface: Interface
    vlan: int = Field(ge=1, le=4094)


class VxlanAttachment(_Strict):
    """The board is on another network and speaks VXLAN to this machine; `remote` is its address there."""

    kind: Literal["vxlan"]
    remote: str
    vni: int = Field(ge=1, lt=1 << 24)
    port: int = Field(default=VXLAN_PORT, ge=1, le=65535)

    @field_validator("remote")
    @classmethod
    def _an_address(cls, value: str) -> str:
        return _address(value)


class RouteAttachment(_Strict):
    """The board reaches this machine by IP, over whatever routes there are; `address` is the board's."""

    kind: Literal["route"]
    address: str

    @field_validator("address")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if ipaddress.ip_address(_address(value)).version != 4:
            raise ValueError("a board attached by route needs an IPv4 address; use vxlan over IPv6")
        return value


Attachment = Annotated[
    NicAttachment | VlanAttachment | VxlanAttachment | RouteAttachment, Field(discriminator="kind")
]


class Board(_Strict):
    """One board.

    Args:
        name: what scenarios and commands call it.
        attach: how its packets reach the sky.
        management: address or name on the management plane, for ssh and the agent; never shaped.
        link: the board's own address on its link, of a network of two ("10.201.1.1/30"); the ground's end
            gets the other one. Needed in a run. A board attached by route has its own address there, and
            needs a route to the ground's.
        ssh_user: who logs in.
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
                    f"{value!r} is no IPv4 address with its network, such as 10.201.1.1/30"
                ) from None
            if network.ip not in list(network.network.hosts()) or network.network.prefixlen != 30:
                raise ValueError(f"{value!r} is not one of the two addresses of a /30, such as 10.201.1.1/30")
        return value

    def link_addresses(self) -> tuple[str, str]:
        """(the board's, the ground's) IPv4 address on the link. Raises InputError if there is none."""
        if self.link is None:
            raise InputError(
                f'board {self.name} has no address on its link; add to it: link = "10.201.1.1/30"'
            )
        own = ipaddress.IPv4Interface(self.link)
        (ground,) = (host for host in own.network.hosts() if host != own.ip)
        on_link = self.attach.address if isinstance(self.attach, RouteAttachment) else str(own.ip)
        return on_link, str(ground)


class _File(_Strict):
    boards: dict[str, dict[str, Any]] = Field(min_length=1)


class Inventory(_Strict):
    """All boards, by name."""

    boards: dict[str, Board]

    @model_validator(mode="after")
    def _each_its_own_place(self) -> Inventory:
        places: dict[str, str] = {}
        for board in self.boards.values():
            where = place(board.attach)
            if where in places:
                raise ValueError(f"boards {places[where]} and {board.name} have the same place: {where}")
            places[where] = board.name
        nics = {b.attach.interface for b in self.boards.values() if isinstance(b.attach, NicAttachment)}
        for board in self.boards.values():
            if isinstance(board.attach, VlanAttachment) and board.attach.interface in nics:
                nic = board.attach.interface
                raise ValueError(f"board {board.name} is on a VLAN of {nic}, which is another board's alone")
        return self

    def board(self, name: str) -> Board:
        """The board called `name`. Raises InputError that lists those that there are."""
        if name not in self.boards:
            raise InputError(
                f"there is no board {name!r}; the inventory has: {', '.join(sorted(self.boards))}"
            )
        return self.boards[name]


def read_inventory(path: Path = DEFAULT_PATH) -> Inventory:
    """Read and check an inventory. Raises InputError: one line with file, board and field."""
    try:
        with path.open("rb") as file:
            raw = _toml.load(file)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; write an inventory there, or name one with --boards"
        ) from error
    except (_toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    try:
        tables = _File.model_validate(raw).boards
    except ValidationError as error:
        raise InputError(f"{path}: {_problem(error)}; a board is a table [boards.NAME]") from error
    boards = {name: _board(path, name, table) for name, table in tables.items()}
    try:
        return Inventory(boards=boards)
    except ValidationError as error:
        raise InputError(f"{path}: {_problem(error)}") from error


def _board(path: Path, name: str, table: dict[str, Any]) -> Board:
    try:
        return Board.model_validate({**table, "name": name})
    except ValidationError as error:
        raise InputError(f"{path}: board {name}: {_problem(error)}") from error


def place(attach: Attachment) -> str:
    """Where a board hangs, in words; no two boards of an inventory have the same."""
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
        raise ValueError(f"{text!r} is no IP address") from None


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"unknown field {where!r}"
    return f"{where}: {message}" if where else message
