"""Compare sending the newest image first with sending the oldest first, for a day under overload.

Run `python benchmarks/send_order.py`. A Dove captures images of equal size at random times of a day, and
sends them to Svalbard in the event model of the transfer (nodes/lab/evaluation/event_model). The load is the
size of all images over what the link carries in that day; above 1 some images never come down, whatever the
order. Latencies are given of the images that came down, and of all images: one that is still on board at the
end counts with its age at that time.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

import numpy as np

from nodes.contract.config import SendOrder
from nodes.lab.evaluation.event_model.downlink import Downlink
from nodes.onboard.link_forecast import ForecastRow, LinkForecast
from traces.make import make_trace
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import station
from traces.orbits.tle import FLOCK_TLE
from traces.radio.link_budget import preset
from traces.trace import Trace

START = datetime(2018, 1, 20, tzinfo=timezone.utc)
DAY_S = 86_400.0
RATE_BIT_S = 5e6
ORDERS: tuple[SendOrder, ...] = ("oldest", "newest")


def main() -> None:
    """Play each load in each order, and print latencies and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--loads", nargs="+", type=float, default=[0.7, 1.0, 1.4, 2.0], help="loads to play")
    parser.add_argument("--frames", type=int, default=400, help="images in the day (400)")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the capture times (3)")
    arguments = parser.parse_args()
    trace = day()
    carried_bytes = sum(
        (min(row_end_s, trace.end_s) - row.time_s) * row.down_bit_s / 8
        for row, row_end_s in zip(trace.rows(), [*trace.time_s[1:], trace.end_s], strict=True)
        if row.both_up
    )
    print(f"FLOCK 2P-1 over Svalbard, {len(trace.contacts())} contacts, {carried_bytes / 1e6:.0f} MB a day")
    print("                         of those that came down          of all")
    print("load  order   came down  mean, min  worst, min    mean, min  worst, min")
    for load in arguments.loads:
        mean_s = {}
        for order in ORDERS:
            size_bytes = int(load * carried_bytes / arguments.frames)
            draws = [
                play(trace, order, size_bytes, arguments.frames, seed) for seed in range(arguments.seeds)
            ]
            ages_s = np.concatenate(draws)
            down_s, all_s = ages_s[ages_s > 0], np.abs(ages_s)
            mean_s[order] = down_s.mean(), all_s.mean()
            figures = " ".join(
                f"{kind.mean() / 60:10.1f} {kind.max() / 60:11.1f}  " for kind in (down_s, all_s)
            )
            print(f"{load:4.1f}  {order:6} {len(down_s) / len(ages_s):10.0%} {figures}")
        of_down, of_all = (
            newest / oldest - 1 for newest, oldest in zip(mean_s["newest"], mean_s["oldest"], strict=True)
        )
        print(f"      newest first: mean {of_down:+.0%} of those that came down, {of_all:+.0%} of all")


def day() -> Trace:
    """Return the link of a day."""
    radio = preset("dove")
    elements = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    downlink = radio.downlink.capped(RATE_BIT_S)
    return make_trace(elements, station("Svalbard"), START, DAY_S, downlink=downlink, uplink=radio.uplink)


def play(trace: Trace, order: SendOrder, size_bytes: int, frames: int, seed: int) -> np.ndarray:
    """Return float64[frames]: latency in seconds; minus the age at the end for an image that is on board."""
    rows = [
        ForecastRow(r.time_s, r.both_up, r.down_bit_s, r.down_delay_s, r.up_delay_s) for r in trace.rows()
    ]
    downlink = Downlink(LinkForecast(rows, trace.end_s), RATE_BIT_S, send_order=order)
    for number, time_s in enumerate(np.sort(np.random.default_rng(seed).uniform(0, trace.end_s, frames))):
        downlink.add(str(number), "image", size_bytes, float(time_s))
    downlink.advance(trace.end_s)
    return np.array(
        [
            item.added_s - trace.end_s if item.received_s is None else item.received_s - item.added_s
            for item in downlink.items
        ]
    )


if __name__ == "__main__":
    main()
