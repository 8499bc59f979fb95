"""Compare the schedulers of dishes: three Doves want the one dish of Svalbard.

    sudo python benchmarks/dishes.py                    all four, ten times as fast as real time: ten minutes
    sudo python benchmarks/dishes.py most-backlog       one of them

Each Dove sees Svalbard for seven minutes, and shares 107 to 167 s of these with another. All capture an image
every 15 s for 400 s; those of the second are worth three times as much. The downlinks are so slow that all
images are as large as what the dish carries if the longest passes have it. Each image is sent whole.
Latencies are those of the answered frames. "Still on board" counts frames that waited in an outbox, or were
partly sent, when the run ended: with the answered frames they are all frames, if none was lost.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nodes import COMPACT, FIRST_LIGHT
from testbed import Camera, Constellation, Scenario, run_scenario
from testbed.results.results import Results
from traces import FLOCK_TLE, parse_utc

SCHEDULERS = ("longest-pass", "round-robin", "most-backlog", "highest-value")
SPEED = 10
STAGES_S = {"preprocess": 0.1, "vision": 2.0, "prefill": 0.8, "decode": 0.1}
VALUES = {"FLOCK 2P-12": 3.0}
ON_BOARD = ("it waited to be sent when the run ended", "it was on its way when the run ended")
HEADINGS = (
    "scheduler",
    "answered",
    "still on board",
    "value",
    "mean latency, s",
    "worst, s",
    "MB down",
    "turns",
    "turning, s",
    "idle, s",
)


def scenario(folder: Path, scheduler: str) -> Scenario:
    """Return the case with one scheduler."""
    stages = {name: {"p50_s": s, "p95_s": s, "count": 1} for name, s in STAGES_S.items()}
    profile = folder / "profile.json"
    about = {"name": "imaginary", "model": "compact", "parameters": 2_000_000_000, "stages": stages}
    profile.write_text(json.dumps(about))
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-1", "FLOCK 2P-12", "FLOCK 2P-2"),
        stations=("Svalbard",),
        start=parse_utc("2018-01-20T14:35:50Z"),
        length_s=990,
        elevation_mask_deg=10,
    )
    camera = Camera(folder=FIRST_LIGHT, every_s=15, until_s=400, min_sun_deg=None)
    sky = sky.at_load(1.0, camera, dishes=1)
    options = {"model": str(COMPACT), "profile": profile}
    satellites = tuple(
        one.model_copy(
            update={
                "frames": tuple(f.model_copy(update={"value": VALUES.get(one.name, 1.0)}) for f in one.frames)
            }
        )
        for one in sky.satellites(camera, **options, accept_confidence=1.0)
    )
    return Scenario(
        name="dishes",
        satellites=satellites,
        stations=sky.ground_stations(**options, dishes=1),
        links=sky.links(),
        scheduler=scheduler,
        speed=SPEED,
        link_error_bound_s=5e-3,
        answers=folder / "answers",
    )


def row(made: Scenario, results: Results) -> list[str]:
    """Return a row of the table."""
    frames = made.frames()
    answered = [f for f in results.frames if f.answered]
    latencies_s = [f.end_to_end_s for f in answered if f.end_to_end_s is not None]
    value = sum(frames[f.frame].value for f in answered) / sum(f.value for f in frames.values())
    return [
        made.scheduler,
        f"{len(answered)} of {len(frames)}",
        str(sum(not f.answered and f.reached.endswith(ON_BOARD) for f in results.frames)),
        f"{value:.0%}",
        f"{sum(latencies_s) / max(1, len(latencies_s)):.1f}",
        f"{max(latencies_s, default=0.0):.1f}",
        f"{results.totals()['bytes_sent'] / 1e6:.2f}",
        str(len(results.dishes)),
        f"{sum(use.turning_s for use in results.dish_uses):.0f}",
        f"{sum(use.idle_s for use in results.dish_uses):.0f}",
    ]


def main(schedulers: Sequence[str]) -> None:
    """Print the table, with the run's warnings after each row."""
    print(" | ".join(HEADINGS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for scheduler in schedulers:
            made = scenario(Path(folder), scheduler)
            results = run_scenario(made, Path(folder) / "runs").results
            if results is None:
                return
            print(" | ".join(row(made, results)), flush=True)
            for warning in results.warnings():
                print(f"  {warning}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or SCHEDULERS)
