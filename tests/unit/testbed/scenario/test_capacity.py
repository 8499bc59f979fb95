"""The backlog of a satellite that sends its images whole."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from testbed.scenario.capacity import backlog_curve, carried_bytes
from traces.trace import Trace, TraceHeader


def link(*contacts_s: tuple[float, float], byte_s: float = 1000.0, end_s: float = 100.0) -> Trace:
    """Return a trace with contacts at a fixed rate."""
    edges_s = [0.0, *(edge for contact in contacts_s for edge in contact)]
    up = np.array([False] + [True, False] * len(contacts_s))
    rate, zero = np.full(len(up), byte_s * 8), np.zeros(len(up))
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(header, np.array(edges_s), up, up, rate, rate, zero, zero, zero, zero, end_s)


def test_images_wait_for_the_contact_and_then_leave_at_its_rate() -> None:
    curve = backlog_curve([link((10, 60))], [(12.0, 4000), (0.0, 5000)])
    assert (curve.most_bytes, curve.most_at_s) == (7000, 12)
    assert np.interp([5, 10, 11.9, 15, 19, 30], curve.time_s, curve.size_bytes).tolist() == pytest.approx(
        [5000, 5000, 3100, 4000, 0, 0]
    )
    assert (curve.empty_s, curve.left_bytes) == (19, 0)


def test_what_a_link_cannot_carry_is_left() -> None:
    curve = backlog_curve([link((10, 12), (50, 55))], [(0.0, 3000), (60.0, 500)])
    assert curve.left_bytes == 500
    assert curve.empty_s is None
    assert np.interp([12, 49, 51, 55], curve.time_s, curve.size_bytes).tolist() == [1000, 1000, 0, 0]


def test_an_idle_contact_is_not_saved_for_later() -> None:
    curve = backlog_curve([link((0.5, 20))], [(19.0, 2500)])
    assert curve.left_bytes == 1500


def test_the_backlog_agrees_with_a_queue_that_is_stepped() -> None:
    rng = np.random.default_rng(5)
    traces = [link((10, 30), (70, 80)), link((20, 45), byte_s=400.0)]
    captures = [(float(time_s), int(size)) for time_s, size in rng.integers(1, 90, (30, 2)) * [1, 60]]
    curve = backlog_curve(traces, captures)
    waiting, step_s = 0.0, 0.01
    for step in range(10_000):
        waiting += sum(size for time_s, size in captures if round(time_s / step_s) == step)
        rates = [trace.row_at(step * step_s) for trace in traces]
        flows = [row.down_bit_s / 8 for row in rates if row.both_up]
        waiting = max(0.0, waiting - (flows[0] if flows else 0.0) * step_s)
    assert curve.left_bytes == pytest.approx(waiting, abs=20)
    offered = sum(size for _, size in captures)
    assert curve.left_bytes >= offered - carried_bytes(traces, 0.0)
