"""Plugs a board into the sky, in the place of an emulated satellite, and takes it out again.

A NIC is never moved into the sky.  A move loses its addresses, routes and settings; the NIC comes back when
the last process has left, and to the machine's first namespace only; and a port that goes down at the end of
a contact would take the NIC's own link down, whose negotiation then costs 1-3 s of the next one.  Instead
the sky's port is a small device on top of it, that takes all its packets and dies with the sky:

    nic     board ---- NIC [ macvlan, passthru: port | bridge | port ]--veth-- ground host
    vlan    board ---- switch ---- NIC [ its VLAN: port | bridge | port ]--veth-- ground host
    vxlan   board ---- any network ---- [ VXLAN: port | bridge | port ]--veth-- ground host
    route   board ---- any network ---- this machine routes --veth--[ port | bridge | port ]--veth-- ground

So whatever ends this process, the kernel itself lets go of the NIC.  What is left to undo are settings (up,
offloads, forwarding, a rule); each is journalled before it is made.
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

from testbed.boards.check.attachment import check_attachment
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
LINK_WITHIN_S = 8.0  # a gigabit NIC that was down negotiates for 1-3 s, some switches look for loops longer
GONE_WITHIN_S = 3.0
LARGEST_MTU_BYTES = 1500
RULE_PRIORITIES = range(15_000, 16_000)  # before the main table's 32766, after the local table's 0
TABLES = range(47_000, 48_000)


class BoardRefusedError(InputError):
    """A board cannot be used as it is; the text says why, and what else can be done."""


class Attachment:
    """One board's end of a link: give it to `Sky.add_link` as the satellite's, or to `BoardLink`.

    A context manager. Enter it before the sky's link is made, leave it after that is closed.

    Args:
        board: of the inventory.
        ground: the ground's end of the link; a board that is attached by route needs a way there.
        state: where journals lie; None for `journal.state_folder()`.

    Entering raises BoardRefusedError for what `spaceverse board check` refuses, before anything is touched.
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
        """Where the board hangs, in words."""
        return f"of board {self.board.name} ({place(self.board.attach)})"

    @property
    def next_hop(self) -> Endpoint | None:
        """Of a board attached by route: this machine's own end, to which the ground sends; else None."""
        return self._host_end

    def attach(self) -> None:
        """Check the board, and make ready whatever its packets come by."""
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
        """Put everything back. May be called twice. Raises TestbedError, and keeps the journal then."""
        self._closing.close()

    def __enter__(self) -> Attachment:
        self.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def add_port(self, sky: NetworkNamespace, port: str, index: int) -> None:
        """Make the sky's port of this board; see testbed.network.sky.LinkEnd."""
        match self.board.attach:
            case NicAttachment(interface=nic):
                # A bridge asks of its ports to hear every multicast, and of one that it loses no longer to. A
                # macvlan in passthru mode passes the second to its NIC while it is up, but not the first
                # while it is down: the NIC's own count would go below zero when a killed run's bridge ends
                # before its port. To one that hears every multicast by its own flag, both change nothing.
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
        """(Whether something is plugged in, True): a board's own link stays up when the port is down."""
        return sky.read(port).carrier, True

    # -- of this machine, in its namespace --------------------------------------------------------------

    def _refuse(self) -> None:
        found = self._host.call(lambda: check_attachment(self.board))
        # The kernel takes down a killed run's namespace, and the tunnel's socket with it, a moment after it.
        deadline_s = time.monotonic() + GONE_WITHIN_S
        tunnel = isinstance(self.board.attach, VxlanAttachment)
        while tunnel and not usable(found) and time.monotonic() < deadline_s:
            time.sleep(0.1)
            found = self._host.call(lambda: check_attachment(self.board))
        if not usable(found):
            first = next(one for one in found if one.verdict == "refused")
            raise BoardRefusedError(
                f"board {self.board.name} cannot be attached: {first.detail}; instead: {first.instead} "
                f"(spaceverse board check {self.board.name} says all)"
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
                    "after it was brought up; look at the cable, and whether the board is on"
                )
            time.sleep(0.02)

    def _add(self, sky: NetworkNamespace, port: str, index: int, lower: str | None, **options: Any) -> None:
        """Make the port in this machine's namespace, whose packets it takes, and put it into the sky."""

        def add() -> None:
            fd = os.open(sky.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with IPRoute() as ipr:
                    below = {} if lower is None else {"link": ipr.link_lookup(ifname=lower)[0]}
                    ipr.link("add", ifname=port, index=index, net_ns_fd=fd, **below, **options)
            except (NetlinkError, OSError, IndexError) as error:
                raise LinkError(f"cannot plug board {self.board.name} into the sky: {error}") from error
            finally:
                os.close(fd)

        self._host.call(add)

    def _add_routed(self, sky: NetworkNamespace, port: str, index: int, address: str) -> None:
        """Lead the board's packets for the ground through a veth into the sky, and the ground's back."""
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
        # By the board's own address, and in a table of its own: nobody else's packets take this way.
        table = _free(TABLES, lambda number: not _routes(number))
        priority = _free(RULE_PRIORITIES, lambda number: number not in _rules())
        self._changes.add_route(name, f"{ground.address}/32", table=table)
        self._changes.add_rule(f"{address}/32", table=table, priority=priority)


@contextmanager
def _alone(board: str, state: Path) -> Iterator[None]:
    """Hold a board for this process; the kernel lets go of it when that ends, however it does."""
    folder = state / "boards"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / board).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BoardRefusedError(
                f"board {board} is attached by process {file.read()} already; wait for its run, or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _way(address: str) -> network_facts.Way:
    way = network_facts.way_to(address)
    if way is None:
        raise BoardRefusedError(f"no route leads to {address}; correct the inventory")
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
