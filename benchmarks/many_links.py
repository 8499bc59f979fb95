"""Measure the cost of changing 200 links 10 times a second: sudo python benchmarks/many_links.py [--links N].

One player follows 200 traces whose rows are 0.1 s apart and all different. Every change is written to both
directions and read back. The player applies the changes of 4 ms together, so a change may be that late. The
measured cost is the processor time of this process and, for nfqueue, of the shaper's process.

netem is measured if the kernel has it. Otherwise it is measured in User-Mode Linux, whose system calls are
several times slower, and on the host with a pfifo instead (see `link_change.PfifoShaper`). nfqueue is
measured wherever it works. User-Mode Linux counts processor time in ticks of 10 ms, by which the player also
wakes, so that its figures are useless. For a guest, the processor time of the whole guest on the host counts
instead.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from link_change import PfifoShaper
from rich.console import Console
from rich.table import Table

from testbed.machine import uml
from testbed.network.emulation import EmulatedNetwork
from testbed.network.link_state import LinkState
from testbed.network.shapers.base import Shaper
from testbed.network.shapers.choice import has_netem, has_nfqueue
from testbed.network.shapers.nfqueue.shaper import NfqueueShaper
from traces.trace import Trace, TraceHeader

FOR_S, STEP_S = 10.0, 0.1
SOME_STATE = LinkState(True, 1e6, 0.01)
BOUND_SHARE = 0.25
MARK = b"\x1f"
ROOT = Path(__file__).resolve().parents[1]
GUEST = {"PYTHONPATH": str(ROOT)}  # the guest measures this checkout, too
IN_UML = Path("/run/bin/modprobe").exists()  # this file exists in guests only


def main() -> int:
    """Measure every shaper that this machine has; return 1 if one costs more than its bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--links", type=int, default=200, help="number of links (default: 200)")
    links = parser.parse_args().links
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/many_links.py")
        return 2
    table = Table(
        title=f"{links} links, each changed {1 / STEP_S:g} times a second for {FOR_S:g} s; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for heading in (
        "shaper",
        "changes",
        "core",
        "us per change",
        "lateness p50",
        "lateness p99",
        f"<= {BOUND_SHARE:.0%}",
    ):
        table.add_column(heading, justify="left" if heading == "shaper" else "right")
    ways: dict[str, str | Callable[[str], Shaper]] = {}
    if has_netem():
        ways["netem in User-Mode Linux" if IN_UML else "netem"] = "netem"
    else:
        ways["pfifo instead of netem"] = PfifoShaper
    if has_nfqueue() and not IN_UML:
        ways["nfqueue"] = "nfqueue"
    kept = [_measure(name, shaper, links, table) for name, shaper in ways.items()]
    Console(width=100).print(table)
    code = 0 if all(kept) else 1
    if has_netem():
        return code
    if lack := uml.missing():
        print(f"netem is not measured: this kernel has none, and {lack} ({uml.FIX})")
        return 2
    print("this kernel has no netem; netem in User-Mode Linux:", flush=True)
    command = [sys.executable, __file__, "--links", str(links)]
    guest = Guest()
    fell_behind = uml.run_in_uml(
        command, real_time=True, timeout_s=300, environment=GUEST, stdout=cast("BinaryIO", guest)
    )
    share = guest.share()
    print(f"the whole guest used {share:.1%} of a core of the host: {_verdict(share <= BOUND_SHARE)}")
    return fell_behind or code or share > BOUND_SHARE


class Guest:
    """Forwards a guest's output, and measures its processor time on the host between two marks."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []  # (time, processor time so far), seconds

    def write(self, data: bytes) -> None:
        """Forward output without the marks, and note the processor time at each mark."""
        count = data.count(MARK)
        self._marks += [(time.monotonic(), self._used_s())] * count
        sys.stdout.buffer.write(data.replace(MARK, b""))

    def flush(self) -> None:
        """Flush the forwarded output."""
        sys.stdout.buffer.flush()

    def share(self) -> float:
        """Return the processor time per second between the two marks."""
        (begin_s, before_s), (end_s, after_s) = self._marks
        return (after_s - before_s) / (end_s - begin_s)

    @staticmethod
    def _used_s() -> float:
        """Return the processor time of the guest, the only child, with all processes of its session."""
        (pid,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        used_s = _cpu_s(int(pid), with_children=True)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if fields[3] == pid and stat.parent.name != pid:
                    used_s += _cpu_s(int(stat.parent.name), with_children=False)
        return used_s


def _measure(name: str, shaper: str | Callable[[str], Shaper], links: int, table: Table) -> bool:
    with ExitStack() as stack:
        network = stack.enter_context(EmulatedNetwork(shaper))
        satellites, ground = network.add_namespace("satellites"), network.add_namespace("ground")
        for n in range(links):
            network.join(str(n), satellites, ground, interface=f"l{n}")
        for link in network.links.values():  # before the clock starts, since it takes a guest many seconds
            link.set(SOME_STATE, SOME_STATE)
        running = network.sky.shaper
        pids = [os.getpid(), *([running.pid] if isinstance(running, NfqueueShaper) else [])]
        player = network.play({str(n): _trace(n) for n in range(links)})
        time.sleep(1.0)  # all links are up
        before_s, begin_s, skip = [_cpu_s(pid) for pid in pids], time.monotonic(), len(player.lateness_s)
        _mark()
        time.sleep(FOR_S)
        _mark()
        took_s, late_s = time.monotonic() - begin_s, player.lateness_s[skip:]
        used_s = sum(_cpu_s(pid) - before for pid, before in zip(pids, before_s, strict=True))
        network.check()
    share = used_s / took_s
    # A share below the bound does not count if the player fell behind.
    kept = len(late_s) >= 0.95 * links * took_s / STEP_S and (IN_UML or share <= BOUND_SHARE)
    table.add_row(
        name,
        str(len(late_s)),
        "below" if IN_UML else f"{share:.1%}",
        "-" if IN_UML else f"{used_s / max(1, len(late_s)) * 1e6:.0f}",
        f"{statistics.median(late_s) * 1e3:.2f} ms",
        f"{np.percentile(late_s, 99) * 1e3:.2f} ms",
        _verdict(kept),
    )
    return kept


def _verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def _mark() -> None:
    if IN_UML:
        sys.stdout.buffer.write(MARK)
        sys.stdout.buffer.flush()


def _trace(number: int) -> Trace:
    """Return a trace whose delay and rate differ in every row; links change at different times."""
    time_s = np.concatenate([[0.0], np.arange(1, FOR_S * 20) * STEP_S + number % 100 * STEP_S / 100])
    angle = 2 * np.pi * time_s / 20 + number
    delay_s, rate_bit_s = 0.005 + 0.003 * np.sin(angle), 30e6 + 20e6 * np.cos(angle)
    zero, up = np.zeros_like(time_s), np.ones(len(time_s), dtype=bool)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a benchmark")
    columns = (time_s, up, up, rate_bit_s, rate_bit_s, delay_s, delay_s, zero, zero)
    return Trace(header, *columns, end_s=FOR_S * 20)


def _cpu_s(pid: int, *, with_children: bool = False) -> float:
    """Return the processor time of a process, user and system, in seconds; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if with_children else 13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
