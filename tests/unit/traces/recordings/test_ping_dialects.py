"""ping of iputils, macOS and busybox, with the timestamps of -D, of `ts` and of scripts, or without any."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.recordings.formats import format_of
from traces.trace import Trace

START = datetime(2023, 11, 17, 1, 0, 0, 250_000, tzinfo=timezone.utc)
RTT_S = 0.04
RATES = {"down_bit_s": 20e6, "up_bit_s": 2e6}

Stamp = Callable[[datetime], str]
FRACTIONS: dict[str, Stamp] = {
    "-D": lambda moment: f"[{moment.timestamp():.6f}] ",
    "ts %.s": lambda moment: f"{moment.timestamp():.6f} ",
    "ts '%F %.T'": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S.%f} ",
    "date -Ins": lambda moment: f"{(moment + timedelta(hours=1)):%Y-%m-%dT%H:%M:%S,%f}+01:00: ",
    "ts %.T": lambda moment: f"{moment:%H:%M:%S.%f} ",
}
SECONDS: dict[str, Stamp] = {
    "ts": lambda moment: f"{moment:%b %d %H:%M:%S} ",
    "ts %s": lambda moment: f"{math.floor(moment.timestamp())} ",
    "ts '[%F %T]'": lambda moment: f"[{moment:%Y-%m-%d %H:%M:%S}] ",
    "date": lambda moment: f"{moment:%a %b %e %H:%M:%S UTC %Y}: ",
    "date in am and pm": lambda moment: f"{moment:%a %d %b %Y %I:%M:%S %p UTC}: ",
}
UTC = {"-D", "ts %.s", "ts '%F %.T'", "date -Ins", "ts %s", "ts '[%F %T]'", "date", "date in am and pm"}


def iputils(
    came: str, stamp: Stamp | None = None, interval_s: float = 1.0, first: int = 1, **more: Any
) -> str:
    return _log(
        came, stamp, interval_s, first, "PING a (192.0.2.1) 56(84) bytes of data.", "icmp_seq", **more
    )


def macos(came: str, stamp: Stamp | None = None, interval_s: float = 1.0, first: int = 0, **more: Any) -> str:
    silent = "Request timeout for icmp_seq {}"
    return _log(
        came, stamp, interval_s, first, "PING a (192.0.2.1): 56 data bytes", "icmp_seq", silent=silent, **more
    )


def busybox(
    came: str, stamp: Stamp | None = None, interval_s: float = 1.0, first: int = 0, **more: Any
) -> str:
    return _log(came, stamp, interval_s, first, "PING a (192.0.2.1): 56 data bytes", "seq", **more)


def _log(
    came: str,
    stamp: Stamp | None,
    interval_s: float,
    first: int,
    header: str,
    key: str,
    *,
    silent: str = "",
    start: datetime = START,
    end: str = "",
) -> str:
    """Return a log with 'x' for each probe that was answered and '.' for one that was lost."""
    lines = [header]
    for index, letter in enumerate(came):
        sent = start + timedelta(seconds=index * interval_s)
        number = (first + index) % 65536
        if letter == "x":
            text = f"64 bytes from 192.0.2.1: {key}={number} ttl=57 time={RTT_S * 1e3:.3f} ms"
            lines.append((stamp(sent + timedelta(seconds=RTT_S)) if stamp else "") + text)
        elif silent:
            moment = sent + timedelta(seconds=interval_s)
            lines.append((stamp(moment) if stamp else "") + silent.format(number))
    lines += ["", "--- a ping statistics ---"]
    received = came.count("x")
    word = "packets received" if key == "seq" or silent.startswith("Request") else "received"
    lines.append(end or f"{len(came)} packets transmitted, {received} {word}, 0% packet loss")
    return "\n".join(lines) + "\n"


def trace_of(text: str, **values: Any) -> Trace:
    assert format_of(text.encode(), "ping.txt") == "ping"
    return parse_recording(text.encode(), "ping.txt", Assumptions(**{**RATES, **values}))


def spans(trace: Trace) -> list[tuple[float, float]]:
    return [(round(contact.aos_s, 3), round(contact.los_s, 3)) for contact in trace.contacts()]


def zone_for(name: str) -> dict[str, timezone]:
    return {"zone": timezone.utc} if name in ("ts '%F %.T'", "ts '[%F %T]'") else {}


WRITERS = {"iputils": iputils, "macOS": macos, "busybox": busybox}
WITH_O = {"silent": "no answer yet for icmp_seq={}"}


@pytest.mark.parametrize("system", WRITERS)
@pytest.mark.parametrize("name", FRACTIONS)
def test_an_outage_in_every_dialect_with_exact_stamps(system, name):
    text = WRITERS[system]("x" * 20 + "." * 30 + "x" * 10, FRACTIONS[name], 0.2)
    trace = trace_of(text, **zone_for(name))
    assert spans(trace) == [(0, 4), (10, 12)]
    assert trace.down_delay_s[0] == pytest.approx(RTT_S / 2)
    assert trace.down_loss.max() == 0
    if name in UTC:
        assert abs((trace.header.start_utc - START).total_seconds()) < 1e-3
    else:
        assert any("--start sets the time" in note for note in trace.header.notes)


@pytest.mark.parametrize("system", WRITERS)
@pytest.mark.parametrize("interval_s", [1.0, 0.2, 2.0])
@pytest.mark.parametrize("name", SECONDS)
def test_an_outage_with_stamps_in_whole_seconds(system, name, interval_s):
    text = WRITERS[system]("x" * 40 + "." * 30 + "x" * 40, SECONDS[name], interval_s)
    trace = trace_of(text, **zone_for(name))
    (first, second) = trace.contacts()
    edges = (first.aos_s, first.los_s, second.aos_s, second.los_s)
    assert edges == pytest.approx([interval_s * count for count in (0, 40, 70, 110)], abs=1.0)
    assert first.los_s - first.aos_s == pytest.approx(40 * interval_s, abs=0.5)
    assert trace.down_loss.max() == 0
    # Half of a second is not known, but all probes keep their places in it.
    assert len(trace_of(iputils("x" * 100, SECONDS[name], interval_s), **zone_for(name))) == 1
    if name in UTC:
        assert abs((trace.header.start_utc - START).total_seconds()) < 1.0


@pytest.mark.parametrize("system", WRITERS)
@pytest.mark.parametrize(
    ("came", "expected"),
    [
        ("." * 5 + "x" * 10, [(5, 15)]),
        ("x" * 10 + "." * 5, [(0, 10)]),
        ("x" * 10 + "." * 5 + "x" * 5, [(0, 10), (15, 20)]),
    ],
    ids=["at the beginning", "at the end", "within"],
)
def test_outages_without_stamps(system, came, expected):
    trace = trace_of(WRITERS[system](came), interval_s=1.0)
    assert spans(trace) == expected
    assert trace.end_s == pytest.approx(len(came))
    assert trace.down_loss.max() == 0


def test_without_stamps_the_interval_is_that_of_the_statistics_or_is_asked_for():
    came = "x" * 20 + "." * 10 + "x" * 20
    with pytest.raises(
        TraceError, match=r"line 2: expected a timestamp; record with ping -D, or .* --interval"
    ):
        trace_of(iputils(came))
    counted = iputils(came, end="50 packets transmitted, 40 received, 20% packet loss, time 9800ms")
    trace = trace_of(counted)
    assert spans(trace) == [(0, 4), (6, 10)]
    assert any("every 0.2 s (ping's statistics)" in note for note in trace.header.notes)
    other = trace_of(counted, interval_s=1.0)
    assert spans(other) == [(0, 20), (30, 50)]
    assert any(
        note.startswith("doubt: by its statistics ping sent a probe every 0.2 s")
        for note in other.header.notes
    )


def test_interval_beside_timestamps_is_refused():
    with pytest.raises(TraceError, match="--interval has no effect, as the lines have timestamps"):
        trace_of(iputils("xxx", FRACTIONS["-D"]), interval_s=1.0)
    with pytest.raises(TraceError, match="--interval has no effect, as the lines have timestamps"):
        trace_of(iputils("xxx", FRACTIONS["ts %.T"]), interval_s=1.0)


@pytest.mark.parametrize("stamp", [None, FRACTIONS["-D"], FRACTIONS["ts %.s"], SECONDS["ts"]])
@pytest.mark.parametrize("with_o", [False, True])
def test_the_numbers_wrap_around_within_an_outage(stamp, with_o):
    text = iputils("x" * 20 + "." * 12 + "x" * 20, stamp, first=65_510, **(WITH_O if with_o else {}))
    text = text.split("\n", 1)[1]  # a log that was cut: it does not begin with number 1
    trace = trace_of(text, **({} if stamp else {"interval_s": 1.0}))
    (first, second) = trace.contacts()
    assert (first.los_s, second.aos_s, second.los_s) == pytest.approx((20, 32, 52), abs=1.0)
    assert trace.down_loss.max() == 0


@pytest.mark.parametrize("writer", [iputils, macos])
@pytest.mark.parametrize("headers", [True, False])
def test_two_runs_without_stamps_follow_each_other(writer, headers):
    text = writer("x" * 10 + "." * 5 + "x" * 5) + writer("x" * 4 + "." * 3 + "x" * 3)
    if not headers:
        text = "".join(line + "\n" for line in text.splitlines() if "bytes from" in line or "timeout" in line)
    trace = trace_of(text, interval_s=1.0)
    assert spans(trace) == [(0, 10), (15, 24), (27, 30)]
    assert any("2 runs of ping" in note for note in trace.header.notes)


@pytest.mark.parametrize("stamp", [None, SECONDS["ts"], FRACTIONS["ts %.T"]])
def test_a_duplicate_and_a_reply_out_of_order_are_no_loss_and_no_run(stamp):
    lines = iputils("x" * 30, stamp, 0.2).splitlines()
    lines[5], lines[6] = lines[6], lines[5]
    lines.insert(10, lines[9] + " (DUP!)")
    lines.insert(2, lines[1] + " (DUP!)")
    trace = trace_of("\n".join(lines), **({} if stamp else {"interval_s": 0.2}))
    assert spans(trace) == [(0, pytest.approx(6, abs=0.3))]
    assert trace.down_loss.max() == 0
    assert any("2 duplicate replies" in note for note in trace.header.notes)
    assert not any("runs" in note for note in trace.header.notes)


def test_scattered_losses_without_stamps_lie_where_they_were_sent():
    trace = trace_of(iputils("xxxxx" * 2 + "x.x.x.x.xx" + "xxxxx" * 2), interval_s=0.1)
    assert [1 - (1 - trace.row_at(second).down_loss) ** 2 for second in (0.5, 1.5, 2.5)] == pytest.approx(
        [0, 0.4, 0]
    )


def test_errors_of_macos_and_other_lines_are_no_replies():
    text = macos("xxx....xxx").replace(
        "Request timeout for icmp_seq 3",
        "ping: sendto: No route to host\n92 bytes from 10.0.0.1: Destination Host Unreachable\n"
        "Request timeout for icmp_seq 3",
    )
    assert spans(trace_of(text, interval_s=1.0)) == [(0, 3), (7, 10)]


def test_other_languages_are_read():
    text = iputils("xx..xx", FRACTIONS["-D"]).replace("bytes from", "Bytes von").replace("time=", "Zeit=")
    assert spans(trace_of(text)) == [(0, 2), (4, 6)]


def test_midnight_and_new_year_within_a_log():
    late = datetime(2023, 12, 31, 23, 59, 55, tzinfo=timezone.utc)
    for stamp in (SECONDS["ts"], FRACTIONS["ts %.T"], SECONDS["date"]):
        trace = trace_of(iputils("x" * 10, stamp, start=late))
        assert trace.end_s == pytest.approx(10, abs=0.6)
        assert trace.down_loss.max() == 0


def test_a_pause_between_stamps_is_a_gap_and_no_outage():
    text = iputils("x" * 30, SECONDS["ts"]).splitlines()[:-3]
    later = iputils("x" * 30, SECONDS["ts"], first=31, start=START + timedelta(seconds=300)).splitlines()[
        1:-3
    ]
    trace = trace_of("\n".join(text + later), gaps="down")
    (first, second) = trace.contacts()
    assert (first.los_s, second.aos_s, second.los_s) == pytest.approx((30, 300, 330), abs=1.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            iputils("xxx", lambda moment: "router: "),
            "line 2: expected a time before the line of ping; found 'router'",
        ),
        (iputils("xxx", lambda moment: f"{moment:%Y-%m-%d %H:%M:%S} "), "no time zone; set it with --zone"),
        (iputils("xxx", lambda moment: "2023-13-45 10:00:00 "), "expected a day of the calendar"),
        (iputils("xxx", FRACTIONS["-D"]) + iputils("xxx"), "line 9: expected a timestamp, as in other lines"),
        (iputils("xxx", SECONDS["ts"]) + iputils("xxx"), "line 9: expected a timestamp of one kind"),
        (
            iputils("xxx", FRACTIONS["ts %.T"]) + iputils("xxx", SECONDS["ts %s"]),
            "line 9: expected a timestamp of one kind",
        ),
    ],
)
def test_stamps_that_do_not_tell_the_time_are_refused(text, expected):
    with pytest.raises(TraceError, match=expected):
        trace_of(text)


def test_replies_of_two_hosts_in_one_run_are_refused():
    first, second = (iputils("xxx", FRACTIONS["-D"]).splitlines()[1:4] for _ in range(2))
    second = [line.replace("192.0.2.1", "192.0.2.2") for line in second]
    mixed = [line for pair in zip(first, second, strict=True) for line in pair]
    for lines in (mixed, [line.split("] ")[1] for line in mixed]):
        with pytest.raises(
            TraceError, match=r"line 2: expected replies of '192\.0\.2\.1' only; found '192\.0\.2\.2'"
        ):
            trace_of("\n".join(lines), **({} if "[" in lines[0] else {"interval_s": 1.0}))
    runs = iputils("xxx", FRACTIONS["-D"]) + iputils("xxx", FRACTIONS["-D"]).replace("192.0.2.1", "192.0.2.2")
    assert trace_of(runs)


def test_times_since_the_line_before_are_refused():
    whole, exact = (
        iputils("x" * 20, lambda moment, text=text: text) for text in ("00:00:01 ", "00:00:00.999 ")
    )
    with pytest.raises(TraceError, match="the timestamps are all in one second; add --interval"):
        trace_of(whole)
    with pytest.raises(TraceError, match="expected timestamps that rise with icmp_seq; those of ts -i"):
        trace_of(exact)


def test_times_since_the_first_line_are_times():
    since = iputils("x" * 5 + "." * 4 + "x" * 5, lambda moment: f"{moment - START} ")
    assert spans(trace_of(since)) == [(0, 5), (9, 14)]
