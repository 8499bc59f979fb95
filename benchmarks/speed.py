"""The pass of dove_pass at several speeds: the same answers, and what running ahead costs, in scenario time.

    sudo python benchmarks/speed.py                 speeds 1, 10, 20 and 50: five minutes
    sudo python benchmarks/speed.py 20 20 20        the same speed three times

The compact model answers on board and on the ground, at the pace of an imaginary machine that takes six
seconds for an answer; the link has room for every image. Answers are computed in the first run and kept for
the others. Differences are those to the first speed; of errors and lateness, median and 99th percentile are
given.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nodes import COMPACT
from testbed import Scenario, run_scenario
from testbed.results.results import Results
from topologies.dove_pass import scenario as dove_pass

STAGES_S = {
    "preprocess": 0.2,
    "vision": 4.0,
    "prefill": 1.5,
    "decode": 0.3,
    "pack": 0.2,
    "attend": 0.1,
    "reduce": 0.1,
}
CAPTURES_S = (2, 6, 10, 14, 18, 30, 40, 50, 60, 70, 80, 90, 100, 110, 125, 140)
RATE_BIT_S = 4e6
HEADINGS = ("speed", "answers", "mean latency, s", "difference", "RTT error, ms", "n", "links late, ms")


def paced(folder: Path) -> Scenario:
    """Return the scenario with one small model, at the pace of the imaginary machine."""
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    profile = folder / "profile.json"
    about = {"name": "imaginary", "model": "compact", "parameters": 2_000_000_000, "stages": stages}
    profile.write_text(json.dumps(about))
    whole = dove_pass().model_dump()
    (satellite,), (link,) = whole["satellites"], whole["links"]
    satellite |= {"policy": "offload-after", "policy_parameters": {}, "accept_confidence": 0.75}
    satellite["confidence"] = None
    for frame, capture_s in zip(satellite["frames"], CAPTURES_S, strict=True):
        frame["capture_s"] = capture_s
    link["follows"]["downlink"]["rate_cap_bit_s"] = RATE_BIT_S
    for node in (*whole["satellites"], *whole["stations"]):
        node |= {"model": str(COMPACT), "model_threads": 1, "profile": profile}
    return Scenario.model_validate(whole | {"answers": folder / "answers"})


def row(speed: float, results: Results, first: Results) -> list[str]:
    """Return a row of the table."""
    same = sum(
        (one.answer, one.answered_by) == (other.answer, other.answered_by)
        for one, other in zip(results.frames, first.frames, strict=True)
    )
    mean_s, first_s = (one.totals()["mean_end_to_end_s"] or 0.0 for one in (results, first))
    (link,) = results.links
    errors = ", ".join(f"{(link.rtt_error_s(p) or 0.0) * 1e3:.2f}" for p in (50, 99))
    cost = results.acceleration
    late = "-" if cost is None else f"{cost.lateness_p50_s * 1e3:.1f}, {cost.lateness_p99_s * 1e3:.1f}"
    keeps = "" if cost is None or cost.kept_up else " (did not keep up)"
    return [
        f"{speed:g}{keeps}",
        f"{same} of {len(first.frames)} the same",
        f"{mean_s:.2f}",
        f"{mean_s / first_s - 1:+.1%}",
        errors,
        str(len(link.rtt)),
        late,
    ]


def main(speeds: Sequence[float]) -> None:
    """Print the table, and after each row the warnings of its run."""
    print(" | ".join(HEADINGS), flush=True)
    first: Results | None = None
    with tempfile.TemporaryDirectory() as folder:
        scenario = paced(Path(folder))
        for speed in speeds:
            results = run_scenario(scenario, Path(folder) / "runs", speed=speed).results
            if results is None:
                return
            first = first or results
            print(" | ".join(row(speed, results, first)), flush=True)
            parts_s = results.totals()["mean_latency_parts_s"]
            print("  " + ", ".join(f"{name} {value:.3f}" for name, value in parts_s.items()), flush=True)
            for warning in results.warnings():
                print(f"  {warning}", flush=True)


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or (1, 10, 20, 50))
