"""The probe stays light; what it saw is put beside the right row of the trace."""

import json
import os
import time
from dataclasses import replace
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import testbed.measure.probe as probe_module
from nodes.clocks.timescale import Timescale
from testbed.machine.processor_load import ProcessorLoad, load_text
from testbed.measure.fidelity import LinkFidelity, Sample, compare
from testbed.measure.probe import BUDGET, Probe, TrainShape, load_bit_s
from testbed.results.latency import FrameResult
from testbed.results.results import Results
from testbed.results.table import results_table
from tests.support.one_way import one_way_trace
from traces.trace import Trace, TraceHeader


@pytest.mark.parametrize("rate_bit_s", [1e5, 1e6, 4e6, 1e8, 1e9])
def test_trains_stay_under_their_budget(rate_bit_s: float) -> None:
    train = TrainShape.for_rate(rate_bit_s)
    assert train.count >= 3
    assert train.count * train.frame_bytes * 8 / train.interval_s <= BUDGET * rate_bit_s * 1.001
    assert load_bit_s(rate_bit_s) <= BUDGET * rate_bit_s * 1.001 + 2048


def trace() -> Trace:
    header = TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test")
    return Trace(
        header,
        time_s=np.array([0.0, 10.0, 20.0]),
        downlink_up=np.array([False, True, False]),
        uplink_up=np.array([False, True, False]),
        down_bit_s=np.array([0.0, 1e6, 0.0]),
        up_bit_s=np.array([0.0, 1e5, 0.0]),
        down_delay_s=np.array([0.0, 0.008, 0.0]),
        up_delay_s=np.array([0.0, 0.012, 0.0]),
        down_loss=np.zeros(3),
        up_loss=np.zeros(3),
        end_s=30.0,
    )


def test_probes_outside_contacts_and_behind_traffic_are_not_judged(tmp_path: Path) -> None:
    satellite, ground = tmp_path / "s.jsonl", tmp_path / "g.jsonl"
    rtts = [
        {
            "kind": "rtt", "sequence": t, "monotonic_s": 1000 + t,
            "rtt_s": 0.026, "there_s": 0.009, "back_s": 0.017, "turnaround_s": 1e-4,
        }
        for t in (5, 12, 15, 19, 25)
    ]  # fmt: skip
    satellite.write_text("\n".join(json.dumps(r) for r in rtts) + '\n{"kind": "rt')
    train = {"kind": "train", "monotonic_s": 1013, "rate_bit_s": 0.98e6, "dispersion_s": 9936 / 0.98e6}
    ground.write_text(json.dumps({**train, "there_s": 0.03, "packets": 2, "frame_bytes": 1242}))
    record = compare(
        link="S - G",
        shaper="recording",
        trace_name="t.csv",
        trace=trace(),
        scale=Timescale.starting(1000),
        logs=(satellite, ground),
        busy=[(14.0, 16.0)],
    )
    assert [s.time_s for s in record.rtt] == [12, 19]
    assert record.rtt_behind_traffic == 1
    assert record.rtt_error_s(50) == pytest.approx(0.026 - 0.02 - 512 / 1e6 - 512 / 1e5)
    assert record.summary()["down_delay_error_p50_s"] == pytest.approx(0.009 - 0.008 - 512 / 1e6)
    assert record.summary()["up_delay_error_p50_s"] == pytest.approx(abs(0.017 - 0.012 - 512 / 1e5))
    assert record.rate_error(record.down_rate) == pytest.approx(-0.02)
    assert record.rate_error(record.up_rate) is None


def measured_link(error_s: float, n: int = 5) -> LinkFidelity:
    rtt = tuple(Sample(float(i), 0.02, 0.02 + error_s) for i in range(n))
    return LinkFidelity("S - G", "recording", "t.csv", 0.0, 5e3, rtt, 0, (), ())


@pytest.mark.parametrize(
    ("link", "bound_s", "warning"),
    [
        (measured_link(3e-4), 1e-3, None),
        (measured_link(3e-4), 1e-6, "link S - G missed its bound: median RTT error 0.30 ms, bound 0.001 ms"),
        (measured_link(-3e-4), 1e-6, "link S - G missed its bound: median RTT error 0.30 ms, bound 0.001 ms"),
        (measured_link(0.0, n=0), 1.0, "link S - G was not measured: its figures are the configured ones"),
    ],
)
def test_a_link_beyond_its_bound_is_the_first_thing_that_is_said(
    link: LinkFidelity, bound_s: float, warning: str | None
) -> None:
    frame = FrameResult("f", "S", "?", "1", "count", 0.0, "1", "ground", None, None, 0, None, None)
    results = Results("a test", "recording", (frame,), (link,), bound_s)
    assert results.warnings() == ([warning] if warning else [])
    console = Console(width=200, record=True, file=StringIO())
    console.print(results_table(results, 200))
    first = console.export_text().strip().splitlines()[0]
    assert first == "PASSED: 1 of 1 frame answered" + (f"; 1 warning: {warning}" if warning else "")


