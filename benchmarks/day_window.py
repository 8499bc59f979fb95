"""Compare a window of topologies/dove_day.py in real time, at speed 20, and without idle time.

    sudo python benchmarks/day_window.py                    five minutes with two passes: eight minutes
    sudo python benchmarks/day_window.py --from 41000 --seconds 600

Before the first row, the window is run once at speed 20, so that all models' answers are kept: the rows
differ in how scenario time passes, and in nothing else. Mean latencies are over the frames that every row
answered.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from testbed import Results, Scenario, part_of, run_scenario
from topologies.dove_day import scenario

BOUND = 0.05  # of the mean latency
ROWS = ((1.0, False), (20.0, False), (1.0, True), (20.0, True))
HEADINGS = (
    "speed | idle time | real, s | answered | answers | mean latency, s | difference | RTT error, ms | late"
)


def row(name: str, results: Results, first: Results, common: set[str]) -> tuple[str, bool]:
    """Return a row of the table, and whether its answers and its mean latency are those of the first."""
    ours, theirs = ({f.frame: f for f in one.frames if f.answered} for one in (results, first))
    same = sum(
        (ours[f].answer, ours[f].answered_by) == (theirs[f].answer, theirs[f].answered_by) for f in common
    )
    mean_s, first_s = (fmean(frames[f].end_to_end_s or 0.0 for f in common) for frames in (ours, theirs))
    errors_s = [error for link in results.links if (error := link.rtt_error_s(50)) is not None]
    late = "-" if results.acceleration is None else f"{results.acceleration.late_share:.1%} of latency"
    real_s = "-" if results.passage is None else f"{results.passage.real_s:.0f}"
    cells = [
        name,
        real_s,
        f"{results.answered} of {len(results.frames)}",
        f"{same} of {len(common)} the same",
        f"{mean_s:.2f}",
        f"{mean_s / first_s - 1:+.1%}",
        f"{max(errors_s) * 1e3:.2f}" if errors_s else "-",
        late,
    ]
    fits = same == len(common) and ours.keys() == theirs.keys() and abs(mean_s / first_s - 1) <= BOUND
    return " | ".join(cells), fits


def window(begin_s: float, seconds: float, answers: Path) -> Scenario:
    """Return the window, with all its links measured that have a contact."""
    return part_of(scenario(), begin_s, begin_s + seconds).model_copy(
        update={"answers": answers, "probe": True, "grace_s": 5.0}
    )


def main() -> int:
    """Print the table; return 1 if a row has other answers or another mean latency than the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="begin_s", type=float, default=28_150.0, help="scenario time, seconds")
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the window")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("root is required: sudo python benchmarks/day_window.py")
        return 2
    with tempfile.TemporaryDirectory(prefix="window-") as folder:
        cut = window(arguments.begin_s, arguments.seconds, Path(folder, "answers"))
        runs: list[tuple[str, Results]] = []
        for speed, skip in ((20.0, True), *ROWS):
            results = run_scenario(cut.at_speed(speed), Path(folder, "runs"), skip_idle=skip).results
            if results is None:
                return 1
            runs.append((f"{speed:g} | {'skipped' if skip else 'played'}", results))
        (_, warmed), *rows = runs
        print(f"before: {warmed.computed} answers computed; then {sum(r.computed for _, r in rows)}")
        common = set.intersection(*({f.frame for f in r.frames if f.answered} for _, r in rows))
        print(HEADINGS)
        found = [row(name, results, rows[0][1], common) for name, results in rows]
        print("\n".join(text for text, _ in found))
    return 0 if all(fits for _, fits in found) else 1


if __name__ == "__main__":
    sys.exit(main())
