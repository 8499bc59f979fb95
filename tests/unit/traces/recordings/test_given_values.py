"""Given values fill what was not recorded; a recorded one is replaced only by that of its direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.recording_samples import LEOREPLAYER_DELAY, samples
from traces.errors import TraceError
from traces.recordings import Assumptions, parse_recording, read_recording
from traces.trace import Trace

SAMPLES = samples()
UP_ONLY = b"time,up\n0,3\n1,4\n2,5\n3,2\n"
UP_DELAY = b"time,d\n0,10\n1,20\n2,30\n"
UP = Assumptions(columns="time=time:s,up=up:Mbit/s")
DELAY = Assumptions(columns="time=time:s,up_delay=d:ms", rate_bit_s=50e6)


def read(data: bytes, beside: Assumptions, **changes: object) -> Trace:
    return parse_recording(data, "x.csv", replace(beside, **changes))


def test_a_rate_fills_the_direction_that_was_not_recorded():
    trace = read(UP_ONLY, UP, delay_s=0.02, rate_bit_s=50e6)
    assert trace.up_bit_s.tolist() == [3e6, 4e6, 5e6, 2e6]
    assert set(trace.down_bit_s.tolist()) == {50e6}
    assert not any("instead" in note for note in trace.header.notes)


def test_a_delay_fills_the_direction_that_was_not_recorded():
    trace = read(UP_DELAY, DELAY, delay_s=0.02)
    assert trace.up_delay_s.tolist() == [0.01, 0.02, 0.03]
    assert set(trace.down_delay_s.tolist()) == {0.02}


def test_a_loss_fills_the_direction_that_was_not_recorded():
    beside = Assumptions(columns="time=1:s,down_loss=2:percent", rate_bit_s=1e6, delay_s=0.01)
    trace = read(b"0,10\n1,20\n", beside, loss=0.5)
    assert trace.down_loss.tolist() == [0.1, 0.2]
    assert set(trace.up_loss.tolist()) == {0.5}


def test_a_delay_file_fills_the_direction_that_was_not_recorded(tmp_path):
    (tmp_path / "x.csv").write_bytes(UP_DELAY)
    (tmp_path / "delays.txt").write_bytes(LEOREPLAYER_DELAY)
    trace = read_recording(tmp_path / "x.csv", DELAY, delay_file=tmp_path / "delays.txt")
    assert trace.row_at(0).up_delay_s == 0.01
    assert trace.row_at(0).down_delay_s == 0.024


def test_a_plan_of_one_direction_keeps_its_rate():
    trace = read(b"a contact +0 +60 1 2 125000\n", Assumptions(delay_s=0.01, rate_bit_s=50e6))
    assert (trace.row_at(0).down_bit_s, trace.row_at(0).up_bit_s) == (1e6, 50e6)


def test_a_capacity_of_one_direction_keeps_its_rate():
    data = SAMPLES["mahimahi"].data
    alone = read(data, SAMPLES["mahimahi"].beside)
    assert alone.row_at(0).down_bit_s == alone.row_at(0).up_bit_s == pytest.approx(600e3)
    assert any("up_bit_s was not recorded" in note for note in alone.header.notes)
    filled = read(data, SAMPLES["mahimahi"].beside, rate_bit_s=1e6)
    assert (filled.row_at(0).down_bit_s, filled.row_at(0).up_bit_s) == (pytest.approx(600e3), 1e6)


@pytest.mark.parametrize("name", ["up_bit_s", "up_delay_s"])
def test_a_recorded_value_is_replaced_by_the_one_of_its_direction(name):
    data, beside = (UP_ONLY, replace(UP, delay_s=0.02)) if name == "up_bit_s" else (UP_DELAY, DELAY)
    beside = replace(beside, rate_bit_s=50e6, delay_s=0.02, **{name: 0.5})
    trace = read(data, beside)
    assert set(getattr(trace, name).tolist()) == {0.5}
    assert any(note == f"{name} 0.5 was given instead of the recorded values" for note in trace.header.notes)


@pytest.mark.parametrize(
    ("form", "changes", "option"),
    [
        ("wetlinks-iperf", {"rate_bit_s": 1e6}, "--rate"),
        ("ion", {"rate_bit_s": 1e6}, "--rate"),
        ("ping", {"delay_s": 0.01}, "--delay"),
        ("ping", {"loss": 0.5}, "--loss"),
        ("lens-irtt", {"loss": 0.5}, "--loss"),
        ("wetlinks-ping", {"loss": 0.5}, "--loss"),
        ("csv", {"loss": 0.5}, "--loss"),
        ("ping", {"rate_bit_s": 1e6}, "--rate"),  # both directions are given beside it
    ],
)
def test_a_value_that_fills_nothing_is_refused(form, changes, option):
    sample = SAMPLES[form]
    with pytest.raises(TraceError, match=rf"{option} has no effect: .*use --down-{option[2:]} and --up-"):
        parse_recording(sample.data, "x", replace(sample.beside, **changes), form)


def test_a_delay_file_or_an_orbit_that_fills_nothing_is_refused(tmp_path):
    (tmp_path / "ping.txt").write_bytes(SAMPLES["ping"].data)
    (tmp_path / "delays.txt").write_bytes(LEOREPLAYER_DELAY)
    with pytest.raises(TraceError, match="--delay-from has no effect"):
        read_recording(tmp_path / "ping.txt", SAMPLES["ping"].beside, delay_file=tmp_path / "delays.txt")
    (tmp_path / "bw.txt").write_bytes(SAMPLES["mahimahi"].data)
    with pytest.raises(TraceError, match="--delay has no effect"):
        read_recording(tmp_path / "bw.txt", Assumptions(delay_s=0.1), delay_file=tmp_path / "delays.txt")
    (tmp_path / "up.txt").write_bytes(SAMPLES["mahimahi"].data)
    with pytest.raises(TraceError, match="only one of --up-file and --up-rate"):
        read_recording(
            tmp_path / "bw.txt", Assumptions(delay_s=0.1, up_bit_s=1e6), up_file=tmp_path / "up.txt"
        )
