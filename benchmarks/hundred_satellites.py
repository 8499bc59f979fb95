"""Run 100 satellites for an hour of scenario time: sudo python benchmarks/hundred_satellites.py.

Planet's Flock over four stations. Each satellite captures three frames, so that most of them are idle at any
time. Prints how long it took, why frames have no answer, and the memory of a satellite: its proportional
share of what it shares with others (PSS), and what is its own (private).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from nodes import COMPACT, FIRST_LIGHT, REGULAR
from testbed import Camera, Constellation, RadioChanges, Results, Scenario, link_traces, run_scenario
from traces import FLOCK_TLE, Trace, parse_utc

PROFILES = Path(__file__).parent.parent / "topologies" / "profiles"
IDLE_BOUND_MB = 30.0
LOOK_EVERY_S = 5.0


def fleet(satellites: int, hours: float, answers: Path) -> Scenario:
    """Return the scenario."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK*",),
        stations=("Svalbard", "Inuvik", "Awarua", "Hartebeesthoek"),
        start=parse_utc("2018-01-20T12:00:00Z"),
        length_s=3600 * hours,
        count=satellites,
        elevation_mask_deg=10,
        downlink=RadioChanges(rate_cap_bit_s=1e6),
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=1500, min_sun_deg=None)
    links = sky.links()
    return Scenario(
        name="hundred",
        satellites=sky.satellites(camera, model=str(COMPACT), profile=PROFILES / "small-board.json"),
        stations=sky.ground_stations(model=str(REGULAR), profile=PROFILES / "ground-gpu.json"),
        links=links,
        probe=tuple(link.name for link in links[:1]),
        link_error_bound_s=2e-3,
        answers=answers,
        skip_idle=True,
    ).at_speed("auto")


class MemoryWatch:
    """Notes the memory of the satellites' programs until it is stopped."""

    def __init__(self) -> None:
        self.pss_mb: list[float] = []
        self.private_mb: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            found = [figures for figures in map(_memory_mb, Path("/proc").glob("[0-9]*")) if figures]
            if found:
                self.pss_mb.append(median(pss for pss, _ in found))
                self.private_mb.append(median(private for _, private in found))


def _memory_mb(process: Path) -> tuple[float, float] | None:
    """Return (PSS, private memory) of a satellite's program; None for another one."""
    try:
        if b"nodes.satellite" not in (process / "cmdline").read_bytes():
            return None
        lines = (process / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    kb = {line.split(":")[0]: float(line.split()[1]) for line in lines if line.endswith("kB")}
    private_kb = kb["Private_Clean"] + kb["Private_Dirty"]
    return kb["Pss"] / 1e3, private_kb / 1e3


def contact_left_s(scenario: Scenario, traces: Mapping[str, Trace], satellite: str, from_s: float) -> float:
    """Return how long a satellite's links are up from a moment on, seconds."""
    return sum(
        max(0.0, contact.los_s - max(contact.aos_s, from_s))
        for link in scenario.links
        if link.satellite == satellite
        for contact in traces[link.name].contacts("both")
    )


def without_answer(scenario: Scenario, results: Results) -> list[str]:
    """Return why frames have no answer: a line for each reason, and one for each frame that had a contact."""
    traces = link_traces(scenario)
    reasons, in_contact = Counter[str](), list[str]()
    for frame in results.frames:
        if frame.answered:
            continue
        left_s = contact_left_s(scenario, traces, frame.satellite, frame.capture_s)
        why = frame.refused or frame.reached
        reasons[f"{why}; {'contact' if left_s else 'no contact'} after the capture"] += 1
        if left_s:
            frame_s = f"captured at {frame.capture_s:.0f} s, {left_s:.0f} s of contact left"
            in_contact.append(f"  {frame.satellite}, {frame_s}: {why}")
    return [f"{count} frames: {reason}" for reason, count in reasons.most_common()] + in_contact


def main() -> int:
    """Run the hour; return 1 if a satellite's own memory is above the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--satellites", type=int, default=100, help="number (default: 100)")
    parser.add_argument("--hours", type=float, default=1.0, help="scenario time (default: 1)")
    parser.add_argument(
        "--answers", type=Path, help="folder of kept answers (default: none, all are computed)"
    )
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/hundred_satellites.py")
        return 2
    with tempfile.TemporaryDirectory(prefix="hundred-") as folder, MemoryWatch() as memory:
        answers = Path(folder, "answers") if arguments.answers is None else arguments.answers.absolute()
        made = fleet(arguments.satellites, arguments.hours, answers)
        began_s = time.monotonic()
        results = run_scenario(made, Path(folder, "runs")).results
        took_s = time.monotonic() - began_s
    if results is None or results.passage is None or results.acceleration is None or not memory.pss_mb:
        return 1
    print(f"{len(made.satellites)} satellites, {len(made.links)} links, {len(results.frames)} frames")
    print(results.passage.line())
    print(results.acceleration.line())
    print(f"{took_s:.0f} s with set-up and report; {results.answered} frames answered")
    print("\n".join(without_answer(made, results)))
    pss_mb, private_mb = max(memory.pss_mb), max(memory.private_mb)
    print(f"memory of a satellite (median): {private_mb:.1f} MB its own, {pss_mb:.1f} MB PSS")
    return 0 if private_mb <= IDLE_BOUND_MB else 1


if __name__ == "__main__":
    sys.exit(main())
