"""Measure the cost of one change of a link in several ways: sudo python benchmarks/link_change.py.

Each way repeatedly sets delay and rate of a netem (pyroute2 only the delay) on a few interfaces, all in one
run. If the kernel has no netem, the benchmark runs in User-Mode Linux, where system calls and processes are
slower than on a host, so that only the ratios are meaningful. The host is then measured with a pfifo instead
(`PfifoShaper`).
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mininet.link import TCLink
from pyroute2 import IPRoute
from rich.console import Console
from rich.table import Table

from testbed.kernel.namespace import NetworkNamespace
from testbed.machine import uml
from testbed.network.emulation import EmulatedNetwork
from testbed.network.hosts import HostNetwork
from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.base import LinkPorts
from testbed.network.shapers.choice import has_netem
from testbed.network.shapers.netem.parameters import NetemParameters
from testbed.network.shapers.netem.shaper import NetemShaper
from testbed.network.shapers.netem.socket import Netem, QdiscSocket

LINKS = 10
BATCHES = 5
BOUND_US, BOUND_RATIO = 20.0, 50.0
ROOT = Path(__file__).resolve().parents[1]
GUEST = {"PYTHONPATH": str(ROOT)}  # the guest measures this checkout, too
IN_UML = Path("/run/bin/modprobe").exists()  # this file exists in guests only
STATES = [LinkState(True, 20e6 + 1e6 * n, 0.001 * (n + 1), queue_bytes=100_000) for n in range(7)]
Way = tuple[str, Callable[[int], None], int]


def main() -> int:
    """Measure all ways that this machine supports; return 1 if the testbed's own way misses its bound."""
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/link_change.py")
        return 2
    if has_netem():
        return _measure("netem", NetemShaper)
    code = _measure("a pfifo instead of netem", PfifoShaper)
    if lack := uml.missing():
        print(f"netem is not measured: this kernel has none, and {lack} ({uml.FIX})")
        return 2
    print("this kernel has no netem; measurement in User-Mode Linux:", flush=True)
    return (
        uml.run_in_uml([sys.executable, __file__], real_time=True, timeout_s=300, environment=GUEST) or code
    )


