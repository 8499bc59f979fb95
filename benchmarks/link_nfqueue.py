"""Measure fidelity and cost of the nfqueue shaper: sudo python benchmarks/link_nfqueue.py [--busy].

RTT errors on the grid of `spaceverse verify`, one TCP flow of up to 1,000 Mbit/s, floods of the smallest and
the largest packets, and four links of 250 Mbit/s at once (as benchmarks/links_together.py), with the time of
the processor that the shaper takes. --busy repeats the RTTs while every core multiplies matrices with torch,
as inference does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from links_together import measure
from rich.console import Console
from rich.table import Table

from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import Direction, LinkState
from testbed.network.shapers.choice import has_nfqueue
from testbed.network.shapers.nfqueue.hook import NFQUEUE_FIX
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from testbed.verify.checks import FULL_FRAME_BYTES, goodput_bit_s
from testbed.verify.link import LinkUnderTest, rtt_s
from testbed.verify.probe import RTT_FRAME_BYTES

DELAYS_S = (0.002, 0.005, 0.020, 0.300)
TCP_RATES_BIT_S = (1e6, 20e6, 100e6, 200e6, 300e6, 450e6, 600e6, 800e6, 1000e6)
BOUNDED_BIT_S = 600e6  # faster ones are measured, and may miss the bound
TOGETHER_LINKS, TOGETHER_BIT_S, TOGETHER_S = 4, 250e6, 10
FLOODS = ((RTT_FRAME_BYTES, 15_000), (FULL_FRAME_BYTES, 4_000))  # frame size in bytes, packets
P99_BOUND_MS, TCP_BOUND, LOADED_P99_BOUND_MS = 0.8, 0.02, 1.0


def main() -> int:
    """Run every measurement once; return 1 if a bound was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--busy", action="store_true", help="measure RTTs also while every core is busy")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/link_nfqueue.py")
        return 2
    if not has_nfqueue():
        print(f"this machine has no NFQUEUE for bridged packets; fix: {NFQUEUE_FIX}")
        return 2
    console = Console(width=100)
    with LinkUnderTest("nfqueue") as link:
        console.print(f"nfqueue ({link.sky.shaper.how()}), load {os.getloadavg()[0]:.1f}")
        tables = [_rtt_table(link, "idle", P99_BOUND_MS), _tcp_table(link), _flood_table(link)]
        if arguments.busy:
            with _busy_cores():
                tables.append(_rtt_table(link, "every core busy with torch", LOADED_P99_BOUND_MS))
    tables.append(_building_table(20))
    for table, _ in tables:
        console.print(table)
    with ExitStack() as stack:
        missed = measure(stack, TOGETHER_LINKS, TOGETHER_BIT_S, TOGETHER_S, None)
    return 0 if all(kept for _, kept in tables) and not missed else 1


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _rtt_table(link: LinkUnderTest, machine: str, bound_ms: float) -> tuple[Table, bool]:
    table = _table(f"RTT errors, ms, {machine}; p99 bound {bound_ms:g}", "requested", "p50", "p99", "worst")
    errors = []
    for delay_s in DELAYS_S:
        link.fresh(LinkState(True, 100e6, delay_s))
        probed = link.probe(rtt_s=0.008, count=400, for_s=10, drain_s=2 * delay_s + 0.5)
        requested_s = 2 * delay_s + 2 * RTT_FRAME_BYTES * 8 / 100e6
        errors.append(np.abs(rtt_s(probed.answered_ns) - requested_s) * 1e3)
        table.add_row(f"{requested_s * 1e3:.3f}", *_percentiles(errors[-1]))
    table.add_row("all", *_percentiles(np.concatenate(errors)))
    return table, bool(np.percentile(np.concatenate(errors), 99) <= bound_ms)


def _percentiles(errors_ms: np.ndarray) -> list[str]:
    return [f"{value:.3f}" for value in np.percentile(errors_ms, [50, 99, 100])]


