"""Checks whether a board can be attached, before anything is changed.

Nothing is changed, but echo requests are sent at a NIC that is up, to find the devices behind it.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from nodes.contract.machine.network_managers import how_to_leave_alone, managers_of
from testbed.boards.check.findings import Finding
from testbed.boards.inventory import (
    VXLAN_OVERHEAD_BYTES,
    Board,
    NicAttachment,
    RouteAttachment,
    VlanAttachment,
    VxlanAttachment,
)
from testbed.boards.machine_network import facts as network_facts
from testbed.boards.machine_network.facts import SYSFS, Interface, Way
from testbed.boards.wire import Wire
from testbed.kernel.namespace import NetworkNamespace

MANAGEMENT_WITHIN_S = 2.0
USUAL_MTU_BYTES = 1500
MODULES = {"macvlan": "macvlan", "vlan": "8021q", "vxlan": "vxlan"}
OTHER_WAYS = "attach the board by another NIC, by VLAN on a managed switch, by VXLAN or by route"
_SPARE_IT = "or, if it is not needed:"


def check_attachment(
    board: Board, *, sysfs: Path = SYSFS, environment: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Check the attachment of a board, in the network namespace of the calling thread.

    Args:
        board: A board of the inventory.
        sysfs: Mount point of /sys for this network namespace.
        environment: Environment variables, for $SSH_CONNECTION.
    """
    there = network_facts.interfaces()
    attach = board.attach
    match attach:
        case NicAttachment():
            found = list(_nic(attach.interface, there, sysfs, environment))
        case VlanAttachment():
            found = list(_vlan(attach, there, sysfs))
        case VxlanAttachment():
            found = list(_vxlan(attach, there))
        case RouteAttachment():
            found = list(_route(attach.address))
    return [*found, *_management(board)]


def _nic(
    name: str, there: Mapping[str, Interface], sysfs: Path, environment: Mapping[str, str]
) -> Iterator[Finding]:
    nic = there.get(name)
    if nic is None:
        yield _no_interface(name, there)
        return
    yield Finding("interface", "ok", f"{name} ({nic.kind or 'a NIC'}, {nic.mac})")
    yield from _managed(nic.name)
    yield from _virtual(nic.name, sysfs)
    refusals = [*_not_a_cable(nic, sysfs), *_not_free(nic, there, environment)]
    yield from refusals or [Finding("free", "ok", "no address, route, ssh session or bridge uses it")]
    yield from _twice(nic, there)
    yield from _cable(nic, sysfs)
    yield _kernel_can("macvlan")
    yield _mtu(nic.mtu_bytes)
    if not refusals:
        yield from _heard(nic)


def _vlan(attach: VlanAttachment, there: Mapping[str, Interface], sysfs: Path) -> Iterator[Finding]:
    trunk = there.get(attach.interface)
    if trunk is None:
        yield _no_interface(attach.interface, there)
        return
    yield Finding("interface", "ok", f"{trunk.name} ({trunk.kind or 'a NIC'}), VLAN {attach.vlan} on it")
    yield from _managed(trunk.name)
    yield from _virtual(trunk.name, sysfs)
    yield from _not_a_cable(trunk, sysfs)
    if trunk.master is not None:
        yield Finding("free", "refused", f"{trunk.name} is a port of {trunk.master}", OTHER_WAYS)
    taken = network_facts.vlan_numbers(trunk)
    if attach.vlan in taken:
        yield Finding(
            "free",
            "refused",
            f"VLAN {attach.vlan} of {trunk.name} is in use by {taken[attach.vlan]}",
            "use a separate VLAN for the board",
        )
    yield from _cable(trunk, sysfs)
    yield _kernel_can("vlan")
    yield _mtu(trunk.mtu_bytes)
    yield Finding("emulated plane", "note", "checked on attaching: the VLAN does not exist before")


def _vxlan(attach: VxlanAttachment, there: Mapping[str, Interface]) -> Iterator[Finding]:
    way = network_facts.way_to(attach.remote)
    if way is None:
        yield _no_way(attach.remote)
        return
    yield Finding("route", "ok", f"{attach.remote} via {way.interface}, from {way.source}")
    overhead = VXLAN_OVERHEAD_BYTES[6 if ":" in attach.remote else 4]
    yield _mtu(way.mtu_bytes - overhead, f" ({way.mtu_bytes} of {way.interface} minus {overhead} of VXLAN)")
    yield _kernel_can("vxlan")
    yield from _udp_port(attach.port, there)
    yield _echo(attach.remote)


