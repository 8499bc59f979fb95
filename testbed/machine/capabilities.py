"""The capabilities of this machine that a run needs, each tested by using it, and how to fix what is missing.

Tests that touch the network do so in an anonymous network namespace that ends with the test, so nothing is
left behind. The one exception: requesting a qdisc or a netfilter match makes the kernel load its module if
the machine has it on disk. Of these only br_netfilter changes the machine's behaviour (its bridges then send
packets through iptables); it is switched off again if the test has loaded it.
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
MNEXEC_FIX = "apt-get install mininet"
MOSQUITTO_FIX = "apt-get install mosquitto"
TORCH_FIX = "pip install 'spaceverse-testbed[node]'"

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
SLOW_READING_S = 5e-7

_CLOCKS = Path("/sys/devices/system/clocksource/clocksource0")


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability of the machine that a run may need.

    Args:
        name: Its name, one word.
        ok: Whether it is present and sufficient.
        detail: The observed state.
        why: Its purpose.
        fix: The command (or action) that provides it; empty if `ok`.
    """

    name: str
    ok: bool
    detail: str
    why: str
    fix: str = ""


def probe(shapers: Sequence[Capability]) -> list[Capability]:
    """Test all capabilities, without ever raising; takes about a second.

    Args:
        shapers: The capabilities of the shapers (`testbed.network.shapers.capabilities`).

    Returns:
        All capabilities in the order in which they are shown.
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
        _program("ip", "iproute2", "sets the routes of Mininet hosts"),
        _program("ifconfig", "net-tools", "sets the addresses of Mininet hosts"),
        _program("ping", "iputils-ping", "measures delay in your own scripts and in the tests"),
        _program("iperf3", "iperf3", "measures rate in your own scripts and in the tests"),
        _program("crun", "crun", "runs containers on nodes"),
        _program("umoci", "umoci", "unpacks the images of containers"),
    ]


def enough_for_a_run(found: Sequence[Capability]) -> bool:
    """Return whether a scenario can run: it needs everything in NEEDED, and one shaper."""
    present = {capability.name for capability in found if capability.ok}
    return present.issuperset(NEEDED) and not present.isdisjoint(SHAPERS)


def _root() -> Capability:
    uid = os.geteuid()
    why = "creates network namespaces and shapes links"
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
    except Exception as error:  # whatever the reason, namespaces do not work here
        return Capability("namespaces", False, str(error), why, "modprobe -a bridge veth")
    return Capability("namespaces", True, "namespace, bridge and veth can be created", why)


def _mnexec() -> Capability:
    path = find_program("mnexec")
    why = "starts the Mininet hosts"
    if path is None:
        return Capability("mnexec", False, "not found", why, MNEXEC_FIX)
    mininet = _package("mininet")
    if mininet is None:
        fix = "pip install 'spaceverse-testbed[testbed]'"
        return Capability("mnexec", False, f"{path}, but no Python package mininet", why, fix)
    return Capability("mnexec", True, f"{path}, Mininet {mininet}", why)


def _mosquitto() -> Capability:
    path = find_program("mosquitto")
    why = "MQTT broker of the management plane and of each ground station"
    if path is None:
        return Capability("mosquitto", False, "not found", why, MOSQUITTO_FIX)
    version_text = re.search(r"mosquitto version (\d+)\.(\S+)", _output([path, "-h"]))
    if version_text is None:
        return Capability("mosquitto", False, f"{path} prints no version", why, MOSQUITTO_FIX)
    # Unix-socket listeners and per-listener settings came with 2.0.
    ok = int(version_text[1]) >= 2
    detail = f"{version_text[1]}.{version_text[2]}" + ("" if ok else ", older than 2.0")
    return Capability("mosquitto", ok, detail, why, "" if ok else MOSQUITTO_FIX)


def _torch() -> Capability:
    why = "runs the vision-language models"
    torch, transformers = _package("torch"), _package("transformers")
    if torch is None or transformers is None:
        missing = "torch" if torch is None else "transformers"
        return Capability("torch", False, f"no Python package {missing}", why, TORCH_FIX)
    detail = f"{torch} on {_device()}, transformers {transformers}"
    return Capability("torch", True, detail, why)


def _device() -> str:
    processor = f"CPU, {os.cpu_count()} cores"
    # Importing torch takes seconds, so it is done only where a driver reports a GPU.
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists() or Path("/dev/kfd").exists()):
        return processor
    query = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    name = _output([sys.executable, "-c", query], timeout_s=30).strip().splitlines()[-1:]
    return name[0] if name and name[0] else f"{processor} (there is a GPU, but torch cannot use it)"


def _clock() -> Capability:
    why = "timestamps every packet and event; a slow or jumping clock spoils all results"
    try:
        source = (_CLOCKS / "current_clocksource").read_text().strip()
        others = (_CLOCKS / "available_clocksource").read_text().split()
    except OSError:
        source, others = "unknown", []
    reading_s = _clock_reading_s()
    detail = f"{source}, {reading_s * 1e9:.0f} ns per reading"
    if source in GOOD_CLOCKS and reading_s < SLOW_READING_S:
        return Capability("clock", True, detail, why)
    better = next((name for name in GOOD_CLOCKS if name in others and name != source), None)
    fix = f"echo {better} > {_CLOCKS}/current_clocksource" if better else "use a machine whose clock is tsc"
    return Capability("clock", False, detail, why, fix)


def _clock_reading_s(rounds: int = 20000) -> float:
    start_s = time.perf_counter()
    for _ in range(rounds):
        time.monotonic()
    return (time.perf_counter() - start_s) / rounds


def _real_time() -> Capability:
    why = "lets the nfqueue shaper release packets on time while models use all cores"
    refusal: list[OSError] = []

    def ask() -> None:
        # Scheduling is a property of a thread; this one ends at once.
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            refusal.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if not refusal:
        return Capability("real-time", True, "SCHED_FIFO is allowed", why)
    fix = AS_ROOT if os.geteuid() != 0 else "give the container --cap-add=SYS_NICE"
    return Capability("real-time", False, f"SCHED_FIFO is refused: {refusal[0].strerror}", why, fix)


def _uml() -> Capability:
    lack = uml.missing()
    why = "tests the netem shaper in a kernel that has it; runs do not need it"
    if lack is not None:
        return Capability("uml", False, lack, why, uml.FIX)
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
