"""Queues: the orders in which a satellite sends, and a ground station that serves first come, first served.

The event model of `nodes.lab.evaluation` and the comparison of an emulated run with it share the latter.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal

SendOrder = Literal["oldest", "newest", "value", "deadline"]
"""What a satellite sends first of what waits for a contact, see `nodes.policies.send_order`."""


def completion_times_s(requests: Sequence[tuple[float, float]], servers: int = 1) -> list[float]:
    """Return when each request is done, in the order given.

    Args:
        requests: Arrival time and service time of each, in seconds.
        servers: Number of servers with one queue.
    """
    done_s, free_s = [0.0] * len(requests), [0.0] * servers
    for index in sorted(range(len(requests)), key=lambda index: requests[index][0]):
        arrival_s, service_s = requests[index]
        done_s[index] = max(arrival_s, free_s[0]) + service_s
        heapq.heapreplace(free_s, done_s[index])
    return done_s
