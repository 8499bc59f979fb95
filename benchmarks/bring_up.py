"""Measure how long hosts and links take to come and go: sudo python benchmarks/bring_up.py [--hosts N].

The same hosts and links are built by plain Mininet with TCLink, in turn with ours. A TCLink has only
a rate here and no delay, so that a kernel without netem can make it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from rich.console import Console
from rich.table import Table

from testbed.machine.system_path import system_path
from testbed.network.emulation import EmulatedNetwork

STATIONS = 4
RATE_MBIT_S = 10
BOUND_SHARE, BOUND_GONE_S = 0.5, 3.0


class Took(NamedTuple):
    """Seconds of the wall clock."""

    hosts_s: float
    links_s: float
    gone_s: float

    @property
    def up_s(self) -> float:
        """Until all of it was there."""
        return self.hosts_s + self.links_s


def main() -> int:
    """Measure both in turn; return 1 if ours misses a bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=100, help="number of satellites (default: 100)")
    parser.add_argument("--links", type=int, default=1, help="links of each satellite (default: 1)")
    parser.add_argument("--turns", type=int, default=3, help="number of measurements (default: 3)")
    parser.add_argument("--alone", action="store_true", help="without Mininet's, which takes longer")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/bring_up.py")
        return 2
    os.environ["PATH"] = system_path()
    setLogLevel("critical")
    kinds = {"this project": _ours} if options.alone else {"Mininet, TCLink": _mininet, "this project": _ours}
    took: dict[str, list[Took]] = {name: [] for name in kinds}
    for _ in range(options.turns):
        for name, measure in kinds.items():
            took[name].append(measure(options.hosts, min(options.links, STATIONS)))
    table = Table(title=f"{options.hosts} satellites and {STATIONS} stations; load {os.getloadavg()[0]:.1f}")
    for heading in ("", "hosts", "links", "up", "gone"):
        table.add_column(heading, justify="left" if not heading else "right")
    medians = {}
    for name, found in took.items():
        medians[name] = ours = Took(*(statistics.median(column) for column in zip(*found, strict=True)))
        table.add_row(
            name, *(f"{seconds:.2f} s" for seconds in (ours.hosts_s, ours.links_s, ours.up_s, ours.gone_s))
        )
    Console(width=100).print(table)
    ours = medians["this project"]
    kept = ours.gone_s <= BOUND_GONE_S
    if not options.alone:
        share = ours.up_s / medians["Mininet, TCLink"].up_s
        kept = kept and share <= BOUND_SHARE
        print(f"up in {share:.0%} of Mininet's time (bound {BOUND_SHARE:.0%})")
    print(f"gone in {ours.gone_s:.2f} s (bound {BOUND_GONE_S:g} s): {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def _ours(satellites: int, links: int) -> Took:
    with ExitStack() as stack:
        begun_s = time.monotonic()
        network = stack.enter_context(EmulatedNetwork())
        for name in _names(satellites):
            network.add_host(name)
        hosts_s = time.monotonic()
        for number, (satellite, station) in enumerate(_pairs(satellites, links)):
            network.add_link(satellite, station, addresses=_addresses(number))
        network.start()
        up_s = time.monotonic()
    return Took(hosts_s - begun_s, up_s - hosts_s, time.monotonic() - up_s)


def _mininet(satellites: int, links: int) -> Took:
    begun_s = time.monotonic()
    network = Mininet(topo=None, build=False, controller=None)
    try:
        for name in _names(satellites):
            network.addHost(name, ip=None)
        hosts_s = time.monotonic()
        for number, (satellite, station) in enumerate(_pairs(satellites, links)):
            ends = ({"ip": address} for address in _addresses(number))
            parameters = {f"params{end}": its for end, its in enumerate(ends, start=1)}
            network.addLink(satellite, station, cls=TCLink, bw=RATE_MBIT_S, **parameters)
        network.start()
        up_s = time.monotonic()
    finally:
        network.stop()
    return Took(hosts_s - begun_s, up_s - hosts_s, time.monotonic() - up_s)


def _names(satellites: int) -> list[str]:
    return [f"s{number}" for number in range(satellites)] + [f"g{number}" for number in range(STATIONS)]


def _pairs(satellites: int, links: int) -> list[tuple[str, str]]:
    return [(f"s{n}", f"g{(n + more) % STATIONS}") for n in range(satellites) for more in range(links)]


def _addresses(number: int) -> tuple[str, str]:
    return f"10.{number // 250}.{number % 250}.1/24", f"10.{number // 250}.{number % 250}.2/24"


if __name__ == "__main__":
    sys.exit(main())
