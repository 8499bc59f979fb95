"""Recordings joined with delays of another one or of an orbit: same moment, every change of both."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.support.recording_samples import samples
from traces.errors import StaleElementsWarning, TraceError
from traces.orbits.elements import find_satellite, read_elements
from traces.orbits.stations import station
from traces.orbits.tle import FLOCK_TLE
from traces.recordings import Assumptions, parse_recording, read_recording
from traces.recordings.joining import _delay_s
from traces.recordings.recording import Orbit
from traces.trace import Trace
from traces.trace_file import write_trace

CASES = Path(__file__).parent / "cases"
SAMPLES = samples()
START = datetime(2024, 1, 11, 10, tzinfo=timezone.utc)


def joined(folder: Path, main: bytes, delays: bytes, beside: Assumptions | None = None) -> Trace:
    (folder / "main").write_bytes(main)
    (folder / "delays").write_bytes(delays)
    return read_recording(folder / "main", beside, delay_file=folder / "delays")


def ping(times_s: np.ndarray, rtt_ms: np.ndarray) -> bytes:
    line = "[{:.6f}] 64 bytes from a: icmp_seq={} ttl=9 time={} ms"
    rows = zip(times_s.tolist(), rtt_ms.tolist(), strict=True)
    return "\n".join(
        line.format(START.timestamp() + when + rtt / 1e3, number % 65536, rtt)
        for number, (when, rtt) in enumerate(rows, 1)
    ).encode()


@pytest.mark.parametrize("gaps", ["hold", "close"])
def test_delays_are_those_of_the_same_utc_whatever_becomes_of_gaps(gaps):
    beside = Assumptions(zone=timezone.utc, gaps=gaps)
    trace = read_recording(CASES / "gaps_iperf.csv", beside, delay_file=CASES / "gaps_ping.csv")
    delays = dict.fromkeys([0.01, 0.02, 0.03, 0.04], 0.0)
    for delay_s, rate, length_s in zip(
        trace.down_delay_s.tolist(), trace.down_bit_s.tolist(), trace.lengths_s().tolist(), strict=True
    ):
        delays[round(delay_s, 6)] += length_s
        assert 100e6 <= rate <= 100.004e6
    assert trace.end_s == {"hold": 10805, "close": 20}[gaps]
    if gaps == "close":
        assert list(delays.values()) == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("main", "beside"),
    [
        (b"a contact +0 +30 1 2 1250000\na contact +0 +30 2 1 125000\n", Assumptions()),
        (b"time,down,up\n0,50,5\n10,60,6\n20,40,4\n",
         Assumptions(columns="time=time:s,down=down:Mbit/s,up=up:Mbit/s")),
        (b"".join(b"%d\n" % ms for ms in range(1, 30_001)), Assumptions()),
    ],
    ids=["ion", "csv", "mahimahi"],
)  # fmt: skip
def test_each_change_of_the_delays_is_in_the_trace(tmp_path, main, beside):
    delay_ms = np.where(np.arange(3000) % 2 == 0, 10, 11)
    delay_ms[1234:1239] = 90
    trace = joined(tmp_path, main, "\n".join(map(str, delay_ms.tolist())).encode(), beside)
    for second in range(0, 3000, 7):
        assert trace.row_at(second / 100 + 0.005).down_delay_s == pytest.approx(delay_ms[second] / 1e3)
    assert trace.down_delay_s.max() == 0.09
    assert float(trace.lengths_s()[trace.up_delay_s == 0.09].sum()) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("gaps", "length_s", "contacts"),
    [("hold", 60, [(0, 60)]), ("down", 60, [(10, 50)]), ("close", 40, [(0, 40)])],
)
def test_what_the_delays_do_not_cover_is_a_gap_and_said(tmp_path, gaps, length_s, contacts):
    rates = "\n".join(f"{START.timestamp() + n:.0f},{10 + n}" for n in range(60)).encode()
    beside = Assumptions(columns="time=1:unix-s,down=2:Mbit/s", up_bit_s=1e6, gaps=gaps)
    trace = joined(tmp_path, rates, ping(np.arange(10, 50), np.linspace(20, 40, 40).round(1)), beside)
    assert [(round(c.aos_s, 3), round(c.los_s, 3)) for c in trace.contacts()] == contacts
    assert trace.end_s == pytest.approx(length_s, abs=1e-3)
    assert any("does not cover 20 s" in note for note in trace.header.notes)
    if gaps == "close":
        assert trace.header.start_utc == START + timedelta(seconds=10)
        assert trace.row_at(0.5).down_bit_s == 20e6
        assert trace.row_at(0.5).down_delay_s == pytest.approx(0.01)


def test_delays_that_lie_outside_the_recording_are_said(tmp_path):
    rates = f"{START.timestamp():.0f},10\n{START.timestamp() + 1:.0f},11\n".encode()
    beside = Assumptions(columns="time=1:unix-s,down=2:Mbit/s", up_bit_s=1e6)
    trace = joined(tmp_path, rates, ping(np.arange(-5, 9), np.full(14, 20.0)), beside)
    assert any("12 s of ping recording delays lie outside" in note for note in trace.header.notes)


def test_the_delay_of_a_trace_in_which_the_link_is_down_is_not_used(tmp_path):
    delays = parse_recording(
        b"0,10,1\n5,0,0\n10,30,1\n", "x",
        Assumptions(columns="time=1:s,delay=2:ms,connected=3:flag", rate_bit_s=1e6),
    )  # fmt: skip
    write_trace(delays, tmp_path / "delays.csv")
    (tmp_path / "main").write_bytes(b"a contact +0 +15 1 2 1250000\n")
    trace = read_recording(tmp_path / "main", Assumptions(up_bit_s=1e6), delay_file=tmp_path / "delays.csv")
    assert [trace.row_at(second).down_delay_s for second in (1, 7, 12)] == [0.01, 0.01, 0.03]


def test_a_recording_without_delays_is_refused_as_a_file_of_delays(tmp_path):
    with pytest.raises(TraceError, match="expected delays in wetlinks-iperf recording delays"):
        joined(tmp_path, SAMPLES["ion"].data, SAMPLES["wetlinks-iperf"].data)


@pytest.mark.parametrize("form", ["ion", "gmat", "stk"])
def test_the_delay_of_an_orbit_changes_during_a_contact(form):
    dove = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1")
    place = station("Svalbard")
    start = datetime(2018, 1, 20, 11, 30, 30, tzinfo=timezone.utc)
    own = {"gmat": {"station": None}}.get(form, {})
    data = SAMPLES[form].data
    if form == "gmat":
        data = data[: data.index(b"Observer: GroundStation2")]
    beside = Assumptions(rate_bit_s=None if form == "ion" else 1e6, elements=dove, place=place,
                         start_utc=start, **own)  # fmt: skip
    trace = parse_recording(data, form, beside)
    for contact in trace.contacts():
        for second in (contact.aos_s, contact.aos_s + 60, contact.aos_s + 200):
            expected = _delay_s(Orbit(0, dove, place), start, np.array([second]))[0]
            assert trace.row_at(second).down_delay_s == pytest.approx(expected, abs=1e-6)


def test_an_orbit_is_that_of_the_same_utc_after_gaps_are_closed():
    dove, place = find_satellite(read_elements(FLOCK_TLE), "FLOCK 2P-1"), station("Svalbard")
    start = datetime(2018, 1, 20, 11, 30, 30, tzinfo=timezone.utc)
    data = b"".join(
        b"%d,%d\n" % (start.timestamp() + second, second + 1) for second in (*range(5), *range(100, 105))
    )
    beside = Assumptions(columns="time=1:unix-s,down=2:Mbit/s", up_bit_s=1e6, elements=dove, place=place,
                         gaps="close")  # fmt: skip
    trace = parse_recording(data, "x", beside)
    assert trace.end_s == 10
    expected = _delay_s(Orbit(0, dove, place), start, np.array([102.0]))[0]
    assert trace.row_at(7).down_delay_s == pytest.approx(expected)


def test_each_observation_uses_its_own_elements():
    trace = read_recording(CASES / "satnogs_years.json", Assumptions(rate_bit_s=1e7))
    second = trace.time_s > 1e6
    for part in (trace.up & second, trace.up & ~second):
        assert 0.0014 < trace.down_delay_s[part].min() < 0.002
        assert trace.down_delay_s[part].max() < 0.0085
    assert not any("from their epoch" in note for note in trace.header.notes)
    assert any("2 element sets" in note for note in trace.header.notes)


def test_satellites_without_a_name_are_told_apart_by_their_number():
    data = (CASES / "satnogs_two.json").read_bytes()
    with pytest.raises(TraceError, match=r"25544 over Example.*; 48274 over Example.*choose with"):
        parse_recording(data, "two.json", Assumptions(rate_bit_s=1e7))
    for name in ("25544", "48274"):
        trace = parse_recording(data, "two.json", Assumptions(rate_bit_s=1e7, satellite=name))
        assert trace.header.satellite == name
        assert len(trace.contacts()) == 1
    assert 0.0256 < trace.down_delay_s[trace.up].min() < trace.down_delay_s[trace.up].max() < 0.0275


def test_old_elements_are_said():
    data = (CASES / "satnogs_years.json").read_bytes().replace(b"2020-11-07", b"2020-12-07")
    with pytest.warns(StaleElementsWarning, match="days from their epoch"):
        trace = parse_recording(data, "x", Assumptions(rate_bit_s=1e7))
    assert any("29.1 days from their epoch" in note for note in trace.header.notes)


def test_losses_of_the_file_of_delays_are_not_used_and_said(tmp_path):
    delays = b"0,20,0\n1,20,0.5\n2,20,0\n"
    (tmp_path / "delays").write_bytes(delays)
    lossy = parse_recording(
        delays, "x", Assumptions(columns="time=1:s,rtt=2:ms,loss=3:fraction", rate_bit_s=1e6)
    )
    write_trace(lossy, tmp_path / "delays.csv")
    (tmp_path / "main").write_bytes(samples()["mahimahi"].data)
    trace = read_recording(tmp_path / "main", Assumptions(), delay_file=tmp_path / "delays.csv")
    assert trace.down_loss.max() == 0
    assert any("also tells of losses or outages, which are not used" in note for note in trace.header.notes)
