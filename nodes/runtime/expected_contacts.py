"""Contacts as forecast: whether one lasts or begins soon, so that carriers need no close look otherwise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from nodes.contract.config import LinkPlan


class ExpectedContacts:
    """The contacts with all stations, joined.

    Args:
        plans: forecasts of the links; None for a link without one, when a contact may begin at any time.
    """

    def __init__(self, plans: Iterable[LinkPlan | None]) -> None:
        known = list(plans)
        self._at_any_time = None in known
        joined: list[list[float]] = []
        for begin_s, end_s in sorted(span for plan in known if plan is not None for span in _contacts(plan)):
            if joined and begin_s <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], end_s)
            else:
                joined.append([begin_s, end_s])
        self._begins_s = [begin_s for begin_s, _ in joined]
        self._ends_s = [end_s for _, end_s in joined]

    def between(self, from_s: float, to_s: float) -> bool:
        """Return whether a contact may last or begin between two scenario times."""
        number = bisect_right(self._ends_s, from_s)
        return self._at_any_time or (number < len(self._ends_s) and self._begins_s[number] <= to_s)


def _contacts(plan: LinkPlan) -> list[tuple[float, float]]:
    times_s = [row.time_s for row in plan.rows] + [plan.end_s]
    return [(row.time_s, end_s) for row, end_s in zip(plan.rows, times_s[1:], strict=True) if row.up]
