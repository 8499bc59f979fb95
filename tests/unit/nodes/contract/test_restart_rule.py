"""How often a node's program that dies is started again."""

from __future__ import annotations

from nodes.contract.board import PAUSE_S, RESTARTS_MAX, RESTARTS_WITHIN_S, RestartRule


def test_restarts_in_a_row_get_longer_pauses_and_then_an_end() -> None:
    rule = RestartRule()
    pauses_s = [rule.pause_s(100.0 + at_s) for at_s in range(RESTARTS_MAX)]
    assert pauses_s == [0.0, PAUSE_S, 3 * PAUSE_S]
    assert rule.pause_s(100.0 + RESTARTS_WITHIN_S - 0.1) is None


def test_an_old_death_counts_no_more() -> None:
    rule = RestartRule()
    assert [rule.pause_s(at_s) for at_s in (0.0, 30.0, 50.0)] == [0.0, PAUSE_S, 3 * PAUSE_S]
    assert rule.pause_s(RESTARTS_WITHIN_S) == 3 * PAUSE_S, "the first is forgotten, two count"
    assert rule.pause_s(RESTARTS_WITHIN_S + 1) is None
