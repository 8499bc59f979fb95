"""Each format: what its sample holds, in SI units, and what becomes of what it does not hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from tests.support.recording_samples import LEOREPLAYER_DELAY, samples
from traces.errors import TraceError
from traces.recordings import FORMATS, Assumptions, parse_recording, read_recording
from traces.recordings.formats import format_of
from traces.recordings.ion import write as write_ion
from traces.recordings.mahimahi import write as write_mahimahi
from traces.trace import Contact, Trace, TraceHeader
from traces.trace_file import format_trace, parse_trace

SAMPLES = samples()


def trace_of(name: str, **changes: object) -> Trace:
    sample = SAMPLES[name]
    return parse_recording(sample.data, name, replace(sample.beside, **changes), name)


def test_every_format_has_a_sample():
    assert set(SAMPLES) == set(FORMATS)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ("csv", "leoreplayer-delay")])
def test_a_format_is_known_by_its_content(name):
    assert format_of(SAMPLES[name].data, "file") == name


@pytest.mark.parametrize("name", SAMPLES)
def test_the_trace_says_where_it_comes_from_and_survives_its_file(name):
    trace = trace_of(name)
    assert name in trace.header.made_by
    assert trace.header.notes
    assert parse_trace(format_trace(trace)) == trace


def test_irtt_is_one_way_and_a_loss_is_no_delay():
    trace = trace_of("lens-irtt")
    assert trace.header.start_utc == datetime(2024, 1, 20, 10, 0, 0, 616897, tzinfo=timezone.utc)
    assert trace.row_at(0.0097).down_delay_s == pytest.approx(0.04768675)
    assert trace.row_at(0.0097).up_delay_s == pytest.approx(0.072439368)
    assert trace.row_at(0.001).down_delay_s == pytest.approx(0.04768675)  # lost: as the next one
    assert trace.row_at(0.042).down_delay_s == pytest.approx(0.047679937)  # lost: as the one before
    unknown = 1 - np.sqrt(1 - 1 / 7)
    assert trace.down_loss[0] == pytest.approx(1 - (1 - unknown) * (1 - 1 / 7))
    assert trace.up_loss[0] == pytest.approx(1 - (1 - unknown) * (1 - 1 / 7))
    assert trace.end_s == pytest.approx(0.0595 + 0.0099, abs=1e-3)


def test_irtt_whose_clocks_differ_gives_halves_of_the_round_trip():
    rows = b"1705744800616897349,16.0,10486.4,-10470.4\n1705744800626897349,18,10488.4,-10470.4\n"
    data = b"timestamp,rtt,uplink,downlink\n" + rows
    trace = parse_recording(data, "x", Assumptions(down_bit_s=1e6, up_bit_s=1e6))
    assert trace.down_delay_s.tolist() == [0.008, 0.009]
    assert trace.up_delay_s.tolist() == [0.008, 0.009]
    assert any("the clocks differed" in note for note in trace.header.notes)


def test_a_ping_is_half_a_round_trip_sent_before_it_came_back():
    trace = trace_of("ping")
    assert trace.header.start_utc.timestamp() == pytest.approx(1700182800.410606 - 0.0606, abs=1e-6)
    assert trace.down_delay_s[0] == trace.up_delay_s[0] == pytest.approx(0.0303)
    assert trace_of("lens-ping").down_delay_s.tolist() == pytest.approx([0.0459, 0.04825, 0.0555, 0.053])


def test_the_sequence_of_a_ping_wraps_and_a_missing_number_is_a_loss():
    trace = trace_of("ping")  # 65534, 65535, 0, 2: one of five never came
    assert (1 - trace.down_loss[0]) * (1 - trace.up_loss[0]) == pytest.approx(4 / 5)


def test_wetlinks_ping_is_percent_and_ms_with_a_zone():
    trace = trace_of("wetlinks-ping")
    assert trace.header.start_utc == datetime(2023, 9, 30, 22, tzinfo=timezone.utc)
    assert trace.down_delay_s[0] == pytest.approx(0.02)
    assert (1 - trace.row_at(181).down_loss) ** 2 == pytest.approx(0.81)
    assert trace.contacts() == [Contact(0, 360)]
    assert trace.header.station == "Enschede"


def test_iperf_is_bit_per_second_and_an_empty_cell_holds_the_last_value():
    assert trace_of("wetlinks-iperf").down_bit_s.tolist() == [101856000, 67160000]
    trace = trace_of("road-iperf")
    assert trace.row_at(1.5).up_bit_s == 7448000
    assert any("hold the value" in note for note in trace.header.notes)


@pytest.mark.parametrize(("gaps", "end_s", "contacts"), [("hold", 82, 1), ("down", 82, 2), ("close", 3, 1)])
def test_gaps_hold_or_end_the_contact_or_are_cut_out(gaps, end_s, contacts):
    trace = trace_of("road-iperf", gaps=gaps)
    assert trace.end_s == end_s
    assert len(trace.contacts()) == contacts
    assert trace.row_at(trace.end_s - 0.5).down_bit_s == 63719000


def test_ion_counts_bytes_one_way_each():
    trace = trace_of("ion")
    assert trace.contacts() == [Contact(0, 600), Contact(1200, 1800)]
    assert (trace.row_at(0).down_bit_s, trace.row_at(0).up_bit_s) == (1e6, 1e5)
    assert trace.row_at(1300).down_bit_s == 2e6
    assert trace.row_at(0).down_delay_s == 0.01
    whole = trace_of("ion", range_delay=True, down_delay_s=None, up_delay_s=None)
    assert whole.row_at(0).down_delay_s == 1.0


def test_ion_comes_back_from_its_own_plan():
    trace = trace_of("ion", start_utc=datetime(2024, 1, 1, tzinfo=timezone.utc))
    again = parse_recording(write_ion(trace), "plan", SAMPLES["ion"].beside)
    for name in ("time_s", "up", "down_bit_s", "up_bit_s"):
        assert np.array_equal(getattr(again, name), getattr(trace, name)), name
    assert again.header.start_utc == trace.header.start_utc
    assert write_ion(again) == write_ion(trace)


def test_ion_of_a_pass_keeps_the_bytes_within_a_second():
    header = TraceHeader("S", "G", datetime(2024, 1, 1, 0, 0, 0, 250000, tzinfo=timezone.utc), "a test")
    time_s = np.array([0.0, 1.4, 2.2, 7.9])
    up = np.array([False, True, True, False])
    rate = np.array([0.0, 4e6, 2e6, 0.0])
    delay, loss = np.full(4, 0.003), np.zeros(4)
    trace = Trace(header, time_s, up, up, rate, rate / 2, delay, delay, loss, loss, 9.0)
    again = parse_recording(write_ion(trace), "plan", SAMPLES["ion"].beside)
    assert again.contacts() == [Contact(2, 8)]  # 1.65 to 8.15 s after the whole second
    bits = float(again.lengths_s() @ again.down_bit_s)
    assert bits == pytest.approx(4e6 * 0.45 + 2e6 * 5.55, abs=8)


def test_windows_are_contacts():
    gmat = trace_of("gmat")
    assert [round(contact.duration_s, 3) for contact in gmat.contacts()] == [669.556, 698.010]
    assert gmat.header.satellite == "DefaultSC"
    stk = trace_of("stk")
    assert [round(contact.duration_s, 3) for contact in stk.contacts()] == [321.825, 257.649]
    assert (stk.header.satellite, stk.header.station) == ("Satellite-Dove", "Facility-Svalbard")
    assert stk.header.start_utc == datetime(2026, 1, 1, 0, 42, 11, 284000, tzinfo=timezone.utc)


def test_satnogs_delay_is_that_of_its_orbit():
    trace = trace_of("satnogs")
    assert trace.contacts() == [Contact(0, 244)]
    assert 0.0015 < trace.down_delay_s.min() < 0.0018  # overhead, at some 500 km
    assert 0.002 < trace.down_delay_s[0] < 0.005
    assert (trace.header.satellite, trace.header.station) == ("FLOCK 2P-1", "Svalbard")


def test_several_pairs_must_be_chosen_from():
    with pytest.raises(TraceError, match="GroundStation1; DefaultSC over GroundStation2; choose with"):
        trace_of("gmat", station=None)
    with pytest.raises(TraceError, match="choose with"):
        parse_recording(SAMPLES["ion"].data + b"a contact +0 +9 1 3 5\n", "x", SAMPLES["ion"].beside)


def test_mahimahi_counts_1500_bytes_per_line_and_repeats():
    trace = trace_of("mahimahi")
    assert trace.end_s == 0.2
    assert trace.row_at(0).down_bit_s == pytest.approx(5 * 12000 / 0.1)  # the one at 100 ms ends its bin
    assert trace.row_at(0.15).down_bit_s == pytest.approx(3 * 12000 / 0.1)
    assert float(trace.lengths_s() @ trace.down_bit_s) == pytest.approx(8 * 12000)


def test_mahimahi_waits_through_a_pause_and_is_down_in_an_outage():
    data = b"50\n550\n3050\n3100\n"
    trace = parse_recording(data, "x", SAMPLES["mahimahi"].beside)
    assert trace.contacts() == [Contact(0, pytest.approx(0.6)), Contact(pytest.approx(3.0), 3.1)]
    assert trace.row_at(0.3).down_bit_s == pytest.approx(12000 / 0.5)
    assert float(trace.lengths_s() @ trace.down_bit_s) == pytest.approx(4 * 12000)


def test_mahimahi_comes_back_to_the_chance():
    rng = np.random.default_rng(1)
    data = b"\n".join(b"%d" % t for t in np.sort(rng.integers(1, 5000, 4000)).tolist()) + b"\n5000\n"
    trace = parse_recording(data, "x", SAMPLES["mahimahi"].beside)
    again = np.array(write_mahimahi(trace, "down").split(), dtype=int)
    first = np.array(data.split(), dtype=int)
    assert len(again) == len(first)
    edges = np.arange(100, 5001, 100)
    counts = [np.searchsorted(times, edges) for times in (first, again)]
    assert np.abs(counts[0] - counts[1]).max() <= 12  # a chance on an edge, and those of the same ms
    assert write_mahimahi(
        parse_recording(write_mahimahi(trace, "down"), "x", SAMPLES["mahimahi"].beside), "down"
    )


def test_a_constant_rate_is_exact_in_mahimahi():
    header = TraceHeader("S", "G", datetime(2024, 1, 1, tzinfo=timezone.utc), "a test")
    one = np.ones(1)
    trace = Trace(header, 0 * one, [True], [True], 12e6 * one, 24e6 * one, one, one, 0 * one, 0 * one, 2.0)
    assert write_mahimahi(trace, "down") == b"".join(b"%d\n" % ms for ms in range(1, 2001))
    assert write_mahimahi(trace, "up") == b"".join(b"%d\n%d\n" % (ms, ms) for ms in range(1, 2001))


def test_two_files_of_mahimahi_are_two_directions_and_the_shorter_wraps(tmp_path):
    (tmp_path / "down").write_bytes(b"".join(b"%d\n" % ms for ms in range(1, 401)))
    (tmp_path / "up").write_bytes(b"".join(b"%d\n" % ms for ms in range(2, 101, 2)))
    trace = read_recording(tmp_path / "down", SAMPLES["mahimahi"].beside, up_file=tmp_path / "up")
    assert trace.end_s == 0.4
    assert float(trace.lengths_s() @ trace.up_bit_s) == pytest.approx(4 * 50 * 12000)
    assert any("starts over" in note for note in trace.header.notes)


def test_leoreplayers_pair_is_a_rate_and_a_delay(tmp_path):
    (tmp_path / "bw_1.txt").write_bytes(b"".join(b"%d\n" % ms for ms in range(1, 101)))
    (tmp_path / "delay_1.txt").write_bytes(LEOREPLAYER_DELAY)
    trace = read_recording(tmp_path / "bw_1.txt", Assumptions(), delay_file=tmp_path / "delay_1.txt")
    assert trace.down_bit_s[0] == pytest.approx(12e6)
    assert trace.row_at(0).down_delay_s == 0.024
    delays = trace_of("leoreplayer-delay")
    assert delays.time_s.tolist() == [0.0, 0.01, 0.03]
    assert delays.down_delay_s.tolist() == [0.024, 0.018, 0.030]


def test_declared_columns_have_their_units():
    trace = trace_of("csv")
    assert trace.row_at(0).down_bit_s == 20.5e6
    assert trace.row_at(0).down_delay_s == 0.015
    for second, share in ((0.5, 0.005), (2.5, 0.01)):  # of round trips, beside an RTT
        row = trace.row_at(second)
        assert (1 - row.up_loss) * (1 - row.down_loss) == pytest.approx(1 - share)
    assert trace.contacts("down") == [Contact(0, 1), Contact(2, 3)]  # a rate of 0 is no downlink
    assert trace.contacts("up") == [Contact(0, 3)]
    assert trace.header.start_utc == datetime(2024, 1, 11, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("unit", "column", "value"),
    [("Mbit/s", "down=2", 5e6), ("MB/s", "down=2", 40e6), ("kB/s", "down=2", 40e3), ("bit/s", "down=2", 5)],
)
def test_a_byte_is_eight_bits(unit, column, value):
    given = Assumptions(up_bit_s=1.0, down_delay_s=0, up_delay_s=0, columns=f"time=1:s,{column}:{unit}")
    assert parse_recording(b"0,5\n1,5\n", "x", given).down_bit_s[0] == value


@pytest.mark.parametrize("step", [timedelta(milliseconds=10), timedelta(seconds=2)])
def test_delays_of_another_recording_are_taken_at_the_same_utc(tmp_path, step):
    start = datetime(2024, 1, 11, 10, tzinfo=timezone.utc)
    rows = [(start + step * number, 20 + number) for number in range(-5, 300)]
    ping = "".join(f"[{when.timestamp():.6f}] 64 bytes from a: icmp_seq={n % 65536} ttl=6 time={rtt} ms\n"
                   for n, (when, rtt) in enumerate(rows))  # fmt: skip
    (tmp_path / "ping.txt").write_text(ping)
    (tmp_path / "iperf.csv").write_text(
        "timestamp_start,timestamp_end,server,ip_protocol,transport_protocol,download,upload\n"
        "2024-01-11 10:00:01,2024-01-11 10:00:02,a,v4,UDP,1000,1000\n"
    )
    trace = read_recording(
        tmp_path / "iperf.csv", Assumptions(zone=timezone.utc), delay_file=tmp_path / "ping.txt"
    )
    expected_ms = next(
        rtt for when, rtt in reversed(rows) if when.timestamp() - rtt / 1e3 <= start.timestamp() + 1
    )
    assert trace.down_delay_s[0] == pytest.approx(expected_ms / 2e3)