def _route(address: str) -> Iterator[Finding]:
    way = network_facts.way_to(address)
    if way is None:
        yield _no_way(address)
        return
    yield Finding("route", "ok", f"{address} via {way.interface}, from {way.source}")
    yield _mtu(way.mtu_bytes)
    yield _echo(address)


def _managed(interface: str) -> Iterator[Finding]:
    if managers := managers_of(interface):
        yield Finding(
            "this network",
            "note",
            f"{', '.join(managers)} may reconfigure {interface} in mid-run; to prevent it: "
            f"{how_to_leave_alone(managers, interface)}",
        )


def _virtual(interface: str, sysfs: Path) -> Iterator[Finding]:
    """Yield a warning of a hypervisor: the frames of the link have the ground's address, not the NIC's."""
    if (whose := network_facts.hypervisor_of(interface, sysfs)) is not None:
        yield Finding(
            "hypervisor",
            "note",
            f"{interface} is a virtual NIC of {whose}, whose hypervisor may drop frames with other Ethernet "
            "addresses; there, allow promiscuous mode, MAC changes and forged transmits (libvirt: "
            "trustGuestRxFilters), or attach the board by VXLAN or by route",
        )


def _no_interface(name: str, there: Mapping[str, Interface]) -> Finding:
    others = ", ".join(sorted(set(there) - {"lo"})) or "only lo"
    return Finding(
        "interface",
        "refused",
        f"this machine has no interface {name}",
        f"correct the inventory; interfaces: {others}",
    )


def _no_way(address: str) -> Finding:
    return Finding(
        "route",
        "refused",
        f"there is no route to {address}, or it is an address of this machine",
        "correct the inventory",
    )


def _not_a_cable(nic: Interface, sysfs: Path) -> Iterator[Finding]:
    """Yield refusals of interfaces that cannot be the cable to a board."""
    if network_facts.is_wireless(nic.name, sysfs):
        yield Finding(
            "wired",
            "refused",
            f"{nic.name} is Wi-Fi; an access point drops bridged frames",
            "connect the board by cable, or attach it by VXLAN or by route over the Wi-Fi",
        )
    if nic.name == "lo" or nic.kind == "bridge":
        what = "a bridge" if nic.kind == "bridge" else "the loopback interface"
        yield Finding(
            "wired",
            "refused",
            f"{nic.name} is {what}, not a NIC",
            "name the NIC that the board is connected to",
        )
    if nic.xdp:
        yield Finding("free", "refused", f"an XDP program intercepts the packets of {nic.name}", OTHER_WAYS)


