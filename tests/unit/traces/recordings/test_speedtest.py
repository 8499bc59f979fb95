"""Speed tests: each program has its own units, and some give no time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording
from traces.recordings.formats import format_of
from traces.trace import Trace

NAMES = (
    '"server name","server id","idle latency","idle jitter","packet loss","download","upload",'
    '"download bytes","upload bytes","share url"\n'
)
SERVER, URL = '"Isle Net - Douglas, IM","1234"', "https://www.speedtest.net/result/c/1"
FIRST = f'{SERVER},"41.5","3.2","19","12500000","1250000","1","1","{URL}"\n'
SECOND = f'{SERVER},"39.5","3.2","N/A","11250000","1000000","1","1","{URL}"\n'


def trace_of(text: str | object, **values: Any) -> Trace:
    data = (text if isinstance(text, str) else json.dumps(text)).encode()
    assert format_of(data, "log") == "speedtest"
    return parse_recording(data, "log", Assumptions(**values))


def rows(trace: Trace) -> list[tuple[float, float, float, float]]:
    """Return time in s, down and up in Mbit/s, and the round trip in ms, of each row."""
    rtt_s = trace.down_delay_s + trace.up_delay_s
    columns = (trace.time_s, trace.down_bit_s / 1e6, trace.up_bit_s / 1e6, rtt_s * 1e3)
    return [tuple(round(float(value), 6) for value in row) for row in zip(*columns, strict=True)]  # type: ignore[misc]


EXPECTED = [(0, 100, 10, 41.5), (900, 90, 8, 39.5)]


def test_csv_of_ookla_is_in_bytes_per_second_and_without_times():
    with pytest.raises(TraceError, match="expected the time of each of the 2 tests; add --interval"):
        trace_of(NAMES + FIRST + SECOND)
    for head in (NAMES, ""):
        trace = trace_of(head + FIRST + SECOND, interval_s=900)
        assert rows(trace) == EXPECTED
        assert trace.end_s == 1800
        assert (1 - trace.down_loss[0]) * (1 - trace.up_loss[0]) == pytest.approx(0.81)


def test_csv_of_ookla_with_the_time_of_a_script():
    stamps = ("2024-03-01T10:00:00Z", "2024-03-01T10:15:00Z")
    text = "".join(
        f'"{stamp}",{row}' for stamp, row in zip(("timestamp", *stamps), (NAMES, FIRST, SECOND), strict=True)
    )
    trace = trace_of(text)
    assert rows(trace) == EXPECTED
    assert trace.header.start_utc.isoformat() == "2024-03-01T10:00:00+00:00"
    with pytest.raises(TraceError, match="--interval has no effect"):
        trace_of(text, interval_s=900)
    with pytest.raises(TraceError, match="no time zone; set it with --zone"):
        trace_of(text.replace("Z", ""))


def test_tab_separated_values_of_ookla_are_the_same():
    names, first = (text.replace('","', "\t").replace('"', "") for text in (NAMES, FIRST))
    assert rows(trace_of(names + first)) == EXPECTED[:1]


def ookla(stamp: str, rtt: float, down: int, up: int, **more: object) -> dict[str, object]:
    sides = {"download": {"bandwidth": down, "bytes": 1}, "upload": {"bandwidth": up, "bytes": 1}}
    return {"type": "result", "timestamp": stamp, "ping": {"jitter": 1, "latency": rtt}, **sides, **more}


def test_json_of_ookla_also_one_a_line_with_progress():
    results = [
        ookla("2024-03-01T10:00:00Z", 41.5, 12_500_000, 1_250_000, packetLoss=19),
        ookla("2024-03-01T10:15:00Z", 39.5, 11_250_000, 1_000_000),
    ]
    progress = {
        "type": "download",
        "timestamp": "2024-03-01T10:00:09Z",
        "download": {"bandwidth": 5},
        "upload": 0,
    }
    for text in (results, "\n".join(map(json.dumps, [results[0], progress, results[1]]))):
        trace = trace_of(text)
        assert rows(trace) == EXPECTED
        assert (1 - trace.down_loss[0]) ** 2 == pytest.approx(0.81)


def test_speedtest_cli_is_in_bits_and_librespeed_in_megabits_per_second():
    cli = [
        {
            "download": 100e6,
            "upload": 10e6,
            "ping": 41.5,
            "server": {},
            "timestamp": "2024-03-01T10:00:00.0Z",
        },
        {"download": 90e6, "upload": 8e6, "ping": 39.5, "server": {}, "timestamp": "2024-03-01T10:15:00.0Z"},
    ]
    libre = [
        {**result, "download": result["download"] / 1e6, "upload": result["upload"] / 1e6, "jitter": 1.5}  # type: ignore[operator]
        for result in cli
    ]
    assert rows(trace_of(cli)) == rows(trace_of(libre)) == EXPECTED
    csv = "".join(
        f'1234,"Isle Net, Ltd.",Douglas,{r["timestamp"]},52.4,{r["ping"]},{r["download"]},{r["upload"]},,::\n'
        for r in cli
    )
    assert rows(trace_of(csv)) == EXPECTED
    names = "Timestamp,Server Name,Address,Ping,Jitter,Download,Upload,Share,IP\n"
    csv = "".join(
        f'{r["timestamp"]},"Isle, IM",http://a/,{r["ping"]},1.5,{r["download"]},{r["upload"]},,\n'
        for r in libre
    )
    assert rows(trace_of(names + csv)) == rows(trace_of(csv)) == EXPECTED


def test_one_test_is_a_second_that_can_be_repeated():
    trace = trace_of(NAMES + FIRST, loop_s=60.0)
    assert trace.end_s == 60
    assert any("--loop" in note for note in trace.header.notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            NAMES + FIRST.replace('"12500000"', '"fast"'),
            "line 2: expected a number for download; found 'fast'",
        ),
        (NAMES + FIRST.replace('"19"', '"190"'), "packet loss from 0 to 100"),
        (NAMES + '"[error] no servers"\n', "line 2: expected 10 columns of a speed test; found 1"),
    ],
)
def test_a_row_that_is_no_result_is_refused(text, expected):
    with pytest.raises(TraceError, match=expected):
        trace_of(text)
