"""Whether a board can be attached, looked at before anything is touched.

Each finding is one thing that was looked at: well, worth knowing, or a refusal with its reason and what
else can be done. Nothing is changed; two frames are sent at a NIC that is up, to hear whether one answers.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.boards.host import facts as network_facts
from testbed.boards.host.facts import SYSFS, Interface, Way
from testbed.boards.inventory import (
    VXLAN_OVERHEAD_BYTES,
    Board,
    NicAttachment,
    RouteAttachment,
    VlanAttachment,
    VxlanAttachment,
)
from testbed.boards.wire import Wire
from testbed.kernel.namespace import NetworkNamespace

Verdict = Literal["ok", "note", "refused"]
MANAGEMENT_WITHIN_S = 2.0
USUAL_MTU_BYTES = 1500
MODULES = {"macvlan": "macvlan", "vlan": "8021q", "vxlan": "vxlan"}
OTHER_WAYS = "attach the board by another NIC, by VLAN on a managed switch, by VXLAN or by route"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: in a word or two.
        verdict: "refused" means that the board cannot be attached like this.
        detail: what was found; of a refusal, the reason.
        instead: what to do about a refusal.
    """

    what: str
    verdict: Verdict
    detail: str
    instead: str = ""


def check(board: Board, *, sysfs: Path = SYSFS, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at everything that can be known of a board's attachment; in the calling thread's namespace.

    Args:
        board: of the inventory.
        sysfs: where the kernel's /sys is mounted for this network namespace.
        environment: variables, for $SSH_CONNECTION.
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


def usable(findings: Sequence[Finding]) -> bool:
    """Whether nothing was refused."""
    return all(finding.verdict != "refused" for finding in findings)


def _nic(
    name: str, there: Mapping[str, Interface], sysfs: Path, environment: Mapping[str, str]
) -> Iterator[Finding]:
    nic = there.get(name)
    if nic is None:
        yield _no_interface(name, there)
        return
    yield Finding("interface", "ok", f"{name} ({nic.kind or 'a NIC'}, {nic.mac})")
    refusals = [*_not_a_cable(nic, sysfs), *_not_free(nic, there, environment)]
    yield from refusals or [Finding("free", "ok", "no address, no route, no session, no bridge")]
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
    yield from _not_a_cable(trunk, sysfs)
    if trunk.master is not None:
        yield Finding("free", "refused", f"{trunk.name} is a port of {trunk.master}", OTHER_WAYS)
    taken = network_facts.vlan_numbers(trunk)
    if attach.vlan in taken:
        yield Finding(
            "free",
            "refused",
            f"VLAN {attach.vlan} of {trunk.name} is in use by {taken[attach.vlan]}",
            "give the board a VLAN of its own",
        )
    yield from _cable(trunk, sysfs)
    yield _kernel_can("vlan")
    yield _mtu(trunk.mtu_bytes)
    yield Finding("emulated plane", "note", "known once attached: nobody can ask on a VLAN that is not there")


def _vxlan(attach: VxlanAttachment, there: Mapping[str, Interface]) -> Iterator[Finding]:
    way = network_facts.way_to(attach.remote)
    if way is None:
        yield _no_way(attach.remote)
        return
    yield Finding("route", "ok", f"{attach.remote} by {way.interface}, from {way.source}")
    overhead = VXLAN_OVERHEAD_BYTES[6 if ":" in attach.remote else 4]
    yield _mtu(way.mtu_bytes - overhead, f", which is {way.mtu_bytes} of {way.interface} less {overhead}")
    yield _kernel_can("vxlan")
    yield from _udp_port(attach.port, there)
    yield _echo(attach.remote)


def _route(address: str) -> Iterator[Finding]:
    way = network_facts.way_to(address)
    if way is None:
        yield _no_way(address)
        return
    yield Finding("route", "ok", f"{address} by {way.interface}, from {way.source}")
    yield _mtu(way.mtu_bytes)
    yield _echo(address)


def _no_interface(name: str, there: Mapping[str, Interface]) -> Finding:
    others = ", ".join(sorted(set(there) - {"lo"})) or "none but lo"
    return Finding(
        "interface", "refused", f"there is no {name} here", f"correct the inventory; there is: {others}"
    )


def _no_way(address: str) -> Finding:
    return Finding(
        "route",
        "refused",
        f"no route leads to {address}, or it is this machine's own",
        "correct the inventory",
    )


def _not_a_cable(nic: Interface, sysfs: Path) -> Iterator[Finding]:
    """Refusals of what can never be a board's cable."""
    if network_facts.is_wireless(nic.name, sysfs):
        yield Finding(
            "wired",
            "refused",
            f"{nic.name} is Wi-Fi; an access point takes a station's own frames only, and no bridge's",
            "connect the board by cable, or attach it by VXLAN or by route over the Wi-Fi",
        )
    if nic.name == "lo" or nic.kind == "bridge":
        what = "a bridge itself" if nic.kind == "bridge" else "the loopback"
        yield Finding(
            "wired", "refused", f"{nic.name} is {what}, not a cable", "name the NIC that the board is on"
        )
    if nic.xdp:
        yield Finding("free", "refused", f"an XDP program takes the packets of {nic.name}", OTHER_WAYS)


def _not_free(
    nic: Interface, there: Mapping[str, Interface], environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Refusals of what somebody uses. Losing it could lock somebody out of the machine."""
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
            f"{nic.name} carries the address {', '.join(nic.addresses)}",
            f"{OTHER_WAYS}; or, if nobody needs it: ip addr del {nic.addresses[0]} dev {nic.name}",
        )
    if nic.master is not None:
        yield Finding(
            "free",
            "refused",
            f"{nic.name} is a port of {nic.master}",
            f"{OTHER_WAYS}; or, if nobody needs it: ip link set {nic.name} nomaster",
        )
    above = sorted(one.name for one in there.values() if one.lower == nic.name)
    if above:
        yield Finding("free", "refused", f"{', '.join(above)} of this machine sits on {nic.name}", OTHER_WAYS)


def _twice(nic: Interface, there: Mapping[str, Interface]) -> Iterator[Finding]:
    stack = {nic.name, nic.master}  # a bridge has the address of one of its ports
    same = sorted(
        one.name
        for one in there.values()
        if one.mac == nic.mac and one.name not in stack and one.lower != nic.name
    )
    if same:
        yield Finding(
            "MAC",
            "refused",
            f"{nic.name} and {', '.join(same)} have the same Ethernet address, {nic.mac}",
            f"give one another: ip link set {nic.name} address 02:..., or attach by another NIC",
        )
    else:
        yield Finding("MAC", "ok", "the only one of its kind on this machine")


def _cable(nic: Interface, sysfs: Path) -> Iterator[Finding]:
    if not nic.up:
        yield Finding(
            "link", "note", f"{nic.name} is down, so nothing is known of its cable; attach brings it up"
        )
        return
    if not nic.carrier:
        yield Finding(
            "link", "refused", f"{nic.name} has no link", "look at the cable, and whether the board is on"
        )
        return
    speed_bit_s = network_facts.speed_bit_s(nic.name, sysfs)
    speed = f"{speed_bit_s / 1e6:g} Mbit/s" if speed_bit_s else "of a speed that it does not tell"
    yield Finding("link", "ok", f"up, {speed}")


def _mtu(mtu_bytes: int, why: str = "") -> Finding:
    if mtu_bytes >= USUAL_MTU_BYTES:
        return Finding("MTU", "ok", f"{mtu_bytes} bytes{why}")
    return Finding(
        "MTU",
        "note",
        f"{mtu_bytes} bytes{why}; the run gives the ground's end the same, and the board needs it too",
    )


def _heard(nic: Interface) -> Iterator[Finding]:
    """Whether somebody answers at the other end of the cable."""
    if not (nic.up and nic.carrier):
        return
    with Wire(nic.name) as wire:
        macs = wire.heard()
    if nic.mac in macs:
        yield Finding(
            "emulated plane",
            "refused",
            f"a device there has the Ethernet address of {nic.name} itself, {nic.mac}",
            "give the board's interface another address, or look for a loop in the cabling",
        )
    elif len(macs) > 1:
        yield Finding(
            "emulated plane",
            "refused",
            f"{len(macs)} devices answer there ({', '.join(sorted(macs))}); they would all be the satellite",
            "connect the board alone, or give it a VLAN of its own on a managed switch",
        )
    elif macs:
        yield Finding("emulated plane", "ok", f"{macs.pop()} answers")
    else:
        yield Finding(
            "emulated plane", "note", "nobody answers there to an IPv6 echo; it may be switched off"
        )


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
        "emulated plane", "refused", f"{address} does not answer to ping", "see that the board is on"
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
            "see that the board is on, and that the inventory has its management address",
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
            f"{address} is reached over {board.attach.interface}, the link under test itself",
            "give the board a second interface for management, such as Wi-Fi or USB",
        )


def _leaves_by(way: Way | None, interface: str) -> bool:
    return way is not None and way.interface == interface


def _udp_port(port: int, there: Mapping[str, Interface]) -> Iterator[Finding]:
    """VXLAN's port must be free, or be used by VXLAN already; the kernel tells by letting us bind it."""
    if any(one.kind == "vxlan" for one in there.values()):
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.bind(("", port))
        except OSError as error:
            yield Finding(
                "UDP port",
                "refused",
                f"{port}: {error.strerror}",
                "give the board another port, here and there",
            )


def _kernel_can(kind: str) -> Finding:
    """Whether the kernel makes such interfaces; tried in a namespace of our own."""
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
        f"it makes no {kind} interface: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
        f"modprobe {MODULES[kind]}, or attach the board in another way",
    )
