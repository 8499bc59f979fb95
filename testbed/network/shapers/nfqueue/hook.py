"""How bridged packets get into NFQUEUEs: by nft, or by iptables through br_netfilter.

nft takes every frame, ARP too. iptables takes IPv4 and IPv6 only. Each way is probed with a real rule in an
anonymous namespace. A probe may load modules that the machine has on disk; of these only br_netfilter changes
what the machine does (its bridges then send their packets through iptables), so the probe switches that off
again where it has loaded it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

from testbed.errors import CapabilityError, LinkError, TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine.resources import raise_if_short
from testbed.machine.system_path import find_program
from testbed.network.shapers.nfqueue.packet_queue import PacketQueue

NFQUEUE_FIX = "apt-get install iptables nftables && modprobe -a nfnetlink_queue xt_NFQUEUE br_netfilter"
BRIDGE_SYSCTLS = Path("/proc/sys/net/bridge")  # there once br_netfilter is loaded
NFT_TABLE = ("bridge", "spaceverse")

NfqueueWay = Literal["nft", "iptables-nft", "iptables-legacy"]

_NFT_RULE = """table bridge probe {
  chain forward {
    type filter hook forward priority 0;
    iifname "probe" queue num 1
  }
}
"""
_IPTABLES_RULE = [
    *("-t", "mangle", "-A", "FORWARD", "-m", "physdev", "--physdev-in", "probe"),
    *("-j", "NFQUEUE", "--queue-num", "1"),
]
_NFQUEUE_RULES: dict[NfqueueWay, tuple[list[str], str | None]] = {
    "nft": (["nft", "-f", "-"], _NFT_RULE),
    "iptables-nft": (["iptables-nft", *_IPTABLES_RULE], None),
    "iptables-legacy": (["iptables-legacy", *_IPTABLES_RULE], None),
}


@functools.cache
def nfqueue_way() -> NfqueueWay | None:
    """Return how bridged packets can be sent to NFQUEUE here: the first way that works, or None.

    Each way is tried with a real rule in a new namespace that has a bridge, and queue 1 is bound.

    Raises:
        TestbedError: this machine is out of descriptors, memory or processes, and nothing could be tried.
    """
    had_br_netfilter = BRIDGE_SYSCTLS.exists()
    try:
        with NetworkNamespace.create("probe") as namespace:
            namespace.add_bridge("br-probe")
            for way in _NFQUEUE_RULES:
                if _takes_rule(namespace, way) and namespace.call(_binds_queue):
                    return way
    except (TestbedError, OSError) as error:
        raise_if_short(error)
        return None
    finally:
        if not had_br_netfilter and BRIDGE_SYSCTLS.exists():
            for switch in BRIDGE_SYSCTLS.glob("bridge-nf-call-*"):
                switch.write_text("0")
    return None


def find_hook() -> NfqueueWay:
    """Return the first hook that works here. Raises CapabilityError if none does."""
    hook = nfqueue_way()
    if hook is None:
        raise CapabilityError(f"bridged packets cannot be sent to NFQUEUE here; fix it with: {NFQUEUE_FIX}")
    return hook


def add_rules(sky: NetworkNamespace, hook: NfqueueWay, queues: dict[str, int]) -> None:
    """Send the packets that enter at each port to its NFQUEUE, given by number. Raises LinkError."""
    if hook == "nft":
        _add_nft_rules(sky, queues)
    else:
        _add_iptables_rules(sky, queues, flavour=hook.removeprefix("iptables-"))


def _add_nft_rules(sky: NetworkNamespace, queues: dict[str, int]) -> None:
    family, table = NFT_TABLE
    rules = "".join(
        f'add rule {family} {table} forward iifname "{port}" queue num {n}\n' for port, n in queues.items()
    )
    _feed(
        sky,
        ["nft", "-f", "-"],
        f"add table {family} {table}\n"
        f"add chain {family} {table} forward {{ type filter hook forward priority 0; }}\n{rules}",
    )


def _add_iptables_rules(sky: NetworkNamespace, queues: dict[str, int], *, flavour: str) -> None:
    # No --queue-bypass: without a listener the kernel drops, and that is what a dead link does.
    rules = "".join(
        f"-A FORWARD -m physdev --physdev-in {port} -j NFQUEUE --queue-num {number}\n"
        for port, number in queues.items()
    )
    for program in ("iptables", "ip6tables"):
        _feed(sky, [f"{program}-{flavour}-restore", "--noflush", "--wait", "5"], f"*mangle\n{rules}COMMIT\n")


def call_iptables_on_bridges(sky: NetworkNamespace, on: bool) -> None:
    """Let the packets of the sky's bridges, and of no others, traverse iptables, or not."""
    for family in ("iptables", "ip6tables"):
        name = f"bridge/bridge-nf-call-{family}"
        if on or sky.read_sysctl(name) is not None:
            sky.write_sysctl(name, str(int(on)))


def _feed(sky: NetworkNamespace, arguments: list[str], text: str) -> None:
    program = find_program(arguments[0])
    if program is None:
        raise LinkError(f"there is no {arguments[0]}")
    done = sky.run([program, *arguments[1:]], stdin=text)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise LinkError(f"{arguments[0]}: {said}")


def _takes_rule(namespace: NetworkNamespace, way: NfqueueWay) -> bool:
    (program, *arguments), stdin = _NFQUEUE_RULES[way]
    path = find_program(program)
    if path is None or namespace.run([path, *arguments], stdin).returncode != 0:
        return False
    # iptables sees bridged packets only through br_netfilter, which the physdev match loads.
    return way == "nft" or namespace.read_sysctl("bridge/bridge-nf-call-iptables") is not None


def _binds_queue() -> bool:
    try:
        PacketQueue(1).close()
    except OSError as error:
        raise_if_short(error)
        return False
    return True