def _not_free(
    nic: Interface, there: Mapping[str, Interface], environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield refusals of a NIC that is in use: losing it could lock somebody out of the machine."""
    for peer, own in network_facts.ssh_peers(environment).items():
        way = network_facts.way_to(peer)
        by_address = any(address.partition("/")[0] == own for address in nic.addresses)
        if by_address or (way is not None and way.interface == nic.name):
            yield Finding("free", "refused", f"{nic.name} carries an ssh session from {peer}", OTHER_WAYS)
            break
    if nic.name in network_facts.default_route_interfaces():
        yield Finding("free", "refused", f"{nic.name} carries the default route", OTHER_WAYS)
    if nic.addresses:
        yield Finding(
            "free",
            "refused",
            f"{nic.name} has the address {', '.join(nic.addresses)}",
            f"{OTHER_WAYS}; {_SPARE_IT} ip addr del {nic.addresses[0]} dev {nic.name}",
        )
    if nic.master is not None:
        yield Finding(
            "free",
            "refused",
            f"{nic.name} is a port of {nic.master}",
            f"{OTHER_WAYS}; {_SPARE_IT} ip link set {nic.name} nomaster",
        )
    above = sorted(interface.name for interface in there.values() if interface.lower == nic.name)
    if above:
        yield Finding(
            "free", "refused", f"{nic.name} is the lower interface of {', '.join(above)}", OTHER_WAYS
        )


def _twice(nic: Interface, there: Mapping[str, Interface]) -> Iterator[Finding]:
    stack = {nic.name, nic.master}  # a bridge has the address of one of its ports
    same = sorted(
        other.name
        for other in there.values()
        if other.mac == nic.mac and other.name not in stack and other.lower != nic.name
    )
    if same:
        yield Finding(
            "MAC",
            "refused",
            f"{nic.name} and {', '.join(same)} have the same Ethernet address, {nic.mac}",
            f"change one of them: ip link set {nic.name} address 02:..., or attach by another NIC",
        )
    else:
        yield Finding("MAC", "ok", "unique on this machine")


def _cable(nic: Interface, sysfs: Path) -> Iterator[Finding]:
    if not nic.up:
        yield Finding(
            "link", "note", f"{nic.name} is down, so its cable cannot be checked; attaching brings it up"
        )
        return
    if not nic.carrier:
        yield Finding(
            "link", "refused", f"{nic.name} has no link", "check the cable and that the board is switched on"
        )
        return
    speed_bit_s = network_facts.speed_bit_s(nic.name, sysfs)
    speed = f"{speed_bit_s / 1e6:g} Mbit/s" if speed_bit_s else "speed unknown"
    yield Finding("link", "ok", f"up, {speed}")


def _mtu(mtu_bytes: int, why: str = "") -> Finding:
    if mtu_bytes >= USUAL_MTU_BYTES:
        return Finding("MTU", "ok", f"{mtu_bytes} bytes{why}")
    return Finding(
        "MTU",
        "note",
        f"{mtu_bytes} bytes{why}; the run sets it at the ground's end, and the board needs the same",
    )


def _heard(nic: Interface) -> Iterator[Finding]:
    """Check how many devices answer at the other end of the cable."""
    if not (nic.up and nic.carrier):
        return
    with Wire(nic.name) as wire:
        macs = wire.neighbours()
    if nic.mac in macs:
        yield Finding(
            "emulated plane",
            "refused",
            f"a device on the link has the Ethernet address of {nic.name} itself, {nic.mac}",
            "change the address of the board's interface, or look for a loop in the cabling",
        )
    elif len(macs) > 1:
        yield Finding(
            "emulated plane",
            "refused",
            f"{len(macs)} devices answer on the link ({', '.join(sorted(macs))}); only the board may",
            "connect the board alone, or put it into a separate VLAN on a managed switch",
        )
    elif macs:
        yield Finding("emulated plane", "ok", f"{macs.pop()} answers")
    else:
        yield Finding("emulated plane", "note", "no device answers an IPv6 echo; the board may ignore them")


def _echo(address: str) -> Finding:
    done = subprocess.run(
        ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", address],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return Finding("emulated plane", "ok", f"{address} answers, {done.stdout.strip().splitlines()[-1]}")
    return Finding(
        "emulated plane",
        "refused",
        f"{address} does not answer a ping",
        "check that the board is switched on",
    )


def _management(board: Board) -> Iterator[Finding]:
    where = f"{board.management}, port {board.ssh_port}"
    try:
        connection = socket.create_connection((board.management, board.ssh_port), MANAGEMENT_WITHIN_S)
    except OSError as error:
        yield Finding(
            "management plane",
            "refused",
            f"no ssh server at {where}: {error}",
            "check that the board is switched on, and its management address in the inventory",
        )
        return
    with connection:
        address = connection.getpeername()[0]
    way = network_facts.way_to(address)
    yield Finding("management plane", "ok", f"ssh server at {where}")
    if isinstance(board.attach, NicAttachment) and _leaves_by(way, board.attach.interface):
        yield Finding(
            "management plane",
            "refused",
            f"{address} is reached via {board.attach.interface}, which is the link under test",
            "use a second interface of the board for management, such as Wi-Fi or USB",
        )


def _leaves_by(way: Way | None, interface: str) -> bool:
    return way is not None and way.interface == interface


def _udp_port(port: int, there: Mapping[str, Interface]) -> Iterator[Finding]:
    """Check, by binding it, that VXLAN's port is free, unless VXLAN uses it already."""
    if any(interface.kind == "vxlan" for interface in there.values()):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("", port))
        except OSError as error:
            yield Finding(
                "UDP port",
                "refused",
                f"{port}: {error.strerror}",
                "use another port, in the inventory and on the board",
            )


def _kernel_can(kind: str) -> Finding:
    """Check that the kernel can create such interfaces, in a temporary namespace."""
    options = {"macvlan": "mode passthru", "vlan": "id 2", "vxlan": "id 2 dstport 4789"}[kind]
    lower = "" if kind == "vxlan" else "link a"
    with NetworkNamespace.create("trial") as trial:
        trial.add_veth("a", peer_name="b", peer_path=trial.path)
        done = trial.run(f"ip link add {lower} name c type {kind} {options}".split())
    if done.returncode == 0:
        return Finding("kernel", "ok", f"has {kind}")
    return Finding(
        "kernel",
        "refused",
        f"cannot create a {kind} interface: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
        f"modprobe {MODULES[kind]}, or attach the board in another way",
    )
