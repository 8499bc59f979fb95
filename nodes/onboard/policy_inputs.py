"""What a policy is told of its surroundings: the contact that is left, and what waits for it.

Made from a plan of the links. The satellite's program and the event model tell it alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.contract.line import Line
from nodes.policies import Contact, Queue


def surroundings(
    plans: Sequence[Line],
    now_s: float,
    capture_s: float,
    captures_s: Sequence[float],
    waiting: tuple[int, int],
) -> tuple[Contact, Queue]:
    """Contact and queue at a moment.

    Args:
        plans: of the links to each station, in order of preference; none stands for a satellite without a
            plan, which takes the contact for endless.
        now_s: scenario time.
        capture_s: when the frame in question was taken.
        captures_s: when frames are taken, that one included.
        waiting: (bytes, items) that wait for the link.
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
