"""Measure how far ahead of real time a fleet runs: sudo python benchmarks/fleet_day.py [--hours H].

20 Doves over 5 stations with 4 dishes each; their images are 1.4 times what the links carry. Scenario time
runs as fast as the machine keeps up with, and jumps over what is idle. The times that models take are
estimates (benchmarks/profiles/). Answers that were computed before come from a folder, at those times.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, Scenario, TerminalProgress, run_scenario
from traces import FLOCK_TLE, parse_utc

PROFILES = Path(__file__).parent / "profiles"
SATELLITES, LOAD = 20, 1.4
BOUND = 58.0  # times as fast as real time: a day in 25 minutes


def fleet(hours: float, answers: Path) -> Scenario:
    """Return the scenario of some hours."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-*", "FLOCK 3P-*"),
        stations=("Svalbard", "Inuvik", "Tromso", "Awarua", "Hartebeesthoek"),
        start=parse_utc("2018-01-20T00:00:00Z"),
        length_s=3600 * hours,
        count=SATELLITES,
        elevation_mask_deg=10,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=100)
    sky = sky.at_load(LOAD, camera, dishes=4)
    return Scenario(
        name="fleet",
        satellites=sky.satellites(
            camera,
            model=str(COMPACT),
            profile=PROFILES / "small-board.json",
            policy="spaceverse",
            send_order="newest",
        ),
        stations=sky.ground_stations(model=str(REGULAR), profile=PROFILES / "ground-gpu.json", dishes=4),
        links=sky.links(),
        probe=False,
        answers=answers,
    ).at_speed("auto")


def main() -> int:
    """Run the fleet; return 1 if it was slower than the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0, help="scenario time (default: 2)")
    hours = parser.parse_args().hours
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/fleet_day.py")
        return 2
    console = Console(width=100)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        outcome = run_scenario(
            fleet(hours, Path(folder, "answers")), folder, TerminalProgress(console), skip_idle=True
        )
    results = outcome.results
    if results is None or results.passage is None:
        return 1
    passed = results.passage
    faster = passed.scenario_s / passed.real_s
    console.print(
        f"{passed.scenario_s / 3600:.1f} h in {passed.real_s:.0f} s: {faster:.0f} times as fast as real time "
        f"(bound {BOUND:.0f}), {len(passed.jumps_s)} jumps, {len(passed.speeds)} speeds; "
        f"{results.answered} of {len(results.frames)} frames answered"
    )
    return 0 if faster >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
