"""Any trace of two directions survives each format that can hold it, within the format's own resolution.

A trace is written, read back, and joined with its delays where the format has none. Compared are the bytes
that each direction can carry up to every second, and its delay at every moment at which it is up.
"""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.recordings import Assumptions, read_recording
from traces.recordings.ion import write as write_ion
from traces.recordings.mahimahi import CHANCE_BITS
from traces.recordings.mahimahi import write as write_mahimahi
from traces.trace import Trace, TraceHeader
from traces.trace_file import format_trace, parse_trace, write_trace

HEADER = TraceHeader("S", "G", datetime(2024, 1, 1, tzinfo=timezone.utc), "a test")
COLUMNS = "time=t:s,down=down:bit/s,up=up:bit/s,down_delay=dd:s,up_delay=ud:s"
LOSS_COLUMNS = "down_loss=dl:fraction,up_loss=ul:fraction"


@st.composite
def traces(draw: st.DrawFn, *, whole: bool = True) -> Trace:
    """Draw a trace that begins and ends with both directions up.

    Args:
        draw: hypothesis' own.
        whole: rows of whole seconds, and rates that fill whole chances of mahimahi and bytes of ION.
    """
    times = st.integers(1, 4) if whole else st.floats(0.001, 4.0)
    lengths_s = np.array(draw(st.lists(times, min_size=1, max_size=8)), dtype=float)
    count = len(lengths_s)
    rates = st.integers(1, 5000).map(lambda chances: chances * 12e3) if whole else st.floats(8.0, 1e9)

    def column(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)))

    def ups() -> np.ndarray:
        up = column(st.booleans())
        up[[0, -1]] = True
        return up

    down, up = ups(), ups()
    delays, losses = st.floats(0.0, 2.0), st.floats(0.0, 1.0)
    return Trace(
        HEADER,
        np.append(0.0, np.cumsum(lengths_s)[:-1]),
        down,
        up,
        np.where(down, column(rates), 0.0),
        np.where(up, column(rates), 0.0),
        np.where(down, column(delays), 0.0),
        np.where(up, column(delays), 0.0),
        np.where(down, column(losses), 0.0),
        np.where(up, column(losses), 0.0),
        end_s=float(lengths_s.sum()),
    )


def carried_bytes(trace: Trace, way: str, moments_s: np.ndarray) -> np.ndarray:
    """Return the bytes that a direction can carry until each moment; nothing after the trace's end."""
    rate_bit_s = np.where(getattr(trace, f"{way}link_up"), getattr(trace, f"{way}_bit_s"), 0.0)
    total = np.append(0.0, np.cumsum(trace.lengths_s() * rate_bit_s / 8))
    return np.interp(moments_s, np.append(trace.time_s, trace.end_s), total)


def check_same(read: Trace, source: Trace, *, slack_bytes: float = 0.0, slack_s: float = 0.0) -> None:
    """Compare the bytes until each second, and the delay at the beginning and in the middle of each row."""
    seconds = np.arange(np.ceil(source.end_s) + 1)
    edges_s = np.union1d(read.time_s, source.time_s)
    edges_s = edges_s[edges_s < min(read.end_s, source.end_s)]
    moments_s = np.append(edges_s, edges_s + np.diff(edges_s, append=min(read.end_s, source.end_s)) / 2)
    for way in ("down", "up"):
        wanted, found = (carried_bytes(trace, way, seconds) for trace in (source, read))
        most_byte_s = float(getattr(source, f"{way}_bit_s").max()) / 8
        slack = slack_bytes + slack_s * most_byte_s + 1e-9 * wanted[-1] + 1e-6
        assert np.abs(found - wanted).max() <= slack, way
        for moment_s in moments_s.tolist():
            row, own = read.row_at(moment_s), source.row_at(moment_s)
            if row.is_up(way) and own.is_up(way):
                assert getattr(row, f"{way}_delay_s") == getattr(own, f"{way}_delay_s"), (way, moment_s)


@settings(max_examples=30, deadline=None)
@given(traces(whole=False))
def test_its_own_file_is_exact(source: Trace):
    assert parse_trace(format_trace(source)) == source


@settings(max_examples=30, deadline=None)
@given(traces())
def test_a_pair_of_mahimahi_files_is_exact_to_a_packet_and_a_millisecond(source: Trace):
    with tempfile.TemporaryDirectory() as folder:
        for way in ("down", "up"):
            Path(folder, way).write_bytes(write_mahimahi(source, way))
        write_trace(source, Path(folder, "delays"))
        read = read_recording(
            Path(folder, "down"),
            form="mahimahi",
            up_file=Path(folder, "up"),
            delay_file=Path(folder, "delays"),
        )
    assert read.end_s == source.end_s
    check_same(read, source, slack_bytes=CHANCE_BITS / 8, slack_s=1e-3)
    for way in ("down", "up"):
        total = carried_bytes(source, way, np.array([source.end_s]))
        assert carried_bytes(read, way, np.array([read.end_s])) == pytest.approx(total, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(traces())
def test_a_contact_plan_is_exact_in_whole_seconds_and_bytes(source: Trace):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plan").write_bytes(write_ion(source))
        write_trace(source, Path(folder, "delays"))
        read = read_recording(Path(folder, "plan"), form="ion", delay_file=Path(folder, "delays"))
    check_same(read, source)
    for way in ("down", "up"):
        assert read.contacts(way) == source.contacts(way)
    assert read.header.start_utc == source.header.start_utc


@settings(max_examples=30, deadline=None)
@given(traces())
def test_a_csv_file_with_a_row_each_second_is_exact(source: Trace):
    rows = [source.row_at(second) for second in np.arange(source.end_s)]
    names = ("down_bit_s", "up_bit_s", "down_delay_s", "up_delay_s", "down_loss", "up_loss")
    lines = ["t,down,up,dd,ud,dl,ul"]
    lines += [
        ",".join(map(repr, [second, *(getattr(row, name) for name in names)]))
        for second, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.csv").write_text("\n".join(lines) + "\n")
        read = read_recording(Path(folder, "x.csv"), Assumptions(columns=f"{COLUMNS},{LOSS_COLUMNS}"))
    check_same(read, source)
    assert read.end_s == source.end_s
    for way in ("down", "up"):
        assert read.contacts(way) == source.contacts(way)
    for second, row in enumerate(rows):
        assert [getattr(read.row_at(second), name) for name in names] == [
            getattr(row, name) for name in names
        ]


@settings(max_examples=20, deadline=None)
@given(traces())
def test_a_table_of_iperf_beside_the_delays_is_exact(source: Trace):
    lines = ["timestamp_start,timestamp_end,ip_protocol,transport_protocol,download,upload"]
    for second in range(int(source.end_s)):
        row = source.row_at(second)
        stamps = ",".join(f"2024-01-01T00:{s // 60:02d}:{s % 60:02d}Z" for s in (second, second + 1))
        lines.append(f"{stamps},v4,tcp,{row.down_bit_s!r},{row.up_bit_s!r}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "iperf.csv").write_text("\n".join(lines) + "\n")
        write_trace(source, Path(folder, "delays"))
        read = read_recording(Path(folder, "iperf.csv"), delay_file=Path(folder, "delays"))
    assert read.end_s == source.end_s
    check_same(read, source)
