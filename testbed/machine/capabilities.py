"""What this machine can do for a run, each probed by doing it, with the one command that mends it.

Probes that touch the network do so in an anonymous network namespace that ends with the probe, so nothing
is left behind.  One thing can stay: asking the kernel for a qdisc or a netfilter match loads its module if
the machine has it on disk, just as using it would.  Of these only br_netfilter changes what the machine does
(its bridges send their packets through iptables), and that is switched off where the probe has loaded it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from testbed.kernel.namespace import NetworkNamespace
from testbed.machine import uml
from testbed.machine.system_path import find_program

AS_ROOT = "sudo spaceverse doctor"
NEEDED = ("root", "namespaces", "ip", "mnexec", "mosquitto", "torch")  # and one shaper
SHAPERS = ("netem", "nfqueue")
MNEXEC_MEND = "apt-get install mininet"
MOSQUITTO_MEND = "apt-get install mosquitto"
TORCH_MEND = "pip install 'spaceverse-testbed[node]'"

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
SLOW_READING_S = 5e-7

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


def probe(shapers: Sequence[Capability]) -> list[Capability]:
    """Try everything; never raises. Takes about a second.

    Args:
        shapers: those of the shapers, see `testbed.network.shapers.capabilities`; shown after the namespaces.
    """
    return [
        _root(),
        _namespaces(),
        *shapers,
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
