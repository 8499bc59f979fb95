"""Whatever a file holds: a trace, or one TraceError that names it; soon, and in little memory."""

from __future__ import annotations

import io
import time
import tracemalloc

import numpy as np
import pandas  # noqa: F401  what it takes to import is no recording's
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.recording_samples import samples
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording, read_recording
from traces.trace import Trace
from traces.trace_file import parse_trace

SAMPLES = samples()
# A hang is told by HANG_S of processor time, which other work on the machine does not use up.
HANG_S = 60
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Beside ten times the file: the part of it that pandas has in hand, 1 MiB, with its numbers and its columns.
# The interpreter, NumPy and pandas themselves (some 80 MB of them resident) are there before.
CONSTANT_BYTES = 4 << 20
BITS = (
    b"-1",
    b",",
    b"\n",
    b"\r\n",
    b"9" * 30,
    b"1e308",
    b"nan",
    b"\xff",
    b"[",
    b"{",
    b'"',
    b":",
    b"+",
    b"0",
    b"",
)


def judge(data: bytes, name: str | None, beside: Assumptions) -> None:
    try:
        trace = parse_recording(data, "fuzz.bin", beside, name)
    except TraceError as fault:
        assert "fuzz.bin" in str(fault)
        assert "\n" not in str(fault)
        assert len(str(fault)) < 700
    else:
        assert isinstance(trace, Trace)
        assert len(trace) > 0


@pytest.mark.parametrize("name", SAMPLES)
@QUICK
@given(data=st.binary(max_size=400))
def test_any_bytes(name, data):
    judge(data, name, SAMPLES[name].beside)
    judge(data, None, SAMPLES[name].beside)


@pytest.mark.parametrize("name", SAMPLES)
@QUICK
@given(data=st.data())
def test_a_sample_with_a_piece_of_it_changed(name, data):
    text = SAMPLES[name].data
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.integers(0, 20)))
        piece = data.draw(st.one_of(st.sampled_from(BITS), st.binary(max_size=8)))
        text = text[:begin] + piece + text[end:]
    judge(text, name, SAMPLES[name].beside)


@pytest.mark.parametrize("name", SAMPLES)
@QUICK
@given(numbers=st.lists(st.tuples(st.integers(-2, 10**19), st.floats()), min_size=1, max_size=8))
def test_numbers_of_any_size(name, numbers):
    head = SAMPLES[name].data.split(b"\n")[0]
    rows = "\n".join(f"{whole},{real},{real},{whole}" for whole, real in numbers)
    judge(head + b"\n" + rows.encode(), name, SAMPLES[name].beside)
    judge("\n".join(str(whole) for whole, _ in numbers).encode(), name, SAMPLES[name].beside)


