"""iperf3: text and JSON, TCP and UDP, both directions, streams in parallel, omitted intervals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.recordings.formats import format_of
from traces.trace import Trace

DELAY = {"delay_s": 0.02}
CLIENT = (
    "Connecting to host 192.0.2.7, port 5201\n[  5] local 10.0.0.2 port 1 connected to 192.0.2.7 port 5201\n"
)
BIDIR = (
    CLIENT
    + """[ ID][Role] Interval           Transfer     Bitrate         Retr  Cwnd
[  5][TX-C]   0.00-1.00   sec  1.00 MBytes  8.39 Mbits/sec    0    512 KBytes       (omitted)
[  7][RX-C]   0.00-1.00   sec  4.00 MBytes  33.6 Mbits/sec                  (omitted)
- - - - - - - - - - - - - - - - - - - - - - - - -
[  5][TX-C]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec    0    512 KBytes
[  7][RX-C]   0.00-1.00   sec  12.0 MBytes   101 Mbits/sec
- - - - - - - - - - - - - - - - - - - - - - - - -
[  5][TX-C]   1.00-2.00   sec  1.12 MBytes  9.44 Mbits/sec    0    512 KBytes
[  7][RX-C]   1.00-2.00   sec  11.0 MBytes  1.02 Gbits/sec
- - - - - - - - - - - - - - - - - - - - - - - - -
[ ID][Role] Interval           Transfer     Bitrate         Retr
[  5][TX-C]   0.00-2.00   sec  2.38 MBytes  9.96 Mbits/sec    0             sender
[  5][TX-C]   0.00-2.04   sec  2.38 MBytes  9.79 Mbits/sec                  receiver
[  7][RX-C]   0.00-2.00   sec  23.0 MBytes  96.5 Mbits/sec    9             sender
[  7][RX-C]   0.00-2.04   sec  23.0 MBytes  94.6 Mbits/sec                  receiver

iperf Done.
"""
)
STREAMS = (
    CLIENT
    + """[ ID] Interval           Transfer     Bitrate         Retr  Cwnd
[  5]   0.00-1.00   sec   625 KBytes  5.12 Mbits/sec    0    512 KBytes
[  7]   0.00-1.00   sec   750 KBytes  6.14 Mbits/sec    0    512 KBytes
SUM[  5]   1.00-2.00   sec   500 KBytes  4.10 Mbits/sec    0    512 KBytes
[  7]   1.00-2.00   sec   625 KBytes  5.12 Mbits/sec    0    512 KBytes
"""
)


def trace_of(text: str | object, **values: Any) -> Trace:
    data = (text if isinstance(text, str) else json.dumps(text)).encode()
    assert format_of(data, "log") == "iperf3"
    return parse_recording(data, "log", Assumptions(**{**DELAY, **values}))


def noted(trace: Trace, text: str) -> bool:
    return any(text in note for note in trace.header.notes)


def rates(trace: Trace) -> list[tuple[float, float, float]]:
    """Return time in s, down and up in Mbit/s of each row."""
    columns = zip(trace.time_s.tolist(), trace.down_bit_s.tolist(), trace.up_bit_s.tolist(), strict=True)
    return [(round(time_s, 3), round(down / 1e6, 3), round(up / 1e6, 3)) for time_s, down, up in columns]


def test_both_directions_of_a_client_without_the_omitted_interval_and_the_summary():
    trace = trace_of(BIDIR)
    assert rates(trace) == [(0, 101, 10.5), (1, 1020, 9.44)]
    assert trace.end_s == 2
    assert noted(trace, "omitted are left out: 1")


def test_the_same_with_timestamps_and_as_the_server_sees_it():
    stamped = "".join(f"Mon Nov 30 08:56:59 2026 {line}\n" for line in BIDIR.splitlines())
    assert rates(trace_of(stamped)) == rates(trace_of(BIDIR))
    server = BIDIR.replace(
        "Connecting to host 192.0.2.7, port 5201", "Accepted connection from 10.0.0.2, port 1"
    )
    server = server.replace("TX-C", "RX-S").replace("RX-C", "TX-S")
    assert rates(trace_of(server)) == rates(trace_of(BIDIR))


@pytest.mark.parametrize("sums", [False, True])
def test_streams_in_parallel_are_added_up(sums):
    first, second = STREAMS.split("SUM")
    rows = (
        "[SUM]   0.00-1.00   sec  1.34 MBytes  11.3 Mbits/sec    0\n",
        "[SUM]   1.00-2.00   sec  1.10 MBytes  9.22 Mbits/sec    0\n",
    )
    text = first + rows[0] + second + rows[1] if sums else first + second
    expected = [(0, 50, 11.3), (1, 50, 9.22)] if sums else [(0, 50, 11.26), (1, 50, 9.22)]
    assert rates(trace_of(text, down_bit_s=50e6)) == expected


@pytest.mark.parametrize(
    ("written", "mbit_s"),
    [
        ("2446 MBytes/sec", 2446 * 8 * 1.048576),
        ("800 bits/sec", 0.0008),
        ("1.5 KBytes/sec", 1.5 * 8 * 1.024e-3),
    ],
)
def test_units_of_the_option_f(written, mbit_s):
    text = CLIENT + f"[  5]   0.00-1.00   sec  1.00 KBytes  {written}    0   1.12 MBytes\n"
    assert trace_of(text, down_bit_s=1e6).up_bit_s[0] == pytest.approx(mbit_s * 1e6)


def test_the_time_of_a_verbose_run_is_its_start():
    trace = trace_of("iperf 3.12\nTime: Mon, 30 Nov 2026 08:56:49 GMT\n" + BIDIR)
    assert trace.header.start_utc.isoformat() == "2026-11-30T08:56:49+00:00"


def test_a_server_receives_the_uplink_and_its_tests_follow_each_other():
    accepted = "Server listening on 5201 (test #{})\nAccepted connection from 10.0.0.2, port 1\n"
    head = "[ ID] Interval           Transfer     Bitrate\n"
    first = (
        head
        + "[  5]   0.00-1.00   sec  1.00 MBytes  8.00 Mbits/sec\n"
        + "[  5]   1.00-1.00   sec  64.0 KBytes  9.9 Gbits/sec\n"
    )
    sends = (
        head.rstrip()
        + "         Retr  Cwnd\n[  5]   0.00-1.00   sec  4.00 MBytes  32.0 Mbits/sec    0   1.0 MBytes\n"
    )
    trace = trace_of(accepted.format(1) + first + accepted.format(2) + sends)
    assert rates(trace) == [(0, 32, 8)]  # each direction holds while the other is measured
    assert trace.end_s == 2
    assert noted(trace, "2 tests without a time")
    assert noted(trace, "less than a tenth")


UDP_SENT = (
    CLIENT
    + """[ ID] Interval           Transfer     Bitrate         Total Datagrams
