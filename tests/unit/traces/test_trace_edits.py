"""Cut, shift, join, resample, scale, reverse: what each keeps, on any trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.trace import COLUMNS, Contact, Trace, TraceError, TraceHeader
from traces.trace_file import format_trace, parse_trace

START = datetime(2018, 1, 20, tzinfo=timezone.utc)
HEADER = TraceHeader("S", "G", START, "a test")
EIGHTHS = st.integers(1, 80).map(lambda count: count / 8)  # sums of these are exact


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    lengths_s = draw(st.lists(EIGHTHS, min_size=1, max_size=8))
    count = len(lengths_s)

    def column(least: float, greatest: float) -> list[float]:
        return draw(st.lists(st.floats(least, greatest), min_size=count, max_size=count))

    def flags() -> np.ndarray:
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))

    down = flags()
    up = down if draw(st.booleans()) else flags()
    return Trace(
        header=HEADER,
        time_s=np.concatenate([[0.0], np.cumsum(lengths_s)[:-1]]),
        downlink_up=down,
        uplink_up=up,
        down_bit_s=np.where(down, column(1, 1e9), 0),
        up_bit_s=np.where(up, column(1, 1e9), 0),
        down_delay_s=np.where(down, column(1e-9, 1), 0),
        up_delay_s=np.where(up, column(1e-9, 1), 0),
        down_loss=np.where(down, column(1e-9, 1), 0),
        up_loss=np.where(up, column(1e-9, 1), 0),
        end_s=sum(lengths_s),
        extra={"elevation_deg": column(0, 90)} if draw(st.booleans()) else {},
    )


def bits(trace: Trace) -> tuple[float, float]:
    lengths_s = trace.lengths_s()
    return float(lengths_s @ trace.down_bit_s), float(lengths_s @ trace.up_bit_s)


def looks_alike(first: Trace, second: Trace) -> bool:
    """Whether both say the same at every moment; rows may be split otherwise."""
    moments = np.union1d(first.time_s, second.time_s)
    rows = [[replace(trace.row_at(moment), time_s=0.0) for moment in moments] for trace in (first, second)]
    return first.end_s == second.end_s and rows[0] == rows[1]


@settings(max_examples=40)
@given(traces(), st.data())
def test_what_was_cut_joins_to_what_it_was(trace: Trace, data: st.DataObject):
    middle_s = data.draw(st.integers(1, int(trace.end_s * 16) - 1)) / 16
    again = trace.cut(0, middle_s).join(trace.cut(middle_s, trace.end_s))
    assert again == trace or (looks_alike(again, trace) and again.header == trace.header)
    assert again.contacts() == trace.contacts()


@settings(max_examples=40)
@given(traces(), traces(), EIGHTHS)
def test_a_joined_trace_says_what_each_said(first: Trace, second: Trace, gap_s: float):
    both = first.join(second, gap_s=gap_s)
    assert both.end_s == first.end_s + gap_s + second.end_s
    assert looks_alike(both.cut(0, first.end_s), first)
    assert looks_alike(both.cut(first.end_s + gap_s, both.end_s), second)
    assert not any(row.up for row in both.cut(first.end_s, first.end_s + gap_s).rows())
    assert bits(both) == pytest.approx(np.add(bits(first), bits(second)))
    assert set(both.extra) == set(first.extra) | set(second.extra)


def test_joining_tells_whose_the_rest_is():
    one = Trace(HEADER, [0], *[[1]] * 8, end_s=5, extra={"elevation_deg": [7]})
    other = replace(one, header=TraceHeader("T", "G", START + timedelta(hours=1), "b"), extra={})
    both = one.join(other)
    assert both.header.notes == ("from 5.0 s on: T over G, 2018-01-20T01:00:00Z",)
    assert both.contacts() == [Contact(0, 10)]
    assert both.extra["elevation_deg"][0] == 7
    assert np.isnan(both.extra["elevation_deg"][1])
    for gap_s in (-1, float("nan"), float("inf")):
        with pytest.raises(TraceError, match="cannot join"):
            one.join(other, gap_s=gap_s)


@settings(max_examples=50)
@given(traces(), st.floats(0.05, 30))
def test_resampling_moves_no_contact_and_loses_no_bit(trace: Trace, step_s: float):
    again = trace.resample(step_s)
    assert again.contacts() == trace.contacts()
    assert again.end_s == trace.end_s
    assert bits(again) == pytest.approx(bits(trace), rel=1e-9)
    for way in ("down", "up"):
        assert again.contacts(way) == trace.contacts(way)
    edges = {s for way in ("down", "up") for one in trace.contacts(way) for s in (one.aos_s, one.los_s)}
    for moment in again.time_s:
        assert moment in edges or abs(moment / step_s - round(moment / step_s)) < 1e-6
    for name in COLUMNS[2:]:
        assert getattr(again, name).max() <= getattr(trace, name).max()


@settings(max_examples=40)
@given(traces())
def test_resampling_between_the_rows_changes_nothing(trace: Trace):
    assert looks_alike(trace.resample(1 / 8), trace)


def test_resampling_takes_the_mean():
    trace = Trace(
        HEADER,
        [0, 3, 4],
        [1] * 3,
        [1] * 3,
        [8, 4, 6],
        [1] * 3,
        [0, 0.4, 0],
        [0] * 3,
        [0] * 3,
        [0] * 3,
        end_s=8,
    )
    again = trace.resample(4)
    assert again.time_s.tolist() == [0, 4]
    assert again.down_bit_s.tolist() == [7, 6]
    assert again.down_delay_s.tolist() == pytest.approx([0.1, 0])
    assert again.header.notes == ("resampled to 4.0 s",)
    for step_s in (0, -1, float("nan"), 1e-12):
        with pytest.raises(TraceError, match="cannot resample"):
            trace.resample(step_s)


@settings(max_examples=40)
@given(traces(), st.sampled_from([0.25, 0.5, 2, 8]))
def test_scaling_there_and_back(trace: Trace, factor: float):
    scaled = trace.scale(time=factor, down_rate=factor, up_rate=1 / factor, delay=factor)
    back = scaled.scale(time=1 / factor, down_rate=1 / factor, up_rate=factor, delay=1 / factor)
    assert replace(back, header=HEADER) == trace
    down, up = bits(trace)
    assert bits(scaled) == pytest.approx((down * factor**2, up))
    assert trace.scale() == trace


@pytest.mark.parametrize(
    "factors", [{"time": 0}, {"down_rate": -1}, {"up_rate": float("nan")}, {"delay": -0.1}]
)
def test_factors_that_cannot_be(factors: dict[str, float]):
    trace = Trace(HEADER, [0], *[[1]] * 8, end_s=5)
    with pytest.raises(TraceError, match="cannot scale"):
        trace.scale(**factors)
    with pytest.raises(TraceError, match="finite down_bit_s"):
        replace(trace, down_bit_s=[1e300]).scale(down_rate=1e300)
    assert trace.scale(delay=0).down_delay_s.tolist() == [0]


@settings(max_examples=40)
@given(traces())
def test_reversing_exchanges_the_directions(trace: Trace):
    other = trace.reverse()
    assert np.array_equal(other.down_bit_s, trace.up_bit_s)
    assert np.array_equal(other.up_delay_s, trace.down_delay_s)
    assert np.array_equal(other.down_loss, trace.up_loss)
    assert np.array_equal(other.time_s, trace.time_s)
    assert other.header.notes == ("directions changed places",)
    assert other.reverse() == trace


@settings(max_examples=20)
@given(traces())
def test_what_was_edited_survives_its_file(trace: Trace):
    edited = trace.scale(time=1 / 3, delay=0.7).reverse().shift(0.1).join(trace).resample(0.3)
    assert parse_trace(format_trace(edited)) == edited
