"""What this machine can do for a run, each probed by doing it, with the one command that mends it.

Probes that touch the network do so in an anonymous network namespace that ends with the probe, so nothing
is left behind.  One thing can stay: asking the kernel for a qdisc or a netfilter match loads its module if
the machine has it on disk, just as using it would.  Of these only br_netfilter changes what the machine does
(its bridges send their packets through iptables), and that is switched off where the probe has loaded it.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from testbed.errors import CapabilityError, InputError, TestbedError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine import uml
from testbed.machine.system_path import find_program
from testbed.network.shapers.base import Shaper
from testbed.network.shapers.netem.shaper import NetemShaper, netem_mend, no_netem

AS_ROOT = "sudo spaceverse doctor"
NEEDED = ("root", "namespaces", "ip", "mnexec", "mosquitto", "torch")  # and one shaper
SHAPERS = ("netem", "nfqueue")  # in the order of choice, see choose_shaper
MNEXEC_MEND = "apt-get install mininet"
MOSQUITTO_MEND = "apt-get install mosquitto"
TORCH_MEND = "pip install 'spaceverse-testbed[node]'"
NFQUEUE_MEND = "apt-get install iptables nftables && modprobe -a nfnetlink_queue xt_NFQUEUE br_netfilter"

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
SLOW_READING_S = 5e-7
BRIDGE_SYSCTLS = Path("/proc/sys/net/bridge")  # there once br_netfilter is loaded

NfqueueWay = Literal["nft", "iptables-nft", "iptables-legacy"]

_CLOCKS = Path("/sys/devices/system/clocksource/clocksource0")


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that a run may need of a machine.

    Args:
        name: one word.
        ok: whether it is there and good enough.
        detail: what was found.
        why: what it is for.
        mend: the one command (or act) that mends it; empty if `ok`.
    """

    name: str
    ok: bool
    detail: str
    why: str
    mend: str = ""


def probe() -> list[Capability]:
    """Try everything; never raises. Takes about a second."""
    return [
        _root(),
        _namespaces(),
        _netem(),
        _nfqueue(),
        _mnexec(),
        _mosquitto(),
        _torch(),
        _clock(),
        _real_time(),
        _uml(),
        _program("ip", "iproute2", "Mininet hosts set their routes with it"),
        _program("ifconfig", "net-tools", "Mininet hosts set their addresses with it"),
        _program("ping", "iputils-ping", "measures delay in your own scripts and in the tests"),
        _program("iperf3", "iperf3", "measures rate in your own scripts and in the tests"),
    ]


def enough_for_a_run(found: Sequence[Capability]) -> bool:
    """Whether a scenario can run: everything in NEEDED, and at least one shaper."""
    there = {capability.name for capability in found if capability.ok}
    return there.issuperset(NEEDED) and not there.isdisjoint(SHAPERS)


def choose_shaper(name: str | None = None) -> Callable[[str], Shaper]:
    """The shaper called `name`, or for None or "auto" the better one that this machine has.

    netem comes first: the kernel plays it, which costs no processor time that inference could use, and it
    carries more links and higher rates.  nfqueue works where the kernel has no netem.

    Returns:
        A factory that takes the path of the sky's network namespace.

    Raises:
        InputError: there is no such shaper.
        CapabilityError: this machine cannot play it, or none; the text names the mend.
    """
    if name not in (None, "auto", *SHAPERS):
        raise InputError(f"there is no shaper {name!r}; choose one of auto, {', '.join(SHAPERS)}")
    if os.geteuid() != 0:
        raise CapabilityError("an emulated link needs root; run the same command with sudo")
    if name in (None, "auto", "netem") and has_netem():
        return NetemShaper
    if name in (None, "auto", "nfqueue") and has_nfqueue():
        from testbed.network.shapers.nfqueue.shaper import NfqueueShaper  # it may ask this module for its way

        return NfqueueShaper
    if name == "netem":
        raise CapabilityError(no_netem())
    mend = f"mend it with: {NFQUEUE_MEND}"
    if name == "nfqueue":
        raise CapabilityError(f"this machine has no NFQUEUE for bridged packets; {mend}")
    raise CapabilityError(f"this machine has neither netem nor NFQUEUE, so no link can be shaped; {mend}")


@functools.cache
def has_netem() -> bool:
    """Whether the kernel lets us put a netem on an interface; False without root."""
    return netem_lack() is None


