"""Contact and queue as a policy sees them, from the plan of the links.

The satellite's program and the event model use the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.onboard.link_forecast import LinkForecast
from nodes.policies import Contact, Queue


def surroundings(
    plans: Sequence[LinkForecast],
    now_s: float,
    capture_s: float,
    captures_s: Sequence[float],
    waiting: tuple[int, int],
) -> tuple[Contact, Queue]:
    """Return contact and queue at a moment.

    Args:
        plans: Plans of the links to each station, in order of preference. Without any plan the contact is
            assumed to be endless.
        now_s: Scenario time.
        capture_s: Capture time of the frame.
        captures_s: Capture times of all frames, including this one.
        waiting: Bytes and items that are queued for the link.
    """
    if not plans:
        return Contact(), Queue(*waiting, sum(capture_s < time_s for time_s in captures_s))
    coming = [
        (max(now_s, contact[0]), number, contact[1])
        for number, plan in enumerate(plans)
        if (contact := plan.contact_after(now_s)) is not None
    ]
    if not coming:
        return Contact(float("inf"), 0.0, 0.0), Queue(*waiting)
    begin_s, number, end_s = min(coming)
    left_bytes = plans[number].bits_between(begin_s, end_s) / 8
    to_come = sum(capture_s < time_s < end_s for time_s in captures_s)
    return Contact(begin_s - now_s, end_s - begin_s, left_bytes), Queue(*waiting, to_come)
