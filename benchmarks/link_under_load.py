"""Measure a link beside inference: sudo python benchmarks/link_under_load.py [--shaper nfqueue].

The round trips of `spaceverse verify`'s grid are measured twice in one run: on the machine as it is, and
while one torch process per core multiplies matrices without a pause, like a model that answers one frame
after another. The bound applies to the measurement under load.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from testbed.machine.processor_load import ProcessorLoad, load_text
from testbed.verify.checks import BOUNDS, Check
from testbed.verify.effort import FULL
from testbed.verify.link import LinkUnderTest
from testbed.verify.measures import Measurements
from testbed.verify.trace import steepest_pass

P99_BOUND_S = 1e-3
INFERENCE = """
import torch
torch.set_num_threads(1)
layer, frame = torch.nn.Linear(768, 768), torch.rand(256, 768)
with torch.inference_mode():
    layer(frame)
    print("inferring", flush=True)
    while True:
        frame = torch.tanh(layer(frame))
"""


def main() -> int:
    """Measure and print; return 1 if p99 under load exceeds its bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shaper", default="nfqueue", choices=["nfqueue", "netem"])
    shaper = parser.parse_args().shaper
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/link_under_load.py")
        return 2
    table = Table(title=f"RTT error on verify's grid of delays and rates, shaper {shaper}")
    for heading in ("machine", "probes", "lost", "p50", "p99", "worst"):
        table.add_column(heading, justify="left" if heading == "machine" else "right")
    _measure(shaper, "as it is", table)
    with _inference():
        loaded = _measure(shaper, "torch on every core", table)
    console = Console(width=100)
    console.print(table)
    kept = loaded.more["error_p99_s"] <= P99_BOUND_S
    console.print(f"bound {'kept' if kept else 'MISSED'}: p99 under load <= {P99_BOUND_S * 1e3:g} ms")
    return 0 if kept else 1


def _measure(shaper: str, machine: str, table: Table) -> Check:
    load = ProcessorLoad()
    with LinkUnderTest(shaper) as link:
        measurements = Measurements(link, FULL, BOUNDS[shaper], steepest_pass(5.0), unshaped=_never)
        for delay_s, rate_bit_s in FULL.cells:
            measurements.rtt("", delay_s, rate_bit_s)
        median, *_, lost = measurements.whole_grid()
    figures_ms = [f"{median.more[f'error_p{p}_s'] * 1e3:.2f} ms" for p in (50, 99, 100)]
    label = f"{machine}: {load_text(load.record())}"
    table.add_row(label, str(median.samples), f"{lost.measured:.0f}", *figures_ms)
    return median


def _never() -> LinkUnderTest:
    raise AssertionError("this benchmark measures no rates")


@contextmanager
def _inference() -> Iterator[None]:
    """Run one inference process per core."""
    command = [sys.executable, "-c", INFERENCE]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"inferring\n"
        time.sleep(1.0)
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    sys.exit(main())
