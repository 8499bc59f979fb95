"""A day of twelve Doves over one station, in the event model: dishes against schedulers that plan ahead.

Run `python benchmarks/dish_plans.py`; it needs no root and takes some seconds. Each Dove captures images of
equal size at random times, and sends them oldest first to Svalbard, whenever its plan gives it a dish
(testbed.dish_plan), in the event model of the transfer (nodes/lab/evaluation/event_model). All images
together are as large as what one dish carries in the day, with the longest passes. Latencies are of the
images that came down.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from nodes import FIRST_LIGHT
from nodes.lab.evaluation.event_model.downlink import Downlink
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from testbed import Camera, Constellation, DishPlan, Scenario, Trace, dish_plan, link_traces
from testbed.scenario.capacity import carried_bytes
from traces import FLOCK_TLE

DAY_S = 86_400.0
RATE_BIT_S = 5e6
HEADINGS = ("dishes", "scheduler", "came down", "mean, min", "worst, min", "waiting in view, min", "turns")


def scenario(dishes: int | None, scheduler: str) -> Scenario:
    """Return the day; its frames stand for nothing."""
    sky = Constellation(
        elements=FLOCK_TLE,
        patterns=("FLOCK 2P-*",),
        stations=("Svalbard",),
        start=datetime(2018, 1, 20, tzinfo=timezone.utc),
        length_s=DAY_S,
    )
    camera = Camera(folder=Path(FIRST_LIGHT), every_s=DAY_S, min_sun_deg=None)
    return Scenario(
        name="day",
        satellites=sky.satellites(camera, model="any"),
        stations=sky.ground_stations(model="any", dishes=dishes),
        links=sky.links(),
        scheduler=scheduler,
    )


def play(trace: Trace, size_bytes: int, frames: int, seed: int) -> np.ndarray:
    """Return float64[n]: latencies of the images that came down, in seconds."""
    rows = [
        ForecastRow(r.time_s, r.both_up, min(r.down_bit_s, RATE_BIT_S), r.down_delay_s, r.up_delay_s)
        for r in trace.rows()
    ]
    downlink = Downlink(LinkForecast(rows, trace.end_s), RATE_BIT_S)
    for number, time_s in enumerate(np.sort(np.random.default_rng(seed).uniform(0, trace.end_s, frames))):
        downlink.add(str(number), "image", size_bytes, float(time_s))
    downlink.advance(trace.end_s)
    return np.array([i.received_s - i.added_s for i in downlink.items if i.received_s is not None])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=200, help="images of each Dove (200)")
    arguments = parser.parse_args()
    traces = link_traces(scenario(None, "longest-pass"))
    in_view_s = sum(c.duration_s for trace in traces.values() for c in trace.contacts())
    plans: dict[tuple[str, str], DishPlan] = {}
    for dishes in (1, 2):
        for scheduler in ("longest-pass", "round-robin"):
            plan = dish_plan(scenario(dishes, scheduler), traces)
            if plan is not None:
                plans[str(dishes), scheduler] = plan
    first = plans["1", "longest-pass"]
    capacity_bytes = sum(carried_bytes([trace], 0.0, RATE_BIT_S) for trace in first.traces.values())
    size_bytes = int(capacity_bytes / len(traces) / arguments.frames)
    print(f"{len(traces)} Doves over Svalbard, {arguments.frames} images of {size_bytes / 1e6:.2f} MB each")
    print(" | ".join(HEADINGS))
    everybody = ("each", "-"), DishPlan((), traces)
    for (dishes, scheduler), plan in (everybody, *plans.items()):
        latencies_s = np.concatenate(
            [play(t, size_bytes, arguments.frames, seed) for seed, t in enumerate(plan.traces.values())]
        )
        served_s = sum(c.duration_s for trace in plan.traces.values() for c in trace.contacts())
        print(
            f"{dishes} | {scheduler} | {len(latencies_s) / len(traces) / arguments.frames:.0%} | "
            f"{latencies_s.mean() / 60:.1f} | {latencies_s.max() / 60:.0f} | "
            f"{(in_view_s - served_s) / 60:.0f} of {in_view_s / 60:.0f} | {len(plan.turns) or '-'}"
        )


if __name__ == "__main__":
    main()
