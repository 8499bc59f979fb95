"""A ground station as a queue: one server, first come, first served.

Shared by the event model of `nodes.lab.evaluation` and the comparison of an emulated run with it.
"""

from __future__ import annotations

from collections.abc import Sequence


def completion_times_s(requests: Sequence[tuple[float, float]]) -> list[float]:
    """Return when each request is done, in the order given.

    Args:
        requests: Arrival time and service time of each, in seconds.
    """
    done_s, free_s = [0.0] * len(requests), 0.0
    for index in sorted(range(len(requests)), key=lambda index: requests[index][0]):
        arrival_s, service_s = requests[index]
        done_s[index] = free_s = max(arrival_s, free_s) + service_s
    return done_s