def test_the_load_of_the_machine_stands_in_the_record() -> None:
    load, began_s = ProcessorLoad(), time.process_time()
    while time.process_time() - began_s < 0.1:  # ten ticks of /proc/stat
        sum(range(1000))
    record = load.record()
    share = record["busy_share"]
    assert share is not None
    assert 0 < share <= 1
    link = replace(measured_link(0.0), load=record, counters={"down": {"delivered": 3}})
    assert link.summary()["load"] == record
    assert link.to_json()["counters"] == {"down": {"delivered": 3}}
    assert f"{os.cpu_count()} cores {share:.0%} busy" in load_text(record)


def test_both_ends_on_one_machine_time_each_way_by_itself() -> None:
    """Over the loopback: the two ways make up the round trip, and the echo's own time is no part of it."""
    out = StringIO()
    one = Probe("127.0.0.1", 1e6, True, out, port=47801)
    other = Probe("127.0.0.1", 1e6, False, StringIO(), port=47802)
    one.peer, other.peer = other.peer, one.peer
    with one.socket, other.socket:
        # The kernel starts stamping a moment after the request; until then a packet has its reader's time.
        time.sleep(0.2)
        one.send_rtt()
        time.sleep(0.02)
        other.receive()
        one.receive()
        one.send_rtt()  # is not answered any more
        one.give_up()
    record, unanswered = [json.loads(line) for line in out.getvalue().splitlines()]
    assert record["rtt_s"] == pytest.approx(record["there_s"] + record["back_s"])
    assert 0 < record["there_s"] < 0.02
    assert 0 < record["back_s"] < 0.02
    assert unanswered["kind"] == "unanswered"
    assert record["monotonic_s"] < unanswered["monotonic_s"] <= time.monotonic()


def test_a_train_needs_its_own_direction_up_and_a_round_trip_both(
    tmp_path: Path,
) -> None:
    satellite, ground = tmp_path / "s.jsonl", tmp_path / "g.jsonl"
    seconds = (5, 15, 25, 35)  # both up, downlink only, uplink only, none
    train = {"kind": "train", "rate_bit_s": 1e6, "dispersion_s": 0.02, "there_s": 0.03}
    train |= {"packets": 3, "frame_bytes": 1242}
    trains = [train | {"monotonic_s": 1000 + t} for t in seconds]
    rtts = [{"kind": "rtt", "sequence": t, "monotonic_s": 1001 + t, "rtt_s": 0.03} for t in seconds]
    satellite.write_text("\n".join(map(json.dumps, [*trains, *rtts])))
    ground.write_text("\n".join(map(json.dumps, trains)))
    record = compare(
        link="S - G",
        shaper="recording",
        trace_name="t.csv",
        trace=one_way_trace(),
        scale=Timescale.starting(1000),
        logs=(satellite, ground),
        busy=[],
    )
    assert [sample.time_s for sample in record.down_rate] == [5, 15]
    assert [sample.time_s for sample in record.up_rate] == [5, 25]
    assert [sample.time_s for sample in record.rtt] == [6]


@pytest.mark.parametrize("speed", [2, 20, 1000])
@pytest.mark.parametrize("rate_bit_s", [1e5, 4e6, 1e8])
def test_probes_of_a_faster_link_are_no_heavier(rate_bit_s: float, speed: float) -> None:
    train = TrainShape.for_rate(rate_bit_s * speed, speed)
    assert train.count * train.frame_bytes * 8 / train.interval_s <= BUDGET * rate_bit_s * speed * 1.001
    assert load_bit_s(rate_bit_s, speed) <= BUDGET * rate_bit_s * 1.001 + 2048


@pytest.mark.parametrize("step_ns", [3_600_000_000_000, -3_600_000_000_000])
def test_a_probe_that_is_on_its_way_while_the_wall_clock_is_set_is_left_out(
    monkeypatch: pytest.MonkeyPatch, step_ns: int
) -> None:
    out = StringIO()
    probe = Probe("127.0.0.1", 1e6, True, out, port=0)
    probe.peer = ("127.0.0.1", probe.socket.getsockname()[1])  # it answers itself
    wall = time.time_ns() - time.monotonic_ns()
    monkeypatch.setattr(probe_module, "_offset_ns", lambda: wall)
    try:
        for stepped in (0, step_ns):
            probe.send_rtt()
            probe.receive()
            monkeypatch.setattr(probe_module, "_offset_ns", lambda stepped=stepped: wall + stepped)
            probe.receive()
        probe.send_rtt()
        monkeypatch.setattr(probe_module, "_offset_ns", lambda: wall)
        probe.give_up()
    finally:
        probe.socket.close()
    rtt, unanswered = (json.loads(line) for line in out.getvalue().splitlines())
    assert (rtt["kind"], unanswered["kind"]) == ("rtt", "unanswered")
    assert abs(rtt["monotonic_s"] - time.monotonic()) < 5
    assert abs(unanswered["monotonic_s"] - time.monotonic() + step_ns / 1e9) < 5, "not by the clock as it was"
