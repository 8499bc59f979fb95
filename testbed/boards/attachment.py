"""Attaches a board to the sky in place of an emulated satellite, and detaches it.

A NIC is never moved into the sky. It would lose its addresses, routes and settings; it would return only
when the last process has left the namespace, and only to the machine's first namespace; and taking the port
down at the end of a contact would take the NIC's link down, whose negotiation costs the first seconds of the
next contact. Instead the sky's port is a virtual device on top of the NIC, which receives all its packets
and vanishes with the sky:

    nic     board ---- NIC [ macvlan, passthru: port | bridge | port ]--veth-- ground host
    vlan    board ---- switch ---- NIC [ its VLAN: port | bridge | port ]--veth-- ground host
    vxlan   board ---- any network ---- [ VXLAN: port | bridge | port ]--veth-- ground host
    route   board ---- any network ---- this machine routes --veth--[ port | bridge | port ]--veth-- ground

So the kernel releases the NIC however this process ends. Only settings remain to be undone (up, offloads,
forwarding, a rule); each is written to a journal before it is changed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.boards.check.attachability import check_attachment
from testbed.boards.check.findings import usable
from testbed.boards.inventory import (
    VXLAN_OVERHEAD_BYTES,
    Board,
    NicAttachment,
    RouteAttachment,
    VlanAttachment,
    VxlanAttachment,
    place,
)
from testbed.boards.machine_network import facts as network_facts
from testbed.boards.machine_network.changes import HostChanges
from testbed.boards.machine_network.journal import Journal, state_folder
from testbed.boards.wire import Endpoint
from testbed.errors import InputError, LinkError
from testbed.kernel.namespace import NetworkNamespace
from testbed.network.link_end import PORT_MTU_BYTES

IFF_ALLMULTI = 0x200
LINK_WITHIN_S = 8.0  # time for a gigabit NIC to negotiate, and for the loop detection of switches
GONE_WITHIN_S = 3.0
LARGEST_MTU_BYTES = 1500
RULE_PRIORITIES = range(15_000, 16_000)  # before the main table's 32766, after the local table's 0
TABLES = range(47_000, 48_000)


class BoardRefusedError(InputError):
    """A board cannot be used as it is; the text gives the reason and what to do."""


class Attachment:
    """A board's end of a link, for `BoardLink`, or for `Sky.add_link` as the satellite's end.

    A context manager: enter it before the link is added to the sky, and leave it after the link is closed.

    Args:
        board: A board of the inventory.
        ground: The ground's end of the link; a board that is attached by route needs a route to it.
        state: Folder of the journals; None for `journal.state_folder()`.

    Attributes:
        mtu_bytes: Largest IP packet between the sky and the board, bytes; known once attached.

    Raises:
        BoardRefusedError: on entering, `spaceverse board check` refuses the board. Nothing was changed.
    """

    def __init__(self, board: Board, ground: Endpoint, state: Path | None = None) -> None:
        self.board = board
        self.ground = ground
        self._state = state
        self._host_end: Endpoint | None = None
        self._closing = ExitStack()
        self.mtu_bytes = LARGEST_MTU_BYTES

    @property
    def interface(self) -> str:
        """Where the board is attached, in words."""
        return f"of board {self.board.name} ({place(self.board.attach)})"

    @property
    def next_hop(self) -> Endpoint | None:
        """For a board attached by route: this machine's end, to which the ground sends; else None."""
        return self._host_end

    def attach(self) -> None:
        """Check the board, and prepare the interface that its packets use.

        Raises:
            BoardRefusedError: the board cannot be attached.
            LinkError: the kernel refuses a change.
        """
        with ExitStack() as building:
            self._host = building.enter_context(
                NetworkNamespace.enter("/proc/thread-self/ns/net", "of this machine")
            )
            building.enter_context(_alone(self.board.name, self._state or state_folder()))
            self._refuse()
            self._changes = self._host.call(
                lambda: HostChanges(Journal(f"board {self.board.name}", self._state))
            )
            building.callback(lambda: self._host.call(self._changes.undo))
            self._host.call(self._prepare)
            self._closing = building.pop_all()

    def detach(self) -> None:
        """Undo all changes; may be called twice.

        Raises:
            TestbedError: a change could not be undone; its journal is kept.
        """
        self._closing.close()

    def __enter__(self) -> Attachment:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def add_port(self, sky: NetworkNamespace, port: str, index: int, *, super_packets: bool = False) -> None:
        """Create the sky's port of this board; see `LinkEnd`.

        Args:
            sky: Network namespace of the sky.
            port: Name of the port.
            index: Interface index of the port.
            super_packets: Never: what a board sends is its own.
        """
        match self.board.attach:
            case NicAttachment(interface=nic):
                # A bridge switches a port to all-multicast when it gains it, and back when it loses it. A
                # macvlan in passthru mode passes the second change to its NIC while it is up, but not the
                # first while it is down: the NIC's counter would drop below zero when the bridge of a killed
                # run ends before its port. A port with the flag set from the start is not affected by either.
                hears_all = {"flags": IFF_ALLMULTI, "change": IFF_ALLMULTI}
                self._add(sky, port, index, nic, kind="macvlan", macvlan_mode="passthru", **hears_all)
            case VlanAttachment(interface=trunk, vlan=number):
                self._add(sky, port, index, trunk, kind="vlan", vlan_id=number)
            case VxlanAttachment() as far:
                group = "vxlan_group6" if ":" in far.remote else "vxlan_group"
                numbers = {"vxlan_id": far.vni, "vxlan_port": far.port, group: far.remote}
                self._add(
                    sky, port, index, None, kind="vxlan", mtu=self.mtu_bytes, vxlan_learning=0, **numbers
                )
            case RouteAttachment(address=address):
                self._add_routed(sky, port, index, address)

    def look(self, sky: NetworkNamespace, port: str) -> tuple[bool, bool]:
        """Return (whether something is plugged in, True): the board's link stays up if the port is down."""
        return sky.read(port).carrier, True

    # -- changes to this machine, in its namespace ------------------------------------------------------

    def _refuse(self) -> None:
        found = self._host.call(lambda: check_attachment(self.board))
        # The kernel removes the namespace of a killed run, and the tunnel's socket with it, a little later.
        deadline_s = time.monotonic() + GONE_WITHIN_S
        tunnel = isinstance(self.board.attach, VxlanAttachment)
        while tunnel and not usable(found) and time.monotonic() < deadline_s:
            time.sleep(0.1)
            found = self._host.call(lambda: check_attachment(self.board))
        if not usable(found):
            first = next(finding for finding in found if finding.verdict == "refused")
            raise BoardRefusedError(
                f"board {self.board.name} cannot be attached: {first.detail}; instead: {first.instead} "
                f"(all findings: spaceverse board check {self.board.name})"
            )

    def _prepare(self) -> None:
        match self.board.attach:
            case NicAttachment(interface=name) | VlanAttachment(interface=name):
                self._changes.stop_merging_received(name)
                self._changes.set_up(name)
                self._wait_for_link(name)
                self.mtu_bytes = min(LARGEST_MTU_BYTES, network_facts.interfaces()[name].mtu_bytes)
            case VxlanAttachment(remote=remote):
                way = _way(remote)
                self._changes.stop_merging_received(way.interface)
                overhead = VXLAN_OVERHEAD_BYTES[6 if ":" in remote else 4]
                self.mtu_bytes = min(LARGEST_MTU_BYTES, way.mtu_bytes - overhead)
            case RouteAttachment(address=address):
                way = _way(address)
                self._changes.stop_merging_received(way.interface)
                self.mtu_bytes = min(LARGEST_MTU_BYTES, way.mtu_bytes)

    def _wait_for_link(self, name: str) -> None:
        give_up_s = time.monotonic() + LINK_WITHIN_S
        while not network_facts.interfaces()[name].carrier:
            if time.monotonic() > give_up_s:
                raise BoardRefusedError(
                    f"board {self.board.name} cannot be attached: {name} has no link {LINK_WITHIN_S:.0f} s "
                    "after it was brought up; check the cable and that the board is switched on"
                )
            time.sleep(0.02)

    def _add(self, sky: NetworkNamespace, port: str, index: int, lower: str | None, **options: Any) -> None:
        """Create the port on an interface of this machine's namespace, and place it in the sky."""

        def add() -> None:
            fd = os.open(sky.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with IPRoute() as ipr:
                    below = {} if lower is None else {"link": ipr.link_lookup(ifname=lower)[0]}
                    ipr.link("add", ifname=port, index=index, net_ns_fd=fd, **below, **options)
            except (NetlinkError, OSError, IndexError) as error:
                raise LinkError(f"cannot attach board {self.board.name} to the sky: {error}") from error
            finally:
                os.close(fd)

        self._host.call(add)

    def _add_routed(self, sky: NetworkNamespace, port: str, index: int, address: str) -> None:
        """Route packets between the board and the ground through a veth pair into the sky."""
        name, mac = f"sv{secrets.token_hex(4)}", f"02:{secrets.token_bytes(5).hex(':')}"
        self._host.call(lambda: self._changes.will_add_link(name, mac))
        sky.add_veth(
            port,
            peer_name=name,
            peer_path=self._host.path,
            index=index,
            peer_mac=mac,
            mtu_bytes=PORT_MTU_BYTES,
        )
        try:
            sky.disable_super_packets(port)
            self._host.disable_super_packets(name)
            self._host.call(lambda: self._lead(name, address))
        except BaseException:
            sky.delete(port)
            raise
        self._host_end = Endpoint(mac, address)

    def _lead(self, name: str, address: str) -> None:
        host, ground, way = self._host, self.ground, _way(address)
        host.write_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
        host.write_sysctl(f"ipv4/conf/{name}/forwarding", "1")
        host.set_up(name, True)
        host.add_neighbour(name, ground.address, ground.mac)
        self._changes.write_sysctl(f"ipv4/conf/{way.interface}/forwarding", "1", interface=way.interface)
        # A separate table for this source address: no other packets are routed into the sky.
        table = _free(TABLES, lambda number: not _routes(number))
        priority = _free(RULE_PRIORITIES, lambda number: number not in _rules())
        self._changes.add_route(name, f"{ground.address}/32", table=table)
        self._changes.add_rule(f"{address}/32", table=table, priority=priority)


@contextmanager
def _alone(board: str, state: Path) -> Iterator[None]:
    """Lock a board for this process; the kernel releases the lock however the process ends."""
    folder = state / "boards"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / board).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BoardRefusedError(
                f"board {board} is already attached by process {file.read()}; wait for its run, or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _way(address: str) -> network_facts.Way:
    way = network_facts.way_to(address)
    if way is None:
        raise BoardRefusedError(f"there is no route to {address}; correct the inventory")
    return way


def _free(numbers: range, is_free: Callable[[int], bool]) -> int:
    for number in numbers:
        if is_free(number):
            return number
    raise LinkError(f"all routing tables or rules from {numbers.start} to {numbers.stop} are in use")


def _routes(table: int) -> list[Mapping[str, Any]]:
    with IPRoute() as ipr:
        return list(ipr.get_routes(table=table))


def _rules() -> set[int]:
    with IPRoute() as ipr:
        return {int(rule.get("priority") or 0) for rule in ipr.get_rules()}
