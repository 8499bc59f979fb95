"""The data model and its file: exact round trips, and one clear line for everything malformed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.trace import COLUMNS, Contact, Trace, TraceError, TraceHeader
from traces.trace_file import format_trace, parse_trace, read_trace, write_trace

START = datetime(2018, 1, 20, tzinfo=timezone.utc)
HEADER = TraceHeader("FLOCK 2P-1", "Svalbard", START, "test", ("a note: with a colon",))


def two_contacts() -> Trace:
    return Trace(
        header=HEADER,
        time_s=[0, 10, 20, 30, 50],
        downlink_up=[False, True, True, False, True],
        uplink_up=[False, True, True, False, True],
        down_bit_s=[0, 2e6, 4e6, 0, 1e6],
        up_bit_s=[0, 1e5, 1e5, 0, 1e5],
        down_delay_s=[0, 0.004, 0.003, 0, 0.005],
        up_delay_s=[0, 0.004, 0.007, 0, 0.005],
        down_loss=[0, 0, 0.01, 0, 0],
        up_loss=[0, 0, 0.02, 0, 0],
        end_s=60,
        extra={"elevation_deg": [-3.0, 10.0, 20.0, np.nan, 11.0]},
    )


def test_rows_hold_from_their_time_until_the_next():
    trace = two_contacts()
    assert trace.row_at(0).up is False
    assert trace.row_at(10).down_bit_s == 2e6
    assert trace.row_at(np.nextafter(20.0, 0)).down_bit_s == 2e6
    assert (trace.row_at(20).down_loss, trace.row_at(20).up_loss) == (0.01, 0.02)
    assert (trace.row_at(20).down_delay_s, trace.row_at(20).up_delay_s) == (0.003, 0.007)
    assert trace.row_at(59.999).down_delay_s == 0.005
    assert [row.time_s for row in trace.rows()] == [0, 10, 20, 30, 50]
    assert trace.lengths_s().tolist() == [10, 10, 10, 20, 10]


@pytest.mark.parametrize("second", [-0.001, 60, 1e9, float("nan")])
def test_seconds_outside_are_refused(second):
    with pytest.raises(TraceError, match=r"covers 0 to 60\.0 s"):
        two_contacts().row_at(second)


def test_contacts_join_adjoining_rows_and_reach_the_end():
    assert two_contacts().contacts() == [Contact(10, 30), Contact(50, 60)]
    assert two_contacts().cut(30, 50).contacts() == []


def test_arrays_are_copies_and_refuse_to_be_written():
    times = np.array([0.0, 1.0])
    zeros = np.zeros(2)
    trace = Trace(HEADER, times, *[zeros] * 8, 2.0, {"elevation_deg": zeros})
    times[1] = 7
    assert trace.time_s[1] == 1
    for column in (*(getattr(trace, name) for name in COLUMNS), trace.extra["elevation_deg"]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    with pytest.raises(TypeError):
        trace.extra["more"] = zeros


def test_cut_keeps_the_state_and_the_utc_of_every_moment():
    trace = two_contacts()
    part = trace.cut(15, 55)
    assert part.end_s == 40
    assert part.header.start_utc == START + timedelta(seconds=15)
    assert part.contacts() == [Contact(0, 15), Contact(35, 40)]
    for second in (0, 4.9, 5, 20, 39):
        assert part.row_at(second).down_bit_s == trace.row_at(second + 15).down_bit_s
    assert trace.cut(0, 60) == trace


@pytest.mark.parametrize("bounds", [(-1, 5), (5, 5), (6, 5), (0, 61), (0, float("nan"))])
def test_cut_refuses_what_is_not_there(bounds):
    with pytest.raises(TraceError, match="cannot cut"):
        two_contacts().cut(*bounds)


def test_shift_puts_a_gap_before_and_cut_takes_it_off_again():
    trace = two_contacts()
    later = trace.shift(7.5)
    assert later.contacts() == [Contact(17.5, 37.5), Contact(57.5, 67.5)]
    assert later.header.start_utc == START
    assert later.header.notes[-1] == "shifted by 7.5 s"
    assert np.array_equal(later.cut(7.5, 67.5).time_s, trace.time_s)
    assert trace.shift(0) == trace
    with pytest.raises(TraceError, match="cannot shift"):
        trace.shift(-1)


def test_file_gives_back_the_same_trace(tmp_path: Path):
    trace = two_contacts()
    path = tmp_path / "pass.csv"
    write_trace(trace, path)
    assert read_trace(path) == trace
    assert [entry.name for entry in tmp_path.iterdir()] == ["pass.csv"]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as a Windows editor leaves it
    assert read_trace(path) == trace


TEXT = st.builds(
    lambda inner, last: inner.lstrip() + last,
    st.text(
        st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" :,#"), max_size=12
    ),
    st.sampled_from(["x", "é", "#", ":", "°"]),
)
MOMENT = st.datetimes(
    min_value=datetime(1960, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(timezone.utc)
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    amount = st.floats(min_value=0, allow_infinity=False)
    times = sorted(draw(st.sets(st.floats(min_value=1e-300, max_value=1e12), max_size=6)))
    count = len(times) + 1

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=count, max_size=count))

    rate = st.floats(min_value=5e-324, allow_infinity=False)
    return Trace(
        header=TraceHeader(
            draw(TEXT),
            draw(TEXT),
            draw(MOMENT),
            draw(TEXT),
            tuple(draw(st.lists(TEXT, max_size=3))),
            draw(st.none() | MOMENT),
        ),
        time_s=[0.0, *times],
        downlink_up=(down := column(st.booleans())),
        uplink_up=down if draw(st.booleans()) else column(st.booleans()),
        down_bit_s=column(rate),
        up_bit_s=column(rate),
        down_delay_s=column(amount),
        up_delay_s=column(amount),
        down_loss=column(st.floats(min_value=0, max_value=1)),
        up_loss=column(st.floats(min_value=0, max_value=1)),
        end_s=draw(st.floats(min_value=1e13, max_value=1e300)),
        extra={"elevation_deg": column(st.floats())} if draw(st.booleans()) else {},
    )


@settings(max_examples=60)
@given(traces())
def test_any_trace_survives_its_text_exactly(trace: Trace):
    again = parse_trace(format_trace(trace))
    assert again == trace
    assert format_trace(again) == format_trace(trace)


@settings(max_examples=40)
@given(traces(), st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_a_cut_agrees_with_the_whole(trace: Trace, start_s: float, length_s: float):
    part = trace.cut(start_s, start_s + length_s)
    assert replace(part.row_at(0), time_s=0.0) == replace(trace.row_at(start_s), time_s=0.0)
    assert part.end_s == pytest.approx(length_s, abs=1e-9)


GOOD = format_trace(two_contacts())


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("# spaceverse-trace 2", "time_s,up", 1, "expected '# spaceverse-trace 2'"),
        ("# station: Svalbard\n", "", 7, "'# station: ...'"),
        ("# station:", "# sation:", 3, "one of satellite, station"),
        ("# made_by: test", "# made_by: test\n# made_by: test", 7, "a key that is not repeated"),
        ("2018-01-20T00:00:00Z", "2018-01-20T00:00:00", 4, "no time zone"),
        ("2018-01-20T00:00:00Z", "yesterday", 4, "not a time"),
        ("# end_s: 60.0", "# end_s: -1", 5, "more than 0"),
        ("# end_s: 60.0", "# end_s: 50", 13, "before end_s"),
        ("time_s,up,down_bit_s", "time_s,up,down", 8, "expected the columns"),
        (",elevation_deg\n", ",up_loss\n", 8, "new column name"),
        ("20.0,1,", "20.0,yes,", 11, "expected 9 numbers"),
        ("20.0,1,", "20.0,2,", 11, "up 0 or 1"),
        ("20.0,1,", "10.0,1,", 11, "to increase"),
        ("\n0.0,0,", "\n1.0,0,", 9, "start at 0"),
        ("4000000.0", "-4000000.0", 11, "down_bit_s, not negative"),
        ("4000000.0", "0", 11, "down_bit_s > 0 while up"),
        ("4000000.0", "nan", 11, "finite down_bit_s"),
        (",0.01,", ",1.01,", 11, "down_loss, a probability"),
        (",0.02,", ",-0.02,", 11, "up_loss, a probability"),
        ("0.007", "-0.007", 11, "up_delay_s, not negative"),
        ("0.003", "", 11, "expected 9 numbers"),
        ("20.0,1,", "\n20.0,1,", 11, "expected 9 numbers"),
    ],
)
def test_faults_name_file_line_and_what_was_expected(tmp_path: Path, old, new, line, expected):
    assert old in GOOD
    path = tmp_path / "bad.csv"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    text = str(caught.value)
    assert text.startswith(f"{path}, line {line}: ")
    assert expected in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


VERSION_1 = """# spaceverse-trace 1
# satellite: S
# station: G
# start_utc: 2018-01-20T00:00:00Z
# end_s: 9.0
# made_by: a test
time_s,up,down_bit_s,up_bit_s,delay_s,loss,elevation_deg
0.0,0,0.0,0.0,0.0,0.0,1.0
4.0,1,4000000.0,250000.0,0.006,0.01,2.0
"""


def test_a_file_of_version_1_stands_for_both_directions():
    trace = parse_trace(VERSION_1)
    row = trace.row_at(4)
    assert (row.down_delay_s, row.up_delay_s, row.down_loss, row.up_loss) == (0.006, 0.006, 0.01, 0.01)
    assert trace.extra["elevation_deg"].tolist() == [1, 2]
    assert parse_trace(format_trace(trace)) == trace
    assert format_trace(trace).startswith("# spaceverse-trace 2\n")
    with pytest.raises(TraceError, match="line 7: expected a new column name"):
        parse_trace(VERSION_1.replace("elevation_deg", "up_delay_s"))
    with pytest.raises(TraceError, match="line 7: expected the columns"):
        parse_trace(GOOD.replace("trace 2", "trace 1").replace("# note: a note: with a colon\n", ""))


def test_a_file_without_rows_or_that_is_none_is_refused(tmp_path: Path):
    path = tmp_path / "short.csv"
    path.write_text(GOOD[: GOOD.index("0.0,0,")])
    with pytest.raises(TraceError, match="line 9: expected at least one row"):
        read_trace(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="expected UTF-8"):
        read_trace(path)
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="Is a directory"):
        read_trace(tmp_path)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_trace_or_a_trace_error(tmp_path_factory, blob: bytes):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(blob)
    with pytest.raises(TraceError, match=r"fuzz\.csv"):
        read_trace(path)


@settings(max_examples=200)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 20), st.text(max_size=8))
def test_a_damaged_file_gives_a_trace_or_a_trace_error(at: int, gone: int, put: str):
    text = GOOD[:at] + put + GOOD[at + gone :]
    try:
        again = parse_trace(text, name="damaged.csv")
    except TraceError as fault:
        assert "damaged.csv" in str(fault)
        assert str(fault).isprintable()
    else:
        assert parse_trace(format_trace(again)) == again


@pytest.mark.parametrize("satellite", ["", " x", "two\nlines", "tab\there"])
def test_header_text_stands_on_one_line(satellite):
    with pytest.raises(TraceError, match="one line of printable text"):
        TraceHeader(satellite, "Svalbard", START, "test")


def test_header_times_have_a_zone():
    with pytest.raises(TraceError, match="time zone"):
        TraceHeader("s", "g", datetime(2018, 1, 20), "test")
    east = timezone(timedelta(hours=2))
    assert TraceHeader("s", "g", datetime(2018, 1, 20, 2, tzinfo=east), "test").start_utc == START


def test_a_long_recording_is_read_fast():
    count = 50_000
    times = np.arange(count) / 100
    ones = np.ones(count)
    trace = Trace(HEADER, times, ones, ones, ones * 1e6, ones * 1e5, *[ones * 0.03] * 4, times[-1] + 0.01)
    text = format_trace(trace)
    assert parse_trace(text) == trace


def test_reading_a_trace_needs_neither_orbits_nor_plots():
    code = (
        "import sys, traces.trace; "
        "print([m for m in ('skyfield', 'sgp4', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_short_and_long_numbers_are_read_exactly_and_faults_far_down_named():
    count = 45_000
    rng = np.random.default_rng(7)
    delays = np.concatenate([rng.random(15_000).round(6) + 0.001, rng.random(30_000)])
    delays[-1] = 1e-7
    ones = np.ones(count)
    trace = Trace(
        HEADER, np.arange(count) / 100, ones, ones, ones * 1e6, ones, delays, delays, ones * 0, ones * 0, 450
    )
    text = format_trace(trace)
    assert parse_trace(text) == trace
    lines = text.split("\n")
    lines[41_000] = lines[41_000].replace(",1,", ",x,", 1)
    with pytest.raises(TraceError, match=r"line 41001: expected 8 numbers"):
        parse_trace("\n".join(lines))
