"""The mistakes that other people's recordings invite; each is refused, or done right and written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.recording_samples import LENS_PING, PING, ROAD_IPERF, samples
from traces.errors import TraceError, UnitError
from traces.numbers import read_table
from traces.recordings import Assumptions, parse_recording
from traces.recordings.columns import parse_columns

SAMPLES = samples()
RATES = {"down_bit_s": 1e6, "up_bit_s": 1e6}


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"speedtest", "dish-history"}))
def test_what_was_not_recorded_is_asked_for(name):
    bare = replace(SAMPLES[name].beside, down_bit_s=None, up_bit_s=None, down_delay_s=None, up_delay_s=None)
    with pytest.raises(TraceError, match=r"without (down|up)_(bit|delay)_s; add --(rate|up-rate|delay) "):
        parse_recording(SAMPLES[name].data, "file", bare, name)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_was_given_stands_in_the_notes(name):
    notes = parse_recording(SAMPLES[name].data, "file", SAMPLES[name].beside, name).header.notes
    given = SAMPLES[name].beside
    for value in ("down_bit_s", "up_bit_s", "down_delay_s", "up_delay_s"):
        if getattr(given, value) is not None:
            assert any(value in note and "given" in note for note in notes)


@pytest.mark.parametrize("name", SAMPLES)
def test_zero_rows_are_an_error_with_file_and_line(name):
    data = SAMPLES[name].data
    head = (
        b""
        if name in ("mahimahi", "leoreplayer-delay", "ion", "satnogs", "gmat", "dish-history")
        else data.split(b"\n")[0] + b"\n"
    )
    if name == "ping":
        head = data[: data.index(b"[")]
    for text in (head, head + b"\n\n"):
        with pytest.raises(TraceError, match=r"^file, line \d+: expected "):
            parse_recording(text, "file", SAMPLES[name].beside, name)


def test_a_round_trip_is_not_a_delay():
    rtt = parse_recording(b"0,30\n1,40\n", "x", Assumptions(**RATES, columns="time=1:s,rtt=2:ms"))
    delay = parse_recording(b"0,30\n1,40\n", "x", Assumptions(**RATES, columns="time=1:s,delay=2:ms"))
    assert rtt.down_delay_s.tolist() == [0.015, 0.020]
    assert delay.down_delay_s.tolist() == [0.030, 0.040]
    assert any("half" in note for note in rtt.header.notes)
    assert not any("half" in note for note in delay.header.notes)


@pytest.mark.parametrize("name", ["lens-irtt", "lens-ping"])
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e3, 1e9])
def test_a_time_stamp_in_another_unit_is_refused(name, factor):
    head, *rows = SAMPLES[name].data.decode().strip().split("\n")
    for index, row in enumerate(rows):
        stamp, rest = row.split(",", 1)
        rows[index] = f"{float(stamp) * factor:.6f},{rest}"
    with pytest.raises(TraceError, match=r"line 2: expected a timestamp in n?s since 1970"):
        parse_recording("\n".join([head, *rows]).encode(), "x", SAMPLES[name].beside, name)


def test_a_ping_without_time_stamps_says_how_to_record_them():
    data = b"PING x\n64 bytes from 1.1.1.1: icmp_seq=1 ttl=63 time=60.6 ms\n"
    with pytest.raises(TraceError, match=r"line 2: .* ping -D"):
        parse_recording(data, "x", SAMPLES["ping"].beside)


def test_a_share_that_is_a_percentage_is_refused():
    given = Assumptions(**RATES, columns="time=1:s,rtt=2:ms,loss=3:fraction")
    with pytest.raises(TraceError, match="line 2: expected loss from 0 to 1 fraction"):
        parse_recording(b"0,5,0.5\n1,5,2.0\n", "x", given)


def test_a_sentinel_is_no_number():
    given = Assumptions(**RATES, columns="time=1:s,rtt=2:ms")
    data = b"0,-1\n1,30\n2,-1\n"
    with pytest.raises(TraceError, match=r"line 1: expected rtt .*--missing -1"):
        parse_recording(data, "x", given)
    trace = parse_recording(data, "x", replace(given, missing=(-1.0,)))
    assert trace.down_delay_s.tolist() == [0.015]
    assert any("2 of 3 rows hold" in note for note in trace.header.notes)


def test_unsorted_rows_are_sorted_and_that_is_written_down():
    head, *rows = LENS_PING.decode().strip().split("\n")
    shuffled = "\n".join([head, *reversed(rows)]).encode()
    trace = parse_recording(shuffled, "x", SAMPLES["lens-ping"].beside)
    plain = parse_recording(LENS_PING, "x", SAMPLES["lens-ping"].beside)
    assert np.array_equal(trace.down_delay_s, plain.down_delay_s)
    assert np.array_equal(trace.time_s, plain.time_s)
    assert any("out of order in 3 places" in note for note in trace.header.notes)


def test_of_two_rows_of_the_same_time_the_last_counts():
    trace = parse_recording(b"0,1\n1,2\n1,3\n2,4\n", "x", Assumptions(**RATES, columns="time=1:s,delay=2:s"))
    assert trace.down_delay_s.tolist() == [1, 3, 4]
    assert any("same time" in note for note in trace.header.notes)


def test_mahimahi_never_goes_back():
    with pytest.raises(TraceError, match="line 3: expected no less than the line before; found 4"):
        parse_recording(b"1\n5\n4\n", "x", SAMPLES["mahimahi"].beside, "mahimahi")


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(TraceError, match=r"line 2: '2024-01-11 10:06:39' has no time zone; .*--zone UTC"):
        parse_recording(ROAD_IPERF, "x", replace(SAMPLES["road-iperf"].beside, zone=None))
    given = Assumptions(**RATES, columns="time=1:iso,rtt=2:ms")
    with pytest.raises(TraceError, match="has no time zone"):
        parse_recording(b"2024-01-11 10:06:39,4\n", "x", given)


def test_nanoseconds_do_not_drown():
    start = 1705744800616897349
    data = "timestamp,rtt,uplink,downlink\n" + "".join(
        f"{start + n * 10_000_000},{40 + n % 7}.5,20.25,{20 + n % 7}.25\n" for n in range(1000)
    )
    trace = parse_recording(data.encode(), "x", SAMPLES["lens-irtt"].beside)
    assert trace.time_s[-1] == pytest.approx(9.99, abs=1e-6)


def test_a_ping_goes_on_counting_past_16_bits_many_times():
    rows = [n for n in range(200_000) if n % 10 != 3]
    data = "".join(
        f"[{1700000000 + n / 1000:.6f}] 64 bytes from 1.1.1.1: icmp_seq={n % 65536} ttl=63 time=20.0 ms\n"
        for n in rows
    ).encode()
    trace = parse_recording(data, "x", SAMPLES["ping"].beside)
    passed = (1 - trace.down_loss) * (1 - trace.up_loss)
    assert passed == pytest.approx(0.9, abs=0.002)


def test_the_fast_way_of_reading_numbers_and_the_slow_one_agree():
    rng = np.random.default_rng(2)
    rows = [
        ",".join((f"{rng.integers(-(10**9), 10**9)}", f"{rng.uniform(-1e5, 1e5):.{rng.integers(1, 10)}f}",
                  f"{rng.integers(0, 9 * 10**18)}", f"{rng.uniform():.3f}"))
        for _ in range(3000)
    ]  # fmt: skip
    fast = read_table("\n".join(rows).encode(), "x", 4)
    few = [read_table("\n".join(rows[n : n + 100]).encode(), "x", 4) for n in range(0, 3000, 100)]
    slow = np.concatenate(few, axis=1)  # so short a file is read line by line
    exact = np.array([[float(cell) for cell in row.split(",")] for row in rows]).T
    assert np.array_equal(slow, exact)
    assert np.array_equal(fast, exact)


@pytest.mark.parametrize(
    "bad", ["1_000", "0x10", "1e999", "inf", "nan", "\uff11", "--1", "1.2.3", "", "-", "."]
)
def test_what_is_no_number_is_named_with_its_line(bad):
    data = f"1,2\n3,{bad}\n5,6\n".encode()
    with pytest.raises(TraceError, match=r"^x, line 2: expected 2 numbers; found "):
        read_table(data, "x", 2)


@pytest.mark.parametrize("text", ["down=1:Mbit/s", "time=1:min", "time=1", "speed=1:s", "time=1:s,time=2:s"])
def test_a_wrong_declaration_says_what_is_expected(text):
    with pytest.raises(UnitError, match=r"^--columns: .*expected "):
        parse_columns(text)


def test_ping_text_without_a_common_shape_is_read_line_by_line():
    odd = PING.replace(b"ttl=63 ", b"ttl=63 tos=9 ", 1)
    first, again = (parse_recording(data, "x", SAMPLES["ping"].beside) for data in (PING, odd))
    assert np.array_equal(first.down_delay_s, again.down_delay_s)


SITES = b"""site_name,timestamp_start,timestamp_end,target,ip_protocol,packet_loss,packets_send,ping_avg
Enschede,2023-10-01T00:00:00Z,2023-10-01T00:00:50Z,192.0.2.1,v4,0,10,40
Osnabrueck,2023-10-01T00:00:00Z,2023-10-01T00:00:50Z,192.0.2.1,v4,0,10,80
Enschede,2023-10-01T00:01:00Z,2023-10-01T00:01:50Z,192.0.2.2,v6,0,10,42
"""


def test_two_sites_in_one_file_are_told_apart():
    with pytest.raises(
        TraceError, match="expected one site; found Enschede, Osnabrueck; choose with --station"
    ):
        parse_recording(SITES, "x", Assumptions(**RATES))
    trace = parse_recording(SITES, "x", Assumptions(**RATES, station="enschede"))
    assert trace.down_delay_s.tolist() == [0.02, 0.021]
    assert (
        "doubt: rows of several kinds are mixed: ip_protocol is v4 in 1 rows, v6 in 1 rows"
        in trace.header.notes
    )
    with pytest.raises(TraceError, match="measurements of Dwingeloo; found those of Enschede, Osnabrueck"):
        parse_recording(SITES, "x", Assumptions(**RATES, station="Dwingeloo"))


def test_ranges_of_ion_are_those_of_each_direction_and_time():
    contacts = b"a contact +0 +600 1 2 125000\na contact +0 +600 2 1 12500\n"
    given = Assumptions(range_delay=True)
    apart = parse_recording(contacts + b"a range +0 +600 1 2 2\na range +0 +600 2 1 3\n", "x", given)
    assert (apart.down_delay_s.tolist(), apart.up_delay_s.tolist()) == ([2], [3])
    later = parse_recording(contacts + b"a range +0 +300 1 2 2\na range +300 +600 1 2 5\n", "x", given)
    assert later.time_s.tolist() == [0, 300]
    assert later.down_delay_s.tolist() == later.up_delay_s.tolist() == [2, 5]


def test_probes_without_a_row_are_said():
    rows = "".join(f"{1_700_000_000 + n * 0.2:.1f},50\n" for n in range(60) if n % 4)
    notes = parse_recording(f"timestamp,rtt\n{rows}".encode(), "x", Assumptions(**RATES)).header.notes
    assert any("doubt: at the usual interval 14 probes have no row" in note for note in notes)


def test_a_round_trip_of_zero_is_doubted():
    given = Assumptions(**RATES, columns="time=1:s,rtt=2:ms")
    notes = parse_recording(b"0,5\n1,0\n2,5\n", "x", given).header.notes
    assert "doubt: rtt is 0 in 1 of 3 rows; if this means no answer, add --missing 0" in notes
