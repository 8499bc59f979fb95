"""Measure how far ahead of real time topologies/dove_day.py runs: sudo python benchmarks/fleet_day.py.

20 Doves over 5 stations, whose images are 1.4 times what the links carry. Scenario time runs as fast as the
machine keeps up with, and jumps over what is idle. Answers that were computed before come from --answers, at
the pace of the estimates in topologies/profiles/.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

from rich.console import Console

from testbed import TerminalProgress, part_of, run_scenario
from topologies.dove_day import scenario

BOUND = 58.0  # times as fast as real time: a day in 25 minutes
HOUR_S = 3600.0


def main() -> int:
    """Run the day, or hours of it; return 1 if it was slower than the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="begin", type=float, default=0.0, help="first hour (default: 0)")
    parser.add_argument("--hours", type=float, default=24.0, help="scenario time (default: 24)")
    parser.add_argument("--speed", default="auto", help="as of `spaceverse run` (default: auto)")
    parser.add_argument("--answers", type=Path, default=Path("runs/answers"), help="folder of kept answers")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="parent of the run's folder")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/fleet_day.py")
        return 2
    console = Console(width=100)
    began_s = time.monotonic()
    day = part_of(scenario(), HOUR_S * arguments.begin, HOUR_S * (arguments.begin + arguments.hours))
    day = day.model_copy(update={"answers": arguments.answers.absolute()})
    speed = "auto" if arguments.speed == "auto" else float(arguments.speed)
    outcome = run_scenario(day.at_speed(speed), arguments.folder, TerminalProgress(console))
    took_s = time.monotonic() - began_s
    results = outcome.results
    if results is None or results.passage is None:
        return 1
    if results.acceleration is not None:
        console.print(results.acceleration.line())
    console.print(results.passage.line())
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    size_mb = sum(path.stat().st_size for path in outcome.folder.path.rglob("*") if path.is_file()) / 1e6
    console.print(
        f"{took_s:.0f} s with set-up and report, the run itself {results.passage.speed_up:.0f} times as fast "
        f"as real time (bound {BOUND:.0f})"
    )
    console.print(
        f"{results.answered} of {len(results.frames)} frames answered; of the models' answers "
        f"{results.computed} computed, {results.remembered} remembered"
    )
    console.print(f"memory of the run {memory_mb:.0f} MB, folder {size_mb:.0f} MB: {outcome.folder.path}")
    return 0 if results.passage.speed_up >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
