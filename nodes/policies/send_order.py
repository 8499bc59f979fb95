"""Order in which a satellite sends the images that wait for a contact; answers go before all images.

    oldest      as captured (the default)
    newest      the latest first: fresh answers, at the cost of those that wait already
    value       the most valuable first, of equals the oldest
    deadline    the first to become worthless first, then those without a deadline, each oldest first

A policy may have an order of its own, in an attribute `send_order`, and with "value" a method
`value(reading)` that rates each frame by the last reading before its decision.

An image that has been begun is put aside for a more urgent one, and is continued later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nodes.contract.queueing import SendOrder

SendKey = Callable[[int, float, float | None], tuple[float, ...]]
"""Sort key of an item by its number, which is larger for a newer one, its value and its deadline."""


def _oldest(number: int, value: float, deadline_s: float | None) -> tuple[float, ...]:
    return (number,)


def _newest(number: int, value: float, deadline_s: float | None) -> tuple[float, ...]:
    return (-number,)


def _value(number: int, value: float, deadline_s: float | None) -> tuple[float, ...]:
    return (-value, number)


def _deadline(number: int, value: float, deadline_s: float | None) -> tuple[float, ...]:
    return (math.inf if deadline_s is None else deadline_s, number)


SEND_ORDERS: dict[SendOrder, SendKey] = {
    "oldest": _oldest,
    "newest": _newest,
    "value": _value,
    "deadline": _deadline,
}


def order_of(policy: Any, configured: SendOrder) -> SendOrder:
    """Return the order in which a policy's images are sent: its own, or the configured one."""
    order: SendOrder = getattr(policy, "send_order", configured)
    return order


def value_of(policy: Any, reading: Any) -> float | None:
    """Return a frame's value according to its policy; None if the policy rates no frames."""
    rate = getattr(policy, "value", None)
    return float(rate(reading)) if callable(rate) else None