[  5]   0.00-1.00   sec  4.77 MBytes  40.0 Mbits/sec  3454
[  5]   1.00-2.00   sec  4.77 MBytes  40.0 Mbits/sec  3453
"""
)
UDP_END = """- - - - - - - - - - - - - - - - - - - - - - - - -
[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5]   0.00-2.00   sec  9.54 MBytes  40.0 Mbits/sec  0.000 ms  0/6907 (0%)  sender
[  5]   0.00-2.04   sec  2.38 MBytes  9.80 Mbits/sec  0.412 ms  5180/6907 (75%)  receiver
"""


def test_what_udp_sent_is_not_what_the_link_carried():
    trace = trace_of(UDP_SENT + UDP_END, down_bit_s=50e6)
    assert trace.up_bit_s[0] == pytest.approx(40e6 * 1727 / 6907)
    assert trace.up_loss[0] == 0
    assert noted(trace, "times the 0.25 of it that arrived")
    assert noted(trace_of(UDP_SENT, down_bit_s=50e6), "how much arrived is not known")


def test_the_output_of_the_server_takes_the_place_of_what_udp_sent():
    server = """
Server output:
Accepted connection from 10.0.0.2, port 40000
[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5]   0.00-1.00   sec  1.31 MBytes  11.0 Mbits/sec  0.385 ms  2500/3454 (72%)
[  5]   1.00-2.00   sec  1.07 MBytes  9.00 Mbits/sec  0.385 ms  2680/3453 (78%)
"""
    trace = trace_of(UDP_SENT + UDP_END + server, down_bit_s=50e6)
    assert rates(trace) == [(0, 50, 11), (1, 50, 9)]


def test_a_udp_receiver_says_what_it_missed():
    text = CLIENT.replace("[  5]", "Reverse mode, remote host 192.0.2.7 is sending\n[  5]") + (
        "[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams\n"
        "[  5]   0.00-1.00   sec  4.90 MBytes  41.1 Mbits/sec  0.385 ms  218/3766 (5.8%)\n"
    )
    trace = trace_of(text, up_bit_s=1e6)
    assert rates(trace) == [(0, 41.1, 1)]
    assert trace.down_loss[0] == 0
    assert noted(trace, "UDP lost 0.05789 of its datagrams on the downlink")


def interval(begin_s: float, rate: float, sender: bool | None = None, **more: object) -> dict[str, object]:
    part = {
        "start": begin_s,
        "end": begin_s + 1,
        "seconds": 1,
        "bits_per_second": rate,
        "omitted": False,
        **more,
    }
    return part if sender is None else {**part, "sender": sender}


def document(
    intervals: list[dict[str, Any]], timesecs: int = 1_700_000_000, **settings: object
) -> dict[str, Any]:
    start = {"connecting_to": {"host": "a"}, "timestamp": {"timesecs": timesecs}}
    return {
        "start": {**start, "test_start": {"protocol": "TCP", **settings}},
        "intervals": intervals,
        "end": {},
    }


def both(begin_s: float, up: float, down: float, **more: object) -> dict[str, Any]:
    return {
        "streams": [],
        "sum": interval(begin_s, up, True, **more),
        "sum_bidir_reverse": interval(begin_s, down, False, **more),
    }


def test_json_of_both_directions():
    trace = trace_of(
        document([both(0, 1, 2, omitted=True), both(0.00006, 10.5e6, 101e6), both(1.00006, 9e6, 99e6)])
    )
    assert rates(trace) == [(0, 101, 10.5), (1, 99, 9)]
    assert trace.header.start_utc.timestamp() == 1_700_000_000
    assert noted(trace, "omitted are left out: 1")


@pytest.mark.parametrize("says", [True, False])
def test_json_of_one_direction_also_where_old_versions_do_not_say_who_sent(says):
    for reverse, is_server in ((0, False), (1, False), (0, True), (1, True)):
        sender = ((reverse == 1) == is_server) if says else None
        log = document([{"sum": interval(0, 8e6, sender)}], reverse=reverse)
        if is_server:
            log["start"]["accepted_connection"] = log["start"].pop("connecting_to")
        other = {"up_bit_s": 1e6} if reverse else {"down_bit_s": 1e6}
        assert rates(trace_of(log, **other)) == [(0, 8, 1) if reverse else (0, 1, 8)]


def test_json_of_udp_scales_what_was_sent():
    log = document([{"sum": interval(0, 40e6, True, packets=100)}], protocol="UDP")
    log["end"] = {"sum": {"lost_packets": 75, "packets": 100}}
    assert rates(trace_of(log, down_bit_s=1e6)) == [(0, 1, 10)]
    log["server_output_json"] = {
        "start": {"accepted_connection": {}, "test_start": {"protocol": "UDP"}},
        "intervals": [{"sum": interval(0, 11e6, False, packets=100, lost_packets=72)}],
    }
    assert rates(trace_of(log, down_bit_s=1e6)) == [(0, 1, 11)]


def test_tests_in_one_file_stand_at_their_times_with_a_gap_between():
    logs = [
        document([{"sum": interval(0, 8e6, True)}]),
        document([{"sum": interval(0, 6e6, True)}], 1_700_000_100),
    ]
    text = "\n".join(json.dumps(log, indent=1) for log in logs)
    for form in (text, logs):
        trace = trace_of(form, down_bit_s=1e6, gaps="down")
        assert [(c.aos_s, c.los_s) for c in trace.contacts()] == [(0, 1), (100, 101)]
        assert [trace.row_at(second).up_bit_s for second in (0.5, 100.5)] == [8e6, 6e6]


def test_a_stream_of_events():
    log = document([both(0, 10e6, 100e6), both(1, 9e6, 99e6)])
    events = [("start", log["start"]), *(("interval", part) for part in log["intervals"]), ("end", {})]
    text = "\n".join(json.dumps({"event": event, "data": data}) for event, data in events)
    assert rates(trace_of(text)) == [(0, 100, 10), (1, 99, 9)]


def test_without_intervals_it_says_what_iperf3_says():
    log = {**document([]), "error": "unable to connect to server: Connection refused"}
    with pytest.raises(TraceError, match=r"expected intervals.*-i 1.*says: unable to connect"):
        trace_of(log)
    with pytest.raises(TraceError, match="line 1: expected intervals of iperf3"):
        trace_of(BIDIR[: BIDIR.index("[  5][TX-C]")])


def test_iperf_2_is_another_program():
    text = b"Client connecting to a, TCP port 5001\n[  3]  0.0- 1.0 sec  11.2 MBytes  94.4 Mbits/sec\n"
    with pytest.raises(TraceError, match="expected a known format"):
        format_of(text, "log")
