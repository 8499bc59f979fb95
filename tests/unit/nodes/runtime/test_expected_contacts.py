"""Whether a contact is expected: during one, and shortly before."""

from __future__ import annotations

import pytest

from nodes.contract.config import LinkPlan, PlanRow
from nodes.runtime.expected_contacts import ExpectedContacts


def plan(*edges: tuple[float, bool], end_s: float = 100.0) -> LinkPlan:
    return LinkPlan(rows=tuple(PlanRow(time_s=s, up=up, down_bit_s=1e6 * up) for s, up in edges), end_s=end_s)


ONE = plan((0, False), (10, True), (15, True), (20, False), (60, True))
OTHER = plan((0, False), (18, True), (30, False))


@pytest.mark.parametrize(
    ("from_s", "to_s", "expected"),
    [
        (0, 9.9, False), (0, 10, True), (9, 12, True), (12, 13, True), (19, 19.5, True), (25, 26, True),
        (29.9, 35, True), (30, 59, False), (59, 60, True), (99, 99.5, True), (100, 200, False),
    ],
)  # fmt: skip
def test_a_contact_with_any_station_counts(from_s: float, to_s: float, expected: bool) -> None:
    assert ExpectedContacts([ONE, OTHER]).between(from_s, to_s) is expected


def test_without_a_forecast_a_contact_may_begin_at_any_time() -> None:
    assert ExpectedContacts([ONE, None]).between(30, 40)
    assert not ExpectedContacts([]).between(30, 40)
