"""Unanswered probes: loss and outages lie where the probes were sent, in every reader of probes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from traces.recordings import Assumptions, parse_recording
from traces.trace import Contact, Open, Trace

RATES = Assumptions(down_bit_s=20e6, up_bit_s=20e6)
LOG = (Path(__file__).parent / "cases" / "ping_outage.txt").read_bytes().split(b"\n")
HEADER, REPLIES = LOG[0], [line for line in LOG if b"time=" in line and b"icmp_seq" in line]
STATISTICS = b"100 packets transmitted, 70 received, 30% packet loss, time 20000ms"


def ping(lines: list[bytes], **changes: object) -> Trace:
    return parse_recording(
        b"\n".join(lines) + b"\n", "ping.txt", Assumptions(**{**RATES.__dict__, **changes})
    )


def spans(trace: Trace, of: Open = "either") -> list[tuple[float, float]]:
    return [(round(contact.aos_s, 3), round(contact.los_s, 3)) for contact in trace.contacts(of)]


def later(lines: list[bytes], by_s: int) -> list[bytes]:
    return [re.sub(rb"^\[(\d+)", lambda stamp: b"[%d" % (int(stamp[1]) + by_s), line) for line in lines]


def probes(interval_s: float, came: str, first: int = 1) -> list[bytes]:
    """Return the replies of probes: 'x' for each one that was answered, '.' for one that was lost."""
    return [
        b"[%.6f] 64 bytes from a: icmp_seq=%d ttl=9 time=20.0 ms" % (1.7e9 + n * interval_s + 0.02, first + n)
        for n, letter in enumerate(came)
        if letter == "x"
    ]


@pytest.mark.parametrize("gaps", ["hold", "down", "close"])
@pytest.mark.parametrize("lines", [LOG, REPLIES], ids=["with -O", "replies only"])
def test_an_outage_of_ping_is_an_outage_and_nothing_spills_after_it(lines, gaps):
    trace = ping(lines, gaps=gaps)
    assert spans(trace) == [(0, 6), (12, 20)]
    assert set(trace.down_loss.tolist()) == set(trace.up_loss.tolist()) == {0.0}
    assert trace.end_s == pytest.approx(20)
    assert any("6 s in total: the link is down" in note for note in trace.header.notes)
    assert not any("nothing was measured" in note for note in trace.header.notes)


def test_an_outage_before_the_first_reply():
    without = [line for line in LOG if not re.search(rb"icmp_seq=([1-9]|[12]\d|30) ", line)]
    for lines in (without, [HEADER, *REPLIES[30:]], [*REPLIES[30:], STATISTICS]):
        trace = ping(lines)
        assert spans(trace) == [(12, 20)]
        assert trace.header.start_utc.timestamp() == pytest.approx(1.7e9, abs=1e-4)


def test_an_outage_after_the_last_reply():
    with_o = ping([line for line in LOG if not re.search(rb"icmp_seq=(6[1-9]|[7-9]\d|100) ", line)][:61])
    assert spans(with_o) == [(0, 6)]
    assert with_o.end_s == pytest.approx(12)
    counted = ping([HEADER, *REPLIES[:30], b"60 packets transmitted, 30 received, 50% packet loss"])
    assert spans(counted) == [(0, 6)]
    assert counted.end_s == pytest.approx(12)


def test_probes_on_their_way_when_ping_was_stopped_are_not_lost():
    trace = ping([HEADER, *REPLIES[:30], b"31 packets transmitted, 30 received, 3% packet loss"])
    assert spans(trace) == [(0, 6)]
    assert trace.end_s == pytest.approx(6)


def test_a_log_that_was_cut_does_not_begin_with_an_outage():
    assert ping(REPLIES[40:]).end_s == pytest.approx(6)  # 71 to 100


def test_errors_with_a_number_are_unanswered_probes():
    error = b"[1700000%03d.900000] From 10.0.0.1 icmp_seq=%d Destination Host Unreachable"
    errors = [error % (6 + n // 5, n + 31) for n in range(30)]
    assert spans(ping([HEADER, *REPLIES[:30], *errors, *REPLIES[30:]])) == [(0, 6), (12, 20)]
    end = ping([HEADER, *REPLIES[:30], *errors])
    assert spans(end) == [(0, 6)]
    assert end.end_s == pytest.approx(12)


@pytest.mark.parametrize("after_s", [20, 100, 86_400])
@pytest.mark.parametrize("lines", [LOG, REPLIES], ids=["whole", "replies only"])
def test_two_runs_in_one_log_follow_each_other(lines, after_s):
    trace = ping([*lines, *later(lines, after_s)], gaps="down")
    between = [(12, 20), (after_s, after_s + 6)] if after_s > 20 else [(12, 26)]
    assert spans(trace) == [(0, 6), *between, (after_s + 12, after_s + 20)]
    assert not any("duplicate" in note for note in trace.header.notes)
    assert any("2 runs of ping" in note for note in trace.header.notes)


def test_a_run_after_many_probes_starts_over():
    first = probes(0.01, "x" * 300, first=40_000)
    trace = ping([*first, *later(probes(0.01, "x" * 300), 10)], gaps="close")
    assert spans(trace) == [(0, 6)]
    assert trace.down_loss.max() == 0


def test_a_duplicate_and_a_late_reply_are_no_new_run():
    lines = probes(0.2, "xxxxx.xxxx")
    late = b"[1700000001.500000] 64 bytes from a: icmp_seq=6 ttl=9 time=500.0 ms"
    trace = ping([*lines[:7], late, lines[6] + b" (DUP!)", *lines[7:]])
    assert trace.down_loss.max() == 0
    assert trace.row_at(1.1).down_delay_s == pytest.approx(0.25)
    assert any("1 duplicate" in note for note in trace.header.notes)
    assert not any("runs" in note for note in trace.header.notes)


def test_scattered_losses_are_loss_in_the_second_in_which_they_were_sent():
    trace = ping(probes(0.1, "x" * 10 + "x.x.x.x.xx" + "x" * 10))
    assert spans(trace) == [(0, 3)]
    for second, share in enumerate((0, 0.4, 0)):
        row = trace.row_at(second + 0.5)
        assert (1 - row.down_loss) * (1 - row.up_loss) == pytest.approx(1 - share)


def test_a_single_lost_probe_each_second_is_loss_not_an_outage():
    trace = ping(probes(1.0, "xxx.xx"))
    assert spans(trace) == [(0, 6)]
    assert [trace.row_at(n + 0.5).down_loss for n in range(6)] == [0, 0, 0, 1, 0, 0]


def test_the_outage_option_says_how_long_an_outage_is():
    lines = probes(0.1, "x" * 10 + "." * 15 + "x" * 15)
    assert spans(ping(lines)) == [(0, 1), (2.5, 4)]
    lossy = ping(lines, outage_s=2.0)
    assert spans(lossy) == [(0, 4)]
    assert lossy.row_at(1.5).down_loss == 1
    assert (1 - lossy.row_at(2.7).down_loss) ** 2 == pytest.approx(0.5)


def test_time_in_which_ping_did_not_run_is_a_gap():
    first, second = probes(0.2, "x" * 10), later(probes(0.2, "." * 5 + "x" * 5, first=11), 60)
    trace = ping([*first, *second], gaps="down")
    assert spans(trace) == [(0, 2), (61, 62)]
    assert any("nothing was measured" in note for note in trace.header.notes)


def irtt(rows: list[tuple[float, float, float]]) -> Trace:
    lines = [f"{1705744800000000000 + n * 100_000_000},{a},{b},{c}" for n, (a, b, c) in enumerate(rows)]
    data = "timestamp,rtt,uplink,downlink\n" + "\n".join(lines) + "\n"
    return parse_recording(data.encode(), "irtt.csv", RATES)


CAME = (40.0, 20.0, 20.0)


@pytest.mark.parametrize("lost", [(-1, 0, 0), (-1, -1, -1)])
def test_an_outage_of_irtt_is_an_outage(lost):
    trace = irtt([CAME] * 13 + [lost] * 25 + [CAME] * 22)
    assert spans(trace) == [(0, 1.3), (3.8, 6)]
    assert set(trace.down_loss.tolist()) == {0.0}
    ends = irtt([lost] * 12 + [CAME] * 20 + [lost] * 15)
    assert spans(ends) == [(1.2, 3.2)]
    assert ends.end_s == pytest.approx(4.7)


@pytest.mark.parametrize(("lost", "way", "other"), [((0, -1, 0), "up", "down"), ((0, 0, -1), "down", "up")])
def test_an_outage_of_one_direction_of_irtt_takes_that_one_down(lost, way, other):
    trace = irtt([CAME] * 13 + [lost] * 25 + [CAME] * 22)
    assert spans(trace, way) == [(0, 1.3), (3.8, 6)]
    assert spans(trace, other) == spans(trace) == [(0, 6)]
    assert trace.down_loss.max() == trace.up_loss.max() == 0
    assert any(f"the {way}link lost all probes" in note for note in trace.header.notes)


def test_an_outage_of_lens_ping_is_an_outage():
    rtts = [30.0] * 13 + [-1] * 25 + [31.0] * 22
    lines = [f"{1705744800 + n / 10:.1f},{rtt}" for n, rtt in enumerate(rtts)]
    trace = parse_recording(("timestamp,rtt\n" + "\n".join(lines)).encode(), "lens.csv", RATES)
    assert spans(trace) == [(0, 1.3), (3.8, 6)]
    assert trace.down_loss.max() == 0


def test_wetlinks_without_replies_is_down_and_without_measurement_is_a_gap():
    head = "timestamp_start,timestamp_end,ip_protocol,packet_loss,ping_avg\n"
    row = "2023-10-01T00:00:{:02d}Z,2023-10-01T00:00:{:02d}Z,v4,{}\n"
    rows = [row.format(0, 10, "0,40"), row.format(10, 20, "100,"), row.format(20, 30, "0,40")]
    trace = parse_recording((head + "".join(rows)).encode(), "w.csv", RATES)
    assert trace.contacts() == [Contact(0, 10), Contact(20, 30)]
    assert trace.down_loss.max() == 0
