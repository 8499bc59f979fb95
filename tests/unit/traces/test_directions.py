"""A direction is up or down by itself: in the trace, in its file and in its plot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.one_way import one_way_trace
from traces.errors import TraceError
from traces.plot import figure_of
from traces.trace import Contact, Trace
from traces.trace_file import format_trace, parse_trace

ONE_WAY = one_way_trace()


def test_a_contact_is_a_time_with_either_direction_and_the_others_are_derived():
    assert ONE_WAY.up.tolist() == [True, True, True, False]
    assert ONE_WAY.both_up.tolist() == [True, False, False, False]
    assert ONE_WAY.contacts() == [Contact(0, 30)]
    assert ONE_WAY.contacts("both") == [Contact(0, 10)]
    assert ONE_WAY.contacts("down") == [Contact(0, 20)]
    assert ONE_WAY.contacts("up") == [Contact(0, 10), Contact(20, 30)]


def test_a_row_says_the_same_as_its_trace():
    for row in ONE_WAY.rows():
        index = int(np.searchsorted(ONE_WAY.time_s, row.time_s))
        assert row == ONE_WAY.row_at(row.time_s)
        assert (row.up, row.both_up) == (ONE_WAY.up[index], ONE_WAY.both_up[index])
        ways = [ONE_WAY.downlink_up[index], ONE_WAY.uplink_up[index], row.both_up, row.up]
        assert [row.is_up(of) for of in ("down", "up", "both", "either")] == ways


def test_a_rate_of_zero_is_an_error_only_while_its_own_direction_is_up():
    with pytest.raises(TraceError, match=r"row 1: expected up_bit_s > 0 while uplink_up; found 0\.0"):
        replace(ONE_WAY, uplink_up=ONE_WAY.downlink_up | ONE_WAY.uplink_up)


def test_changes_of_a_trace_keep_each_direction():
    swapped = ONE_WAY.reverse()
    assert (swapped.contacts("down"), swapped.contacts("up")) == (
        ONE_WAY.contacts("up"),
        ONE_WAY.contacts("down"),
    )
    assert swapped.reverse() == ONE_WAY
    assert ONE_WAY.cut(5, 35).contacts("up") == [Contact(0, 5), Contact(15, 25)]
    assert ONE_WAY.shift(5).contacts("up") == [Contact(5, 15), Contact(25, 35)]
    assert ONE_WAY.resample(7).contacts("up") == ONE_WAY.contacts("up")
    assert ONE_WAY.scale(time=2).contacts("up") == [Contact(0, 20), Contact(40, 60)]
    assert ONE_WAY.join(ONE_WAY).contacts("up")[1:] == [Contact(20, 30), Contact(40, 50), Contact(60, 70)]


def test_a_file_has_two_columns_only_if_the_directions_differ():
    text = format_trace(ONE_WAY)
    assert text.startswith("# spaceverse-trace 3\n")
    assert "\ntime_s,downlink_up,uplink_up,down_bit_s," in text
    assert parse_trace(text) == ONE_WAY
    alike = replace(ONE_WAY.cut(0, 10), extra={"elevation_deg": np.array([7.0])})
    assert format_trace(alike).startswith("# spaceverse-trace 2\n")
    assert "\ntime_s,up,down_bit_s," in format_trace(alike)
    assert parse_trace(format_trace(alike)) == alike


@pytest.mark.parametrize(
    ("version", "names", "rows"),
    [
        (1, "time_s,up,down_bit_s,up_bit_s,delay_s,loss", ["0,1,4e6,1e6,0.01,0", "10,0,0,0,0,0"]),
        (
            2,
            "time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss",
            ["0,1,4e6,1e6,0.01,0.01,0,0", "10,0,0,0,0,0,0,0"],
        ),
    ],
)
def test_the_one_column_of_an_older_file_is_that_of_both_directions(version, names, rows):
    header = format_trace(ONE_WAY).split("time_s")[0].replace("trace 3", f"trace {version}")
    old = parse_trace(header + "\n".join([names, *rows, ""]))
    assert old.downlink_up.tolist() == old.uplink_up.tolist() == [True, False]
    assert old.down_bit_s.tolist() == [4e6, 0]
    assert old.up_bit_s.tolist() == [1e6, 0]
    assert old.up_delay_s.tolist() == old.down_delay_s.tolist() == [0.01, 0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("10.0,1,0,", "10.0,1,2,", r"line 9: expected uplink_up 0 or 1; found 2\.0"),
        ("10.0,1,0,4", "10.0,0,1,4", r"line 9: expected up_bit_s > 0 while uplink_up; found 0\.0"),
        ("trace 3", "trace 2", "expected the columns time_s,up,down_bit_s"),
        ("downlink_up,uplink_up", "up", "expected the columns time_s,downlink_up,uplink_up,"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(old, new, expected):
    with pytest.raises(TraceError, match=expected):
        parse_trace(format_trace(ONE_WAY).replace(old, new, 1))


def test_a_plot_draws_each_direction_while_it_is_up():
    rate, delay = figure_of(ONE_WAY).axes
    for axis, names in ((rate, ("down_bit_s", "up_bit_s")), (delay, ("up_delay_s", "down_delay_s"))):
        for line, name in zip(axis.lines, names, strict=True):
            up = _up(ONE_WAY, name)
            drawn = np.isfinite(line.get_ydata()[: len(up)])
            assert drawn.tolist() == up.tolist(), name
    colours = {tuple(patch.get_facecolor()) for patch in rate.patches}
    assert len(colours) == 2  # both directions, or only one of them


def _up(trace: Trace, name: str) -> np.ndarray:
    return trace.downlink_up if name.startswith("down") else trace.uplink_up
