"""Measure links that are full at the same time: sudo python benchmarks/links_together.py.

Every link carries one TCP flow of iperf3, which has a pair of hosts of its own. Goodput is compared with what
full Ethernet frames of TCP carry at the link's rate. On the first link, frames of 64 bytes go there and back
between the flow's: the error of their round trip is against the delays, the rate and the bytes that the
shaper says they met. `--rate`, `--links` and `--seconds` choose another load, `--congestion` another
algorithm than the kernel's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from testbed.kernel.namespace import NetworkNamespace
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link import SkyLink
from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.choice import has_nfqueue
from testbed.network.shapers.nfqueue.hook import NFQUEUE_FIX
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from testbed.verify.checks import goodput_bit_s
from testbed.verify.link import GROUND, INTERFACE, SATELLITE, MeasuredLink, rtt_s
from testbed.verify.probe import RTT_FRAME_BYTES

DELAY_S, QUEUE_S = 0.005, 0.02
WARM_UP_S = 2  # slow start
PROBE_EVERY_S = 0.02
SHARE_BOUND, P99_BOUND_MS = 0.97, 1.0  # every 10 s BBR pauses for 0.2 s
BUSY_COLUMNS = (0, 1, 2, 5, 6)  # of /proc/stat: user, nice, system, irq, softirq


class LoadedLink(MeasuredLink):
    """A link whose flows come from elsewhere; see `MeasuredLink`."""

    def __init__(self, link: SkyLink, satellite: NetworkNamespace, ground: NetworkNamespace) -> None:
        self.link = link
        super().__init__(satellite, ground)

    def set(self, down: LinkState, up: LinkState) -> None:
        """Write both directions."""
        self.link.set(down, up)

    def check(self) -> None:
        """Raise if the link's shaper has ended."""
        self.link.check()


