"""Scenario time rises with CLOCK_MONOTONIC, and each is found from the other."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.clocks.timescale import Piece, Timescale

moments = st.floats(0, 1e6)
spans = st.floats(1e-3, 1e5)
speeds = st.floats(1, 1000)


@st.composite
def scales(draw: st.DrawFn, jumps: st.SearchStrategy[float]) -> Timescale:
    """Scales of up to five pieces, with jumps of so many seconds between them."""
    pieces = [Piece(draw(moments), draw(st.floats(-1e3, 1e3)), draw(speeds))]
    for _ in range(draw(st.integers(0, 4))):
        last, lasts_s = pieces[-1], draw(spans)
        arrived_s = last.time_s + lasts_s * last.speed + draw(jumps)
        pieces.append(Piece(last.monotonic_s + lasts_s, arrived_s, draw(speeds)))
    return Timescale(*pieces)


@given(scales(st.just(0.0)), moments)
def test_at_and_monotonic_of_are_inverse(scale: Timescale, moment_s: float) -> None:
    time_s = scale.at(moment_s)
    assert scale.monotonic_of(time_s) == pytest.approx(moment_s, rel=1e-9, abs=1e-5)
    assert scale.at(scale.monotonic_of(time_s)) == pytest.approx(time_s, rel=1e-9, abs=1e-2)


@given(scales(st.floats(0, 1e4)), st.lists(spans, min_size=2, max_size=20))
def test_time_never_goes_back_and_no_moment_comes_before_its_time(
    scale: Timescale, steps: list[float]
) -> None:
    times_s = [scale.at(moment_s) for moment_s in accumulate(steps, initial=0.0)]
    assert all(after > before for before, after in pairwise(times_s))
    reached = [scale.monotonic_of(time_s) for time_s in accumulate(steps, initial=-1e3)]
    assert all(after >= before for before, after in pairwise(reached))


def test_what_a_jump_skips_is_reached_at_its_moment() -> None:
    scale = Timescale(Piece(100.0, 0.0, 2.0), Piece(110.0, 500.0, 2.0))
    assert [scale.at(moment_s) for moment_s in (99.0, 105.0, 110.0, 111.0)] == [-2.0, 10.0, 500.0, 502.0]
    reached = [scale.monotonic_of(time_s) for time_s in (10.0, 20.0, 300.0, 500.0, 502.0)]
    assert reached == [105.0, 110.0, 110.0, 110.0, 111.0]


@given(moments, moments)
def test_at_speed_1_nothing_is_rounded_that_was_not_before(start_s: float, moment_s: float) -> None:
    assert Timescale.starting(start_s).at(moment_s) == moment_s - start_s
    assert Timescale.starting(start_s).monotonic_of(moment_s) == start_s + moment_s


def test_a_scale_goes_on_with_jumps_and_speeds_but_never_back() -> None:
    scale = Timescale.starting(100.0)
    assert scale.is_real
    longer = scale.then(Piece(110.0, 500.0, 1.0), Piece(120.0, 510.0, 4.0), Piece(130.0, 600.0, 2.0))
    assert (scale.at(125.0), longer.at(125.0)) == (25.0, 530.0)
    assert not longer.is_real and longer.jumps() == [(110.0, 10.0, 500.0), (130.0, 550.0, 600.0)]
    assert [longer.speed_at(moment_s) for moment_s in (99.0, 121.0, 131.0)] == [1.0, 4.0, 2.0]
    assert longer.changes_within(109.0, 110.0) and not longer.changes_within(110.0, 119.0)
    for wrong in (Piece(129.0, 900.0, 1.0), Piece(140.0, 619.0, 1.0)):
        with pytest.raises(ValueError, match="back"):
            longer.then(wrong)