@functools.cache
def has_nfqueue() -> bool:
    """Whether bridged packets can be queued to a program of ours, and how; False without root."""
    return nfqueue_way() is not None


def netem_lack() -> str | None:
    """Why there is no netem here, or None. It is tried on the loopback of a new namespace."""

    try:
        with NetworkNamespace.create("probe") as namespace:
            NetemShaper(namespace.path).close()
    except TestbedError as error:
        return "not probed without root" if os.geteuid() != 0 else str(error).split(";")[0]
    except OSError as error:
        return f"the kernel refused: {error}"
    return None


@functools.cache
def nfqueue_way() -> NfqueueWay | None:
    """How bridged packets can be sent to NFQUEUE here; the first that works, None if none does.

    Each way is tried with a real rule in a new namespace that has a bridge, and queue 1 is bound.
    """
    had_br_netfilter = BRIDGE_SYSCTLS.exists()
    try:
        with NetworkNamespace.create("probe") as namespace:
            namespace.add_bridge("br-probe")
            for way in _NFQUEUE_RULES:
                if _takes_rule(namespace, way) and namespace.call(_binds_queue):
                    return way
    except (TestbedError, OSError):
        return None
    finally:
        if not had_br_netfilter and BRIDGE_SYSCTLS.exists():
            for switch in BRIDGE_SYSCTLS.glob("bridge-nf-call-*"):
                switch.write_text("0")
    return None


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


def _takes_rule(namespace: NetworkNamespace, way: NfqueueWay) -> bool:
    (program, *arguments), stdin = _NFQUEUE_RULES[way]
    path = find_program(program)
    if path is None or namespace.run([path, *arguments], stdin).returncode != 0:
        return False
    # iptables sees bridged packets only through br_netfilter, which the physdev match loads.
    return way == "nft" or namespace.read_sysctl("bridge/bridge-nf-call-iptables") is not None


def _binds_queue() -> bool:
    """Bind NFQUEUE 1 by the message of nfnetlink_queue.h: NFQNL_MSG_CONFIG, NFQNL_CFG_CMD_BIND."""
    netlink_netfilter, config, request_and_ack, cfg_cmd, bind = 12, 3 << 8 | 2, 0x5, 1, 1
    command = struct.pack("=HHBxH", 8, cfg_cmd, bind, socket.htons(socket.AF_INET))
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, 1) + command
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_netfilter) as queue:
        queue.settimeout(2)
        queue.send(struct.pack("=IHHII", 16 + len(body), config, request_and_ack, 1, 0) + body)
        (code,) = struct.unpack_from("=i", queue.recv(4096), 16)
    return bool(code == 0)


def _root() -> Capability:
    uid = os.geteuid()
    why = "makes network namespaces and shapes links"
    return Capability("root", uid == 0, f"user id {uid}", why, "" if uid == 0 else AS_ROOT)


def _namespaces() -> Capability:
    why = "every host, and the sky that holds the links, is a network namespace"

    def try_out() -> None:
        with NetworkNamespace.create("probe") as namespace:
            namespace.add_bridge("br-probe")
            namespace.add_veth("probe0", peer_name="probe1", peer_path=namespace.path)

    if os.geteuid() != 0:
        return Capability("namespaces", False, "not probed without root", why, AS_ROOT)
    try:
        try_out()
    except Exception as error:  # whatever it is, the answer is that it does not work here
        return Capability("namespaces", False, str(error), why, "modprobe -a bridge veth")
    return Capability("namespaces", True, "namespace, bridge and veth can be made", why)


def _netem() -> Capability:
    lack = netem_lack()
    why = "shapes links inside the kernel: many links, high rates"
    if lack is None:
        return Capability("netem", True, f"sch_netem works in Linux {platform.release()}", why)
    mend = AS_ROOT if os.geteuid() != 0 else netem_mend()
    return Capability("netem", False, lack, why, mend)


def _nfqueue() -> Capability:
    why = "shapes links from user space where the kernel has no netem"
    if os.geteuid() != 0:
        return Capability("nfqueue", False, "not probed without root", why, AS_ROOT)
    way = nfqueue_way()
    if way is None:
        return Capability("nfqueue", False, "neither nft nor iptables can queue packets", why, NFQUEUE_MEND)
    return Capability("nfqueue", True, f"by {way}", why)


