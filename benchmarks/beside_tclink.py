"""Compare links with Mininet's TCLink, using the same probes: sudo python benchmarks/beside_tclink.py.

TCLink needs sch_netem for its delay. On a kernel without it, TCLink prints tc's error and continues without
delay. Then only the rates are compared on the host, and the whole comparison runs in User-Mode Linux.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mininet.link import TCLink
from mininet.log import setLogLevel
from rich.console import Console
from rich.table import Table

from testbed.errors import CapabilityError
from testbed.kernel.namespace import NetworkNamespace
from testbed.machine import uml
from testbed.network.hosts import HostNetwork
from testbed.network.link_state import LinkState
from testbed.network.shapers.choice import has_netem
from testbed.verify.checks import goodput_bit_s, message_s
from testbed.verify.link import GROUND, SATELLITE, LinkUnderTest, MeasuredLink, rtt_s
from testbed.verify.probe import RTT_FRAME_BYTES

RATES_BIT_S = (1e6, 10e6, 50e6)
DELAYS_S = (0.005, 0.020)
MESSAGE_BYTES, MESSAGE_RATE_BIT_S = 10_000, 100e3


class TclinkUnderTest(MeasuredLink):
    """Two Mininet hosts and a TCLink, changed by `config` of both interfaces as in its documentation."""

    interfaces = ("sat-eth0", "gnd-eth0")

    def __init__(self, delays: bool) -> None:
        self._network = HostNetwork()
        self._delays = delays
        hosts = [self._network.addHost(name) for name in ("sat", "gnd")]
        addresses = {f"params{n}": {"ip": f"{ip}/24"} for n, ip in ((1, SATELLITE), (2, GROUND))}
        self._link: Any = self._network.addLink(*hosts, cls=TCLink, **addresses)
        self._network.start()
        self._network.staticArp()
        spaces = [NetworkNamespace.enter(f"/proc/{host.pid}/ns/net") for host in hosts]
        super().__init__(*spaces)

    def set(self, down: LinkState, up: LinkState) -> None:
        """Set the states of both directions; Mininet cannot shape a link that is down."""
        for interface, state in ((self._link.intf1, down), (self._link.intf2, up)):
            if state.up:
                delay = {"delay": f"{state.delay_s * 1e3:g}ms"} if self._delays else {}
                interface.config(bw=state.rate_bit_s / 1e6, max_queue_size=1000, **delay)

    def check(self) -> None:
        """Do nothing, since no process can fail: the kernel shapes the link."""

    def close(self) -> None:
        """Stop the prober and the hosts."""
        super().close()
        with self._network:
            pass


def main() -> int:
    """Measure all ways and print a table; no figure makes the benchmark fail."""
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/beside_tclink.py")
        return 2
    setLogLevel("critical")  # tc reports the missing netem at every change
    delays = has_netem()
    ways: dict[str, Callable[[], MeasuredLink]] = {"TCLink": lambda: TclinkUnderTest(delays)}
    for shaper in ("netem", "nfqueue"):
        ways[shaper] = lambda shaper=shaper: LinkUnderTest(shaper)  # type: ignore[misc]
    columns = {name: figures for name, make in ways.items() if (figures := _figures(name, make, delays))}
    lack_of_netem = "" if delays else "; this kernel has no netem, so TCLink has no delay"
    table = Table(title=f"measured minus requested values; load {os.getloadavg()[0]:.1f}{lack_of_netem}")
    table.add_column("figure")
    for name in columns:
        table.add_column(name, justify="right")
    for figure in next(iter(columns.values())):
        table.add_row(figure, *(figures.get(figure, "-") for figures in columns.values()))
    Console(width=100).print(table)
    if delays:
        return 0
    if lack := uml.missing():
        print(f"delays are not compared: this kernel has no netem, and {lack} ({uml.FIX})")
        return 0
    print("complete comparison in User-Mode Linux:", flush=True)
    guest = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}  # the guest measures this checkout, too
    return uml.run_in_uml([sys.executable, __file__], real_time=True, timeout_s=300, environment=guest)


def _figures(name: str, make: Callable[[], MeasuredLink], delays: bool) -> dict[str, str]:
    try:
        with ExitStack() as stack:
            link = stack.enter_context(make())
            return {
                figure: text
                for measure in (_rtt, _tcp, _message, _changes)
                for figure, text in measure(link, delays or name != "TCLink")
            }
    except CapabilityError as error:
        print(f"{name} is skipped: {error}")
        return {}


def _rtt(link: MeasuredLink, delays: bool) -> Iterator[tuple[str, str]]:
    for delay_s in DELAYS_S if delays else ():
        link.fresh(LinkState(True, 10e6, delay_s))
        probed = link.probe(rtt_s=0.01, count=200, for_s=5, drain_s=0.5)
        requested_s = 2 * delay_s + 2 * RTT_FRAME_BYTES * 8 / 10e6
        # Times of user space: TCLink delays a frame before the sender's kernel stamps it.
        errors_ms = np.abs(rtt_s(probed.answered_ns) - requested_s) * 1e3
        p50, p99 = np.percentile(errors_ms, [50, 99])
        yield f"RTT, {delay_s * 1e3:g} ms each way, p50 / p99", f"{p50:.3f} / {p99:.3f} ms"


def _tcp(link: MeasuredLink, delays: bool) -> Iterator[tuple[str, str]]:
    for rate_bit_s in RATES_BIT_S:
        window_bytes = max(120_000, round(rate_bit_s / 8 * 0.2))
        link.fresh(LinkState(True, rate_bit_s, 0.005, queue_bytes=2 * window_bytes))
        received = link.pump(4.0, window_bytes)
        received = received[received[:, 0] > 1.0]
        (begin_s, begin), (end_s, end) = received[0], received[-1]
        share = 8 * (end - begin) / (end_s - begin_s) / goodput_bit_s(rate_bit_s) - 1
        yield f"TCP goodput, {rate_bit_s / 1e6:g} Mbit/s", f"{share:+.2%}"


def _message(link: MeasuredLink, delays: bool) -> Iterator[tuple[str, str]]:
    link.fresh(LinkState(True, MESSAGE_RATE_BIT_S, 0.002, queue_bytes=200_000))
    taken_s = []
    for _ in range(3):
        with link.connection() as (sender, receiver):
            link.wait(1.0)
            receiver.settimeout(5)
            begin_s = time.monotonic()
            sender.sendall(bytes(MESSAGE_BYTES))
            left = MESSAGE_BYTES
            while left:
                left -= len(receiver.recv(left))
            taken_s.append(time.monotonic() - begin_s)
    requested_s = message_s(MESSAGE_BYTES, MESSAGE_RATE_BIT_S, 0.002)
    taken = statistics.median(taken_s)
    yield "10 kB, idle 100 kbit/s", f"{taken:.3f} s, {taken / requested_s - 1:+.0%}"


def _changes(link: MeasuredLink, delays: bool) -> Iterator[tuple[str, str]]:
    """Yield loss and reordering during ten changes per second for 2 s, at 500 packets/s in each direction."""
    states = [LinkState(True, 20e6, 0.020 + 0.001 * (n % 3)) for n in range(20)]
    link.fresh(states[0])

    def during() -> None:
        begin_s = time.monotonic() + 0.2
        for n, state in enumerate(states):
            link.wait(begin_s + 0.1 * n - time.monotonic())
            link.set(state, state)

    stream = {"interval_s": 0.002, "frame_bytes": 200}
    probed = link.probe(during, for_s=2.5, drain_s=0.5, down=stream, up=stream)
    assert probed.down is not None
    assert probed.up is not None
    lost, sent = probed.down.lost + probed.up.lost, len(probed.down.sent_ns) + len(probed.up.sent_ns)
    yield "lost in 20 changes", f"{lost} of {sent}"
    yield "reordered in 20 changes", str(probed.down.reordered + probed.up.reordered)


if __name__ == "__main__":
    sys.exit(main())
