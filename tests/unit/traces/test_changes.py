"""Parts of a trace that are taken away, cut off or degraded; all else stays as it is."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from traces.changes import cut_off, degraded, only_during
from traces.trace import Trace, TraceHeader


@pytest.fixture
def trace() -> Trace:
    """Up from 10 to 90 s, twice as fast from 50 s on."""
    time_s, up = np.array([0.0, 10, 50, 90]), np.array([False, True, True, False])
    down, loss = np.array([1e6, 1e6, 2e6, 1e6]), np.full(4, 0.1)
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    extra = {"elevation_deg": np.array([0.0, 5, 9, 0])}
    return Trace(header, time_s, up, up, down, down / 4, loss, loss, loss, loss, 100, extra)


def contacts(trace: Trace, of: str = "either") -> list[tuple[float, float]]:
    return [(one.aos_s, one.los_s) for one in trace.contacts(of)]  # type: ignore[arg-type]


def test_only_the_spans_are_left(trace: Trace) -> None:
    left = only_during(trace, [(0, 20), (40, 60), (85, 300)], "a reason")
    assert contacts(left, "both") == [(10, 20), (40, 60), (85, 90)]
    assert left.header.notes == ("a reason",) and left.end_s == 100
    assert left.row_at(55).down_bit_s == 2e6 and left.row_at(45).down_bit_s == 1e6
    assert left.extra["elevation_deg"][left.time_s == 60] == 9
    assert contacts(only_during(trace, [], "never")) == []


def test_directions_are_cut_one_by_one(trace: Trace) -> None:
    assert contacts(cut_off(trace, (20, 30), "cut"), "down") == [(10, 20), (30, 90)]
    one_way = cut_off(trace, (20, 30), "cut", ("up",))
    assert contacts(one_way, "down") == [(10, 90)] and contacts(one_way, "up") == [(10, 20), (30, 90)]
    assert contacts(cut_off(trace, (20, np.inf), "cut")) == [(10, 20)]


def test_rate_and_loss_are_changed_while_it_lasts(trace: Trace) -> None:
    worse = degraded(trace, (40, 60), "rain", factor=0.1, loss=0.5, ways=("down",))
    rates = [worse.row_at(t).down_bit_s for t in (39, 40, 55, 60)]
    assert rates == pytest.approx([1e6, 1e5, 2e5, 2e6])
    assert [worse.row_at(t).down_loss for t in (39, 40, 60)] == pytest.approx([0.1, 0.55, 0.1])
    assert worse.row_at(45).up_bit_s == 0.25e6 and worse.row_at(45).up_loss == 0.1
    assert contacts(worse) == contacts(trace)