def _mnexec() -> Capability:
    path = find_program("mnexec")
    why = "Mininet starts its hosts with it"
    if path is None:
        return Capability("mnexec", False, "not found", why, MNEXEC_MEND)
    mininet = _package("mininet")
    if mininet is None:
        mend = "pip install 'spaceverse-testbed[testbed]'"
        return Capability("mnexec", False, f"{path}, but no Python package mininet", why, mend)
    return Capability("mnexec", True, f"{path}, Mininet {mininet}", why)


def _mosquitto() -> Capability:
    path = find_program("mosquitto")
    why = "MQTT broker of the management plane and of each ground station"
    if path is None:
        return Capability("mosquitto", False, "not found", why, MOSQUITTO_MEND)
    said = _output([path, "-h"])
    found = re.search(r"mosquitto version (\d+)\.(\S+)", said)
    if found is None:
        return Capability("mosquitto", False, f"{path} tells no version", why, MOSQUITTO_MEND)
    # Unix-socket listeners and per-listener settings came with 2.0.
    ok = int(found[1]) >= 2
    detail = f"{found[1]}.{found[2]}" + ("" if ok else ", older than 2.0")
    return Capability("mosquitto", ok, detail, why, "" if ok else MOSQUITTO_MEND)


def _torch() -> Capability:
    why = "runs the vision-language models"
    torch, transformers = _package("torch"), _package("transformers")
    if torch is None or transformers is None:
        lacking = "torch" if torch is None else "transformers"
        return Capability("torch", False, f"no Python package {lacking}", why, TORCH_MEND)
    detail = f"{torch} on {_device()}, transformers {transformers}"
    return Capability("torch", True, detail, why)


def _device() -> str:
    processor = f"CPU, {os.cpu_count()} cores"
    # Importing torch takes seconds, so it is asked only where a driver says that there is a GPU.
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists() or Path("/dev/kfd").exists()):
        return processor
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    name = _output([sys.executable, "-c", ask], timeout_s=30).strip().splitlines()[-1:]
    return name[0] if name and name[0] else f"{processor} (a GPU is there, but torch cannot use it)"


def _clock() -> Capability:
    why = "times every packet and event; a slow or jumping clock spoils them all"
    try:
        source = (_CLOCKS / "current_clocksource").read_text().strip()
        others = (_CLOCKS / "available_clocksource").read_text().split()
    except OSError:
        source, others = "unknown", []
    reading_s = _clock_reading_s()
    detail = f"{source}, {reading_s * 1e9:.0f} ns a reading"
    if source in GOOD_CLOCKS and reading_s < SLOW_READING_S:
        return Capability("clock", True, detail, why)
    better = next((name for name in GOOD_CLOCKS if name in others and name != source), None)
    mend = f"echo {better} > {_CLOCKS}/current_clocksource" if better else "use a machine whose clock is tsc"
    return Capability("clock", False, detail, why, mend)


def _clock_reading_s(rounds: int = 20000) -> float:
    start_s = time.perf_counter()
    for _ in range(rounds):
        time.monotonic()
    return (time.perf_counter() - start_s) / rounds


def _real_time() -> Capability:
    why = "lets the nfqueue shaper release packets on time while models use every core"
    refusal: list[OSError] = []

    def ask() -> None:
        # Scheduling belongs to a thread; this one ends at once.
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            refusal.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if not refusal:
        return Capability("real-time", True, "SCHED_FIFO is allowed", why)
    mend = AS_ROOT if os.geteuid() != 0 else "give the container --cap-add=SYS_NICE"
    return Capability("real-time", False, f"SCHED_FIFO is refused: {refusal[0].strerror}", why, mend)


def _uml() -> Capability:
    lack = uml.missing()
    why = "tests the netem shaper with a real kernel that has it; no run needs it"
    if lack is not None:
        return Capability("uml", False, lack, why, uml.MEND)
    kernels = sorted(folder.name for folder in uml.MODULES.iterdir())
    return Capability("uml", True, f"linux.uml {', '.join(kernels)}", why)


def _program(name: str, package: str, why: str) -> Capability:
    path = find_program(name)
    return Capability(
        name, path is not None, path or "not found", why, "" if path else f"apt-get install {package}"
    )


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _output(arguments: Sequence[str], timeout_s: float = 5) -> str:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