def _measure(queue: str, shaper_class: type[NetemShaper]) -> int:
    with ExitStack() as stack:
        costs_us = {name: _cost_us(change, count) for name, change, count in _our_ways(stack, shaper_class)}
    forked_us = costs_us["tc, forked for each change"]
    table = Table(title=f"one change of {queue}, read back if possible; load {os.getloadavg()[0]:.1f}")
    for heading in ("way", "us per change", "times faster than a forked tc"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for name, cost_us in costs_us.items():
        table.add_row(name, f"{cost_us:.1f}", f"{forked_us / cost_us:.1f}")
    console = Console(width=100)
    console.print(table)
    ours_us = next(iter(costs_us.values()))
    ratio = forked_us / ours_us
    # In User-Mode Linux only the ratio is checked, since system calls are slower than on a host.
    kept = (IN_UML or ours_us <= BOUND_US) and ratio >= BOUND_RATIO
    verdict = "kept" if kept else "MISSED"
    bound = "not checked in User-Mode Linux" if IN_UML else f"<= {BOUND_US:g}"
    console.print(f"bound {verdict}: {ours_us:.1f} us ({bound}), {ratio:.0f} times (>= {BOUND_RATIO:g})")
    return 0 if kept else 1


def _cost_us(change: Callable[[int], None], count: int) -> float:
    """Return the median over batches of the mean cost of one change, in microseconds."""
    costs_us, numbers = [], itertools.count()
    for _ in range(BATCHES):
        begin_s = time.perf_counter()
        for _ in range(count):
            change(next(numbers))
        costs_us.append((time.perf_counter() - begin_s) / count * 1e6)
    return statistics.median(costs_us)


def _our_ways(stack: ExitStack, shaper_class: type[NetemShaper]) -> Iterator[Way]:
    """Yield the testbed's ways, on interfaces g0 to g9 of the namespace "benchmark", then all others."""
    space = stack.enter_context(NetworkNamespace.create("benchmark"))
    other = stack.enter_context(NetworkNamespace.create("other end"))
    for number in range(LINKS):
        for side in ("s", "g"):
            space.add_veth(f"{side}{number}", peer_name=f"{side}{number}", peer_path=other.path)
    shaper = shaper_class(space.path)
    stack.callback(shaper.close)
    for number in range(LINKS):
        shaper.attach(LinkPorts(str(number), f"s{number}", f"g{number}"))
    changes = [
        [(str(number), Direction.DOWN, STATES[(number + turn) % 7]) for number in range(LINKS)]
        for turn in range(7)
    ]
    yield (
        f"{shaper_class.__name__}.apply_all: {LINKS} at once, read back",
        lambda n: _discard(shaper.apply_all(changes[n % 7])) if n % LINKS == 0 else None,
        2000,
    )
    yield (
        f"{shaper_class.__name__}.apply: one, read back",
        lambda n: _discard(shaper.apply(str(n % LINKS), Direction.DOWN, STATES[n % 7])),
        2000,
    )
    indices = [space.read(f"g{number}").index for number in range(LINKS)]
    parameters = [NetemParameters.of(state) for state in STATES]
    socket = space.call(shaper_class.socket_class)
    stack.callback(socket.close)
    yield (
        "only its netlink and encoding",
        lambda n: _discard(socket.write([Netem(indices[n % LINKS], parameters[n % 7])])),
        2000,
    )
    yield from _other_ways(stack, space, indices) if shaper_class is NetemShaper else _forked_pfifo(space)


def _other_ways(stack: ExitStack, space: NetworkNamespace, indices: Sequence[int]) -> Iterator[Way]:
    route = space.call(IPRoute)
    stack.callback(route.close)

    def pyroute2(n: int) -> None:
        delay_us = round(STATES[n % 7].delay_s * 1e6)
        # In the namespace's thread, to which the sockets belong; the change of thread costs some time, too.
        space.call(lambda: route.tc("change", "netem", indices[n % LINKS], delay=delay_us, limit=100))

    yield from _sky_way(stack)
    yield "pyroute2 tc('change'), not read back", pyroute2, 200
    with _batch(space) as batch:
        yield "tc -batch, kept open, reply awaited", batch, 500
    yield "tc, forked for each change", lambda n: _forked(space, _netem_words(n)), 20
    with HostNetwork() as network:
        link = network.addLink(network.addHost("a"), network.addHost("b"), cls=TCLink, bw=10, delay="5ms")
        yield "Mininet TCIntf.config(bw, delay)", lambda n: _mininet(link.intf1, STATES[n % 7]), 4


def _forked_pfifo(space: NetworkNamespace) -> Iterator[Way]:
    words = "qdisc change dev g{} root pfifo limit {}"
    yield (
        "tc, forked for each change",
        lambda n: _forked(space, words.format(n % LINKS, n % 7 + 1)),
        50,
    )


def _sky_way(stack: ExitStack) -> Iterator[Way]:
    network = stack.enter_context(EmulatedNetwork("netem"))
    link = network.join("link", network.add_namespace("satellite"), network.add_namespace("ground"))
    link.set(STATES[0], STATES[0])
    yield "SkyLink.set: two directions and the carrier", lambda n: link.set(STATES[n % 7], STATES[n % 5]), 500


class Pfifo(QdiscSocket):
    """Encodes and compares a complete netem, but sends only the limit of a pfifo to the kernel.

    Only the kernel's part of a netem change is missing, a copy of some ten numbers.
    """

    kind = QdiscSocket.kind.replace(b"netem", b"pfifo")

    def __init__(self) -> None:
        super().__init__()
        self._options: dict[int, bytes] = {}

    def _message(self, netem: Netem, options: bytes) -> bytes:
        self._options[netem.interface] = options
        return super()._message(netem, _limit(options))

    def _held(self, answer: Any, wanted: NetemParameters, options: bytes) -> NetemParameters | OSError:
        return super()._held(answer, wanted, _limit(options))

    def roots(self, expected: Any = None) -> dict[int, NetemParameters]:
        """Return the parameters of the netem that each pfifo replaces."""
        return {
            index: NetemParameters.from_options(self._options[index])
            for index in self.root_messages()
            if index in self._options
        }


class PfifoShaper(NetemShaper):
    """`NetemShaper` for a kernel without netem: does the same work, but does not shape links."""

    socket_class = Pfifo


def _limit(options: bytes) -> bytes:
    return (10 + zlib.crc32(options) % 30_000).to_bytes(4, sys.byteorder)


@contextmanager
def _batch(space: NetworkNamespace) -> Iterator[Callable[[int], None]]:
    """Yield a change by one long-lived tc; a query after each line shows that the line was executed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = space.popen(["tc", "-force", "-batch", "-"], **pipes)
    assert process.stdin is not None
    assert process.stdout is not None

    def change(n: int) -> None:
        process.stdin.write(f"{_netem_words(n)}\nqdisc show dev g{n % LINKS}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"qdisc netem")

    try:
        yield change
    finally:
        process.communicate(timeout=5)


def _netem_words(n: int) -> str:
    state = STATES[n % 7]
    return (
        f"qdisc change dev g{n % LINKS} root netem limit 100 "
        f"delay {state.delay_s * 1e6:.0f}us rate {state.rate_bit_s:.0f}bit"
    )


def _forked(space: NetworkNamespace, words: str) -> None:
    process = space.run(["tc", *words.split()])
    assert process.returncode == 0, process.stderr


def _mininet(interface: object, state: LinkState) -> None:
    interface.config(bw=state.rate_bit_s / 1e6, delay=f"{state.delay_s * 1e3:g}ms")  # type: ignore[attr-defined]


def _discard(_: object) -> None:
    """Return None, for a lambda whose result is ignored."""


if __name__ == "__main__":
    sys.exit(main())
