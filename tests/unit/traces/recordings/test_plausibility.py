"""Implausible values, recordings that are repeated, and the content of written files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from testbed.cli.main import main
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording, read_recording
from traces.trace_file import read_trace

CASES = Path(__file__).parent / "cases"
CAPACITY = b"".join(b"%d\n" % ms for ms in range(1, 3001))
SHORT = b"".join(b"%d\n" % ms for ms in range(1, 61))
DELAY = Assumptions(delay_s=0.02)


def files(folder: Path, delays: list[int]) -> tuple[Path, Path]:
    (folder / "bw.txt").write_bytes(CAPACITY)
    (folder / "delays.txt").write_text("\n".join(map(str, delays)))
    return folder / "bw.txt", folder / "delays.txt"


@pytest.mark.parametrize(("unit", "factor"), [("ns", 10**6), ("us", 10**3)])
def test_delays_of_hours_are_refused_with_the_option_for_their_unit(tmp_path, unit, factor):
    bw, delays = files(tmp_path, [36 * factor + n for n in range(300)])
    with pytest.raises(TraceError, match=r"delays.txt: expected delays in ms, below 10 s; .*--delay-unit"):
        read_recording(bw, delay_file=delays)
    trace = read_recording(bw, Assumptions(delay_unit=unit), delay_file=delays)
    assert trace.down_delay_s[0] == pytest.approx(0.036)


def test_the_option_for_the_unit_reaches_the_file_of_delays(tmp_path, capsys):
    bw, delays = files(tmp_path, [36_000_000 + n for n in range(300)])
    line = ["trace", "convert", str(bw), "--delay-from", str(delays), "-o", str(tmp_path / "out.csv")]
    assert main(line) == 2
    assert "--delay-unit" in capsys.readouterr().err
    assert main([*line, "--delay-unit", "ns"]) == 0
    assert read_trace(tmp_path / "out.csv").down_delay_s.max() < 0.037


@pytest.mark.parametrize(
    "numbers",
    [[36] * 3000, [20 + n // 500 for n in range(5000)], [1_700_000_000 + n for n in range(60)]],
    ids=["constant delays", "rising delays", "seconds since 1970"],
)
def test_rising_integers_that_make_no_capacity_are_refused_unless_named(numbers):
    data = "\n".join(map(str, numbers)).encode()
    with pytest.raises(TraceError, match=r"x: the file has only rising .*--from mahimahi .*--columns"):
        parse_recording(data, "x", DELAY)
    assert parse_recording(data, "x", DELAY, "mahimahi").end_s == pytest.approx(numbers[-1] / 1e3)


@pytest.mark.parametrize(
    ("column", "value"),
    [("delay=2:s", 36), ("rtt=2:ms", 0.05), ("down=2:bit/s", 100), ("down=2:Gbit/s", 200)],
)
def test_an_implausible_unit_of_a_column_is_doubted(column, value):
    beside = Assumptions(columns=f"time=1:s,{column}", **({"delay_s": 0.01} if "down" in column else {}),
                         **({"up_bit_s": 1e6} if "down" in column else {"rate_bit_s": 1e6}))  # fmt: skip
    notes = parse_recording(f"0,{value}\n1,{value}\n".encode(), "x", beside).header.notes
    assert any(note.startswith("doubt: ") and "check its unit" in note for note in notes)


def test_given_values_are_doubted_too():
    notes = parse_recording(SHORT, "x", Assumptions(delay_s=12.0, up_bit_s=20.0)).header.notes
    for name in ("down_delay_s is typically 12 s", "up_bit_s is typically 20 bit/s"):
        assert any(note.startswith(f"doubt: {name}") for note in notes)


@pytest.mark.parametrize(
    ("lines", "mbit_s"),
    [([n * 1000 for n in range(1, 60)], "0.012"), (sorted([*range(1, 2001)] * 400), "4800")],
)
def test_an_unusual_capacity_is_doubted(lines, mbit_s):
    notes = parse_recording("\n".join(map(str, lines)).encode(), "x", DELAY).header.notes
    assert any(f"the capacity is {mbit_s} Mbit/s; check that the lines are ms" in note for note in notes)


def test_a_short_file_in_seconds_is_refused():
    data = "\n".join(str(n // 80) for n in range(1, 4000)).encode()
    with pytest.raises(TraceError, match=r"as mahimahi's milliseconds they are 0\.049 s at 979"):
        parse_recording(data, "x", DELAY)


@pytest.mark.parametrize(
    ("unit", "first", "likely"),
    [
        ("s", 1.7e12, "unix-ms"),
        ("s", 1.7e18, "unix-ns"),
        ("ms", 1.7e15, "unix-us"),
        ("unix-s", 1.7e12, "unix-ms"),
        ("unix-ms", 1.7e9, "unix-s"),
        ("unix-ns", 1.7e15, "unix-us"),
    ],
)
def test_a_time_in_another_unit_is_refused_with_the_likely_one(unit, first, likely):
    data = f"{first:.0f},5\n{first * 1.001:.0f},5\n".encode()
    beside = Assumptions(columns=f"time=1:{unit},rtt=2:ms", rate_bit_s=1e6)
    with pytest.raises(TraceError, match=f"declared as {unit}; they look like {likely}"):
        parse_recording(data, "x", beside)


@pytest.mark.parametrize(
    ("unit", "first"), [("s", 0), ("s", 1.7e9), ("ms", 1.7e9), ("ms", 1.7e12), ("ns", 1.7e18)]
)
def test_times_from_any_origin_are_accepted(unit, first):
    data = f"{first:.0f},5\n{first + 1e6:.0f},5\n".encode()
    assert (
        len(parse_recording(data, "x", Assumptions(columns=f"time=1:{unit},rtt=2:ms", rate_bit_s=1e6))) == 1
    )


def test_a_short_capacity_is_repeated():
    trace = parse_recording(SHORT, "12mbps.txt", Assumptions(delay_s=0.02, loop_s=20.0))
    assert trace.end_s == 20
    assert float(trace.lengths_s() @ trace.down_bit_s) == pytest.approx(20 * 12e6)
    assert np.allclose(trace.down_bit_s, 12e6)
    assert any("0.06 s are repeated until 20 s" in note for note in trace.header.notes)


def test_any_recording_and_a_trace_can_be_repeated(tmp_path):
    data = b"0,5,1\n1,6,1\n2,7,0\n"
    beside = Assumptions(
        columns="time=1:s,down=2:Mbit/s,connected=3:flag", up_bit_s=1e6, delay_s=0.01, loop_s=7.0
    )
    trace = parse_recording(data, "x", beside)
    assert [trace.row_at(n + 0.5).down_bit_s for n in range(7)] == [5e6, 6e6, 0, 5e6, 6e6, 0, 5e6]
    out = tmp_path / "out.csv"
    line = ["trace", "convert", str(CASES / "contacts_of_1_7_s.csv"), "--loop", "100s", "-o", str(out)]
    assert main(line) == 0
    assert read_trace(out).end_s == 100
    assert len(read_trace(out).contacts()) == 30
    with pytest.raises(TraceError, match="--loop 2s has no effect: the recording lasts 3 s"):
        parse_recording(data, "x", Assumptions(**{**beside.__dict__, "loop_s": 2.0}))


def test_convert_says_what_the_written_file_holds(tmp_path, capsys):
    source = str(CASES / "contacts_of_1_7_s.csv")
    assert main(["trace", "convert", source, "--to", "ion", "-o", str(tmp_path / "out.ionrc")]) == 0
    words = [line.split() for line in (tmp_path / "out.ionrc").read_text().splitlines()]
    down = [word for word in words if word[:2] == ["a", "contact"] and word[4] == "1"]
    seconds = sum(int(word[3]) - int(word[2]) for word in down)
    size = sum((int(word[3]) - int(word[2])) * int(word[6]) for word in down)
    printed = capsys.readouterr().out
    assert f"downlink: {seconds} of 20.4 s, {size} of 20400000 bytes" in printed
    assert "uplink:" in printed
    line = ["trace", "convert", source, "--to", "mahimahi", "--json", "-o", str(tmp_path / "out.txt")]
    assert main(line) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    opportunities = len((tmp_path / "out.txt").read_text().split())
    assert written == {"down": {"bytes": opportunities * 1500, "trace_bytes": pytest.approx(20.4e6)}}
