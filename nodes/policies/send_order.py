"""Order in which a satellite sends the images that wait for a contact; answers go before all images.

    oldest      as captured (the default)
    newest      the latest first: fresh answers, at the cost of those that wait already
    value       the most valuable first, of equals the oldest
    deadline    the first to become worthless first, then those without a deadline, each oldest first

An image that has been begun is put aside for a more urgent one, and is continued later.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nodes.contract.config import SendOrder

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