def long_recordings() -> dict[str, bytes]:
    """Two megabytes or so of each, and of what is meant to hurt."""
    stamps = 1705744800616897349 + np.arange(40_000) * 10_000_000
    irtt = b"\n".join(b"%d,120.126123,72.439368,47.68675" % (t + 17) for t in stamps.tolist())
    reply = b"[%d.%06d] 64 bytes from 1.1.1.1: icmp_seq=%d ttl=63 time=60.%d ms"
    ping = b"\n".join(
        reply % (1700000000 + n // 100, n % 100 * 10_000, n % 65536, n % 10) for n in range(30_000)
    )
    road = SAMPLES["road-iperf"].data.split(b"\n")
    ion = b"\n".join(
        b"a contact +%d +%d %d %d 125000" % (n, n + 1, 1 + n % 2, 2 - n % 2) for n in range(12_000)
    )
    observation = SAMPLES["satnogs"].data.strip()[1:-1].strip()
    return {
        "lens-irtt": b"timestamp,rtt,uplink,downlink\n" + irtt,
        "ping": ping,
        "mahimahi": b"\n".join(b"%d" % (n // 8 + 1) for n in range(300_000)),
        "road-iperf": b"\n".join([road[0], *(road[1:2] * 8_000)]),
        "ion": ion,
        "satnogs": b"[" + b",\n".join([observation] * 3000) + b"]",
    }


@pytest.mark.parametrize("name", long_recordings())
def test_memory_and_time_of_long_recordings(name):
    data = long_recordings()[name]
    beside = SAMPLES[name].beside
    parse_recording(SAMPLES[name].data, "warm", beside, name)  # imports are not the recording's
    tracemalloc.start()
    try:
        began_s = time.process_time()
        parse_recording(data, "x", beside, name)
        took_s = time.process_time() - began_s
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * len(data) + CONSTANT_BYTES, f"{peak_bytes / len(data):.1f} times the file"
    assert took_s < HANG_S


def test_memory_of_a_leoreplayer_pair(tmp_path):
    """The delays alone have 3 bytes for each row of 65 in a trace; with its capacity file, it holds."""
    capacity = b"\n".join(b"%d" % (n // 8 + 1) for n in range(1_000_000))
    delays = b"\n".join(b"%d" % (20 + n % 2 * n % 9) for n in range(12_500))
    (tmp_path / "bw_1.txt").write_bytes(capacity)
    (tmp_path / "delay_1.txt").write_bytes(delays)
    tracemalloc.start()
    try:
        trace = read_recording(tmp_path / "bw_1.txt", Assumptions(), delay_file=tmp_path / "delay_1.txt")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert trace.end_s == 125.0
    assert peak_bytes < 10 * (len(capacity) + len(delays)) + CONSTANT_BYTES


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("satnogs", b"[" * 200_000),
        ("satnogs", b"[" + b"[]," * 500_000),
        ("satnogs", b'{"a":' * 100_000),
        ("mahimahi", b"1\n999999999999\n"),
        ("mahimahi", b"\n" * 1_000_000),
        ("mahimahi", b"7" * 1_000_000),
        ("lens-ping", b"timestamp,rtt\n" + b"," * 1_000_000),
        ("lens-ping", b"timestamp,rtt\n1705744800.5,10\n4705744800.5,10\n"),
        ("ping", b"[1700182800.4] 64 bytes from " + b"icmp_seq=1 " * 100_000),
        ("road-iperf", b'"' * 1_000_000),
        ("ion", b"a contact " * 100_000),
        ("ion", b"a contact +0 +999999999 1 2 5\na contact +0 +5 2 1 5\n"),
        ("gmat", b"Observer: x\n" * 20_000),
        ("stk", b'"Access","Start Time (UTCG)","Stop Time (UTCG)"\n' + b"1,2,3\n" * 10_000),
        ("csv", b"when;loss;dl;ping\n" + b";" * 1_000_000),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_is_meant_to_hurt_does_not(name, data):
    beside = SAMPLES[name].beside
    tracemalloc.start()
    try:
        began_s = time.process_time()
        judge(data, name, beside)
        assert time.process_time() - began_s < HANG_S
        assert tracemalloc.get_traced_memory()[1] < 10 * len(data) + CONSTANT_BYTES
    finally:
        tracemalloc.stop()


def test_memory_of_a_trace_file():
    head = (
        b"# spaceverse-trace 2\n# satellite: S\n# station: G\n# start_utc: 2024-01-01T00:00:00Z\n"
        b"# end_s: 1e9\n# made_by: x\n"
        b"time_s,up,down_bit_s,up_bit_s,down_delay_s,up_delay_s,down_loss,up_loss\n"
    )
    data = head + b"\n".join(b"%d,1,1,1,%d,0,0,0" % (n, n % 2) for n in range(200_000))
    tracemalloc.start()
    try:
        trace = parse_trace(data)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(trace) == 200_000
    assert peak_bytes < 10 * len(data) + CONSTANT_BYTES, f"{peak_bytes / len(data):.1f} times the file"


def test_a_recording_loads_faster_than_numpy_reads_its_numbers():
    """A day at 10 ms in under 10 s is for benchmarks/recordings.py; here a peer has the same load.

    The reader has ten times the rows, checks them, makes a trace, and takes less than ten times as long.
    """
    rows = b"\n".join(
        b"%d,120.126123,72.4%05d,47.%05d" % (1705744800616897349 + n * 10_000_000, n % 99_991, n % 70_000)
        for n in range(864_000)
    )
    part = rows[: rows.index(b"\n", len(rows) // 10)]
    beside = SAMPLES["lens-irtt"].beside
    ours_s, peer_s = [], []
    for _ in range(3):
        began_s = time.perf_counter()
        trace = parse_recording(b"timestamp,rtt,uplink,downlink\n" + rows, "x", beside)
        ours_s.append(time.perf_counter() - began_s)
        assert len(trace) > 500_000
        began_s = time.perf_counter()
        np.loadtxt(io.BytesIO(part), delimiter=",")
        peer_s.append(time.perf_counter() - began_s)
    assert min(ours_s) < 10 * min(peer_s)