def _tcp_table(link: LinkUnderTest) -> tuple[Table, bool]:
    table = _table(
        f"one TCP flow; bound {TCP_BOUND:.0%} up to {BOUNDED_BIT_S / 1e6:g} Mbit/s",
        "Mbit/s",
        "of theory",
        "packets/s down",
        "core",
        "lateness p50",
        "lateness p99",
    )
    kept = True
    for rate_bit_s in TCP_RATES_BIT_S:
        window_bytes = max(120_000, round(rate_bit_s / 8 * 0.2))
        link.fresh(LinkState(True, rate_bit_s, 0.005, queue_bytes=2 * window_bytes))
        shaper = _shaper(link)
        before, cpu_before_s, begin_s = _arrived(link), _cpu_s(shaper.pid), time.monotonic()
        received = link.pump(4.0, window_bytes)
        took_s, used_s = time.monotonic() - begin_s, _cpu_s(shaper.pid) - cpu_before_s
        counters = shaper.counters(link.name, Direction.DOWN)
        received = received[received[:, 0] > 1.0]
        (from_s, first), (to_s, last) = received[0], received[-1]
        share = 8 * (last - first) / (to_s - from_s) / goodput_bit_s(rate_bit_s)
        kept = kept and (abs(share - 1) <= TCP_BOUND or rate_bit_s > BOUNDED_BIT_S)
        table.add_row(
            f"{rate_bit_s / 1e6:g}",
            f"{share:.1%}",
            f"{(counters['arrived'] - before) / took_s:.0f}",
            f"{used_s / took_s:.0%}",
            f"{counters['p50_s'] * 1e6:.0f} us",
            f"{counters['p99_s'] * 1e6:.0f} us",
        )
    return table, kept


def _flood_table(link: LinkUnderTest) -> tuple[Table, bool]:
    table = _table(
        "floods over 10 Gbit/s", "frame, bytes", "packets", "arrived", "packets/s", "us of a core per packet"
    )
    for frame_bytes, count in FLOODS:
        link.fresh(LinkState(True, 10e9, 0.001, queue_bytes=1_000_000_000))
        pid = _shaper(link).pid
        cpu_before_s = _cpu_s(pid)
        down = {"interval_s": 10.0, "frame_bytes": frame_bytes}
        stream = link.probe(for_s=0.001, drain_s=3.0, real_time=False, train=count, down=down).down
        assert stream is not None
        used_s, arrived = _cpu_s(pid) - cpu_before_s, len(stream.arrived_ns)
        rate = (arrived - 1) / (stream.arrived_ns[-1] - stream.arrived_ns[0]) * 1e9
        table.add_row(
            str(frame_bytes), str(count), str(arrived), f"{rate:.0f}", f"{used_s / count * 1e6:.0f}"
        )
    return table, True


def _building_table(links: int) -> tuple[Table, bool]:
    """Return a table of the time to create a link, and to change both of its directions."""
    changes_s = []
    with EmulatedNetwork("nfqueue") as network:
        satellite, ground = network.add_namespace("satellite"), network.add_namespace("ground")
        begin_s = time.monotonic()
        for number in range(links):
            link = network.join(str(number), satellite, ground, interface=f"l{number}")
        creation_s = (time.monotonic() - begin_s) / links
        for step in range(500):
            state = LinkState(True, 20e6, 0.001 * (step % 7))
            begin_s = time.perf_counter()
            link.set(state, state)
            changes_s.append(time.perf_counter() - begin_s)
    table = _table("links", "creation, ms per link", "change of both directions, read back, us")
    table.add_row(f"{creation_s * 1e3:.1f}", f"{statistics.median(changes_s) * 1e6:.0f}")
    return table, True


def _shaper(link: LinkUnderTest) -> NfqueueShaper:
    assert isinstance(link.sky.shaper, NfqueueShaper)
    return link.sky.shaper


def _arrived(link: LinkUnderTest) -> float:
    return _shaper(link).counters(link.name, Direction.DOWN)["arrived"]


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, user and system, in seconds; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _busy_cores() -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_compute, daemon=True) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    try:
        time.sleep(5)  # importing torch takes a while
        yield
    finally:
        for worker in workers:
            worker.kill()


def _compute() -> None:
    import torch

    torch.set_num_threads(1)
    matrix = torch.rand(512, 512)
    while True:
        torch.nn.functional.softmax(matrix @ matrix, dim=-1)


if __name__ == "__main__":
    sys.exit(main())
