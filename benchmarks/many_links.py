"""What it costs to change 200 links ten times a second: sudo python benchmarks/many_links.py [--links N].

One player follows 200 traces whose rows are 0.1 s apart and all different; every change is written to both
directions and read back.  The player makes the changes of 4 ms in one turn, so a change may be that late.
Counted is the processor time of this process and, for nfqueue, of the process that plays the links.  With
netem where the kernel has it, else in User-Mode Linux, whose system calls are several times slower, and on
the host with a pfifo that stands in (see `link_change.PfifoShaper`); with nfqueue wherever it works.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from link_change import PfifoShaper
from rich.console import Console
from rich.table import Table

from testbed import uml
from testbed.capabilities import has_netem, has_nfqueue
from testbed.clock import RealClock
from testbed.kernel import NetworkNamespace
from testbed.link_state import LinkState
from testbed.nfqueue import NfqueueShaper
from testbed.player import Player
from testbed.shaper import Shaper
from testbed.sky import HostEnd, Sky
from traces.trace import Trace, TraceHeader

FOR_S, STEP_S = 10.0, 0.1
SOME_STATE = LinkState(True, 1e6, 0.01)
BOUND_SHARE = 0.25
ROOT = Path(__file__).resolve().parents[1]
GUEST = {"PYTHONPATH": str(ROOT)}  # the guest measures this checkout too
IN_UML = Path("/run/bin/modprobe").exists()  # what a guest has and a host has not


def main() -> int:
    """Measure every shaper that this machine has; 1 if one costs more than its bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--links", type=int, default=200)
    links = parser.parse_args().links
    if os.geteuid() != 0:
        print("needs root: sudo python benchmarks/many_links.py")
        return 2
    table = Table(
        title=f"{links} links, each changed {1 / STEP_S:g} times a second for {FOR_S:g} s; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for heading in (
        "shaper",
        "changes",
        "core",
        "us a change",
        "late p50",
        "late p99",
        f"<= {BOUND_SHARE:.0%}",
    ):
        table.add_column(heading, justify="left" if heading == "shaper" else "right")
    ways: dict[str, str | Callable[[str], Shaper]] = {}
    if has_netem():
        ways["netem in User-Mode Linux" if IN_UML else "netem"] = "netem"
    else:
        ways["pfifo for netem"] = PfifoShaper
    if has_nfqueue() and not IN_UML:
        ways["nfqueue"] = "nfqueue"
    kept = [_measure(name, shaper, links, table) for name, shaper in ways.items()]
    Console(width=100).print(table)
    code = 0 if all(kept) else 1
    if has_netem():
        return code
    if lack := uml.missing():
        print(f"netem is not measured: it is not here, and {lack} ({uml.MEND})")
        return 2
    print("this kernel has no netem; netem in User-Mode Linux:", flush=True)
    command = [sys.executable, __file__, "--links", str(links)]
    return uml.run_in_uml(command, real_time=True, timeout_s=300, environment=GUEST) or code


def _measure(name: str, shaper: str | Callable[[str], Shaper], links: int, table: Table) -> bool:
    with ExitStack() as stack:
        satellites = stack.enter_context(NetworkNamespace.create("satellites"))
        ground = stack.enter_context(NetworkNamespace.create("ground"))
        sky = stack.enter_context(Sky(shaper))
        made = [
            sky.add_link(str(n), HostEnd(satellites.path, f"l{n}"), HostEnd(ground.path, f"l{n}"))
            for n in range(links)
        ]
        for link in made:  # before the clock starts: it takes a guest many seconds
            link.set(SOME_STATE, SOME_STATE)
        pids = [os.getpid(), *([sky.shaper.pid] if isinstance(sky.shaper, NfqueueShaper) else [])]
        with Player(RealClock(), {link: _trace(n) for n, link in enumerate(made)}) as player:
            time.sleep(1.0)  # all links are up
            before_s, begin_s, skip = [_cpu_s(pid) for pid in pids], time.monotonic(), len(player.lateness_s)
            time.sleep(FOR_S)
            took_s, late_s = time.monotonic() - begin_s, player.lateness_s[skip:]
            used_s = sum(_cpu_s(pid) - before for pid, before in zip(pids, before_s, strict=True))
            if player.error is not None:
                raise player.error
    share = used_s / took_s
    # A share that was got by falling behind is none.
    kept = share <= BOUND_SHARE and len(late_s) >= 0.95 * links * took_s / STEP_S
    table.add_row(
        name,
        str(len(late_s)),
        f"{share:.1%}",
        f"{used_s / max(1, len(late_s)) * 1e6:.0f}",
        f"{statistics.median(late_s) * 1e3:.2f} ms",
        f"{np.percentile(late_s, 99) * 1e3:.2f} ms",
        "kept" if kept else "MISSED",
    )
    return kept


def _trace(number: int) -> Trace:
    """Delay and rate that differ in every row; links' rows are spread over the step."""
    time_s = np.concatenate([[0.0], np.arange(1, FOR_S * 20) * STEP_S + number % 100 * STEP_S / 100])
    angle = 2 * np.pi * time_s / 20 + number
    delay_s, rate_bit_s = 0.005 + 0.003 * np.sin(angle), 30e6 + 20e6 * np.cos(angle)
    zero, up = np.zeros_like(time_s), np.ones(len(time_s), dtype=bool)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a benchmark")
    columns = (time_s, up, rate_bit_s, rate_bit_s, delay_s, delay_s, zero, zero)
    return Trace(header, *columns, end_s=FOR_S * 20)


def _cpu_s(pid: int) -> float:
    """Processor time of a process, user and system, seconds; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