def main() -> int:
    """Measure once; return 1 if a bound was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--links", type=int, default=4, help="how many (4)")
    parser.add_argument(
        "--rate", type=float, default=250.0, help="of each direction of each link, Mbit/s (250)"
    )
    parser.add_argument("--seconds", type=int, default=10, help="how long to measure (10)")
    parser.add_argument("--congestion", help="congestion control, such as cubic")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/links_together.py")
        return 2
    if not has_nfqueue():
        print(f"this machine has no NFQUEUE for bridged packets; fix: {NFQUEUE_FIX}")
        return 2
    with ExitStack() as stack:
        return measure(stack, arguments.links, arguments.rate * 1e6, arguments.seconds, arguments.congestion)


def measure(stack: ExitStack, links: int, rate_bit_s: float, seconds: int, congestion: str | None) -> int:
    """Measure and print; return 1 if a bound was missed."""
    network = stack.enter_context(EmulatedNetwork("nfqueue"))
    shaper = network.sky.shaper
    assert isinstance(shaper, NfqueueShaper)
    pairs, made = [], []
    for number in range(links):
        pair = network.add_namespace(f"satellite{number}"), network.add_namespace(f"ground{number}")
        pairs.append(pair)
        made.append(network.join(str(number), *pair, interface=INTERFACE, addresses=(SATELLITE, GROUND)))
    state = LinkState(True, rate_bit_s, DELAY_S, queue_s=QUEUE_S)
    for link in made:
        link.set(state, state)
    probed = LoadedLink(made[0], *pairs[0])
    time.sleep(1.0)
    servers = [_iperf3(stack, ground, "-s", "-1") for _, ground in pairs]
    time.sleep(0.5)
    chosen = [] if congestion is None else ["-C", congestion]
    clients = [
        _iperf3(stack, satellite, "-c", GROUND, "-t", str(seconds + WARM_UP_S), *chosen)
        for satellite, _ in pairs
    ]
    time.sleep(WARM_UP_S)
    for direction in Direction:
        shaper.queues_met(made[0].name, direction)
    busy, player, began_s = _busy_s(), sum(map(_cpu_s, shaper.pids)), time.monotonic()
    answered = probed.probe(rtt_s=PROBE_EVERY_S, for_s=seconds - 1.5, drain_s=0.3)
    took_s = time.monotonic() - began_s
    busy, player = _busy_s() - busy, sum(map(_cpu_s, shaper.pids)) - player
    errors_ms = _errors_ms(shaper, made[0].name, answered.rtt_ns, state)
    for client in clients:
        client.communicate()
    carried = [_goodput_bit_s(json.loads(server.communicate()[0])) for server in servers]
    counters = [shaper.counters(link.name, Direction.DOWN) for link in made]
    probed.close()
    theory = goodput_bit_s(rate_bit_s)
    shares = [one / theory for one in carried]
    p50_ms, p99_ms, worst_ms = np.percentile(errors_ms, [50, 99, 100])
    table = Table(title=f"{links} links at {rate_bit_s / 1e6:g} Mbit/s at once, {os.cpu_count()} processors")
    for heading in ("", "measured"):
        table.add_column(heading)
    for row in (
        ("TCP, all links, Mbit/s", f"{sum(carried) / 1e6:.0f}"),
        ("of theory, each link", ", ".join(f"{share:.2%}" for share in shares)),
        ("RTT error p50, p99, worst, ms", f"{p50_ms:.3f}, {p99_ms:.3f}, {worst_ms:.3f}"),
        ("round trips", f"{len(errors_ms)} of {len(answered.rtt_ns)}"),
        ("cores used, all", f"{busy / took_s:.2f}"),
        ("cores used, shaper", f"{player / took_s:.2f} of {len(shaper.pids)}"),
        ("lateness p99, us", ", ".join(f"{one['p99_s'] * 1e6:.0f}" for one in counters)),
        (
            "dropped, queue / kernel",
            ", ".join(f"{one['dropped_queue']:.0f}/{one['kernel_dropped']:.0f}" for one in counters),
        ),
    ):
        table.add_row(*row)
    Console(width=110).print(table)
    kept = min(shares) >= SHARE_BOUND and p99_ms <= P99_BOUND_MS
    print("bounds kept" if kept else f"bounds MISSED: {SHARE_BOUND:.0%} of theory, p99 {P99_BOUND_MS} ms")
    return 0 if kept else 1


def _errors_ms(shaper: NfqueueShaper, link: str, probes_ns: Any, state: LinkState) -> Any:
    """Return the errors of the round trips against what the shaper says that each met."""
    met = [np.array(shaper.queues_met(link, direction)).reshape(-1, 2)[:, 1] for direction in Direction]
    answered = probes_ns[:, 3] > 0
    arrived = probes_ns[:, 1] > 0
    if len(met[0]) != arrived.sum() or len(met[1]) != answered.sum():
        raise SystemExit("probes were lost; their queues cannot be told apart")
    down_bytes = np.zeros(len(probes_ns))
    down_bytes[arrived] = met[0]
    up_bytes = np.zeros(len(probes_ns))
    up_bytes[answered] = met[1]
    waited_s = (down_bytes + up_bytes + 2 * RTT_FRAME_BYTES) * 8 / state.rate_bit_s
    expected_s = 2 * state.delay_s + waited_s
    return np.abs(rtt_s(probes_ns[answered]) - expected_s[answered]) * 1e3


def _goodput_bit_s(said: Any) -> float:
    """Return what a server of iperf3 received in its whole seconds after slow start."""
    seconds = [one["sum"] for one in said["intervals"][WARM_UP_S:-1]]
    return float(8 * sum(one["bytes"] for one in seconds) / sum(one["seconds"] for one in seconds))


def _iperf3(stack: ExitStack, host: NetworkNamespace, *arguments: str) -> subprocess.Popen[bytes]:
    process = host.popen(["iperf3", *arguments, "-J"], stdout=subprocess.PIPE)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _busy_s() -> float:
    """Return the time that all processors have worked, seconds; see proc(5)."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(fields[column]) for column in BUSY_COLUMNS) / os.sysconf("SC_CLK_TCK")


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, user and system, in seconds; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
