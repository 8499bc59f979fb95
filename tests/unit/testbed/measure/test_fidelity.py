"""What a trace asks of a packet is asked at the moment at which the packet meets the link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.clocks.timescale import Timescale
from testbed.measure.fidelity import LinkFidelity, compare
from testbed.measure.requested import RequestedWay
from testbed.network.link_state import Direction
from testbed.network.player import states_of
from testbed.network.shapers.nfqueue.model import LinkModel
from traces.trace import Trace, TraceHeader

START_S = 1000.0  # CLOCK_MONOTONIC of scenario second 0
TURNAROUND_S = 2e-3


def sawtooth(delays_s: tuple[float, float] = (0.01, 0.09), step_s: float = 0.02) -> Trace:
    """The delay of both ways rises for two seconds and falls at once; a row every `step_s`."""
    time_s = np.arange(0, 8, step_s)
    rise = time_s % 2 / 2
    down_s = delays_s[0] + rise * (delays_s[1] - delays_s[0])
    return Trace(
        TraceHeader("S", "G", datetime(2018, 1, 20, tzinfo=timezone.utc), "a test"),
        time_s=time_s,
        downlink_up=np.ones(len(time_s), dtype=bool),
        uplink_up=np.ones(len(time_s), dtype=bool),
        down_bit_s=np.where(time_s < 4, 2e6, 1e6),
        up_bit_s=np.full(len(time_s), 5e5),
        down_delay_s=down_s,
        up_delay_s=down_s * 0.7,
        down_loss=np.zeros(len(time_s)),
        up_loss=np.zeros(len(time_s)),
        end_s=8.0,
    )


class PlayedWay:
    """The link model of the shaper, which follows one way of a trace; there is no other link to ask."""

    def __init__(self, trace: Trace, direction: Direction) -> None:
        self.model = LinkModel()
        rows = [states_of(row)[list(Direction).index(direction)] for row in trace.rows()]
        self.queues_met: list[tuple[float, float]] = []
        self.changes = list(zip(trace.time_s.tolist(), rows, strict=True))

    def cross_s(
        self, entered_s: list[float], size_bytes: int, others: Sequence[tuple[float, int]] = ()
    ) -> list[float]:
        """When each packet leaves; `others`, moments and sizes, enter between them."""
        events: list[tuple[float, int, Any]] = [(moment_s, 0, state) for moment_s, state in self.changes]
        events += [(moment_s, 1, size) for moment_s, size in others]
        events += [(moment_s, 2, n) for n, moment_s in enumerate(entered_s)]
        left: dict[int, float] = {}
        for moment_s, kind, what in sorted(events, key=lambda event: event[:2]):
            if kind == 0:
                self.model.set(what, moment_s)
            elif kind == 1:
                self.model.arrive(-1, what, moment_s)  # or it is dropped from a full queue
            else:
                self.queues_met.append((START_S + moment_s, self.model.waiting_bytes(moment_s)))
                assert self.model.arrive(what, size_bytes, moment_s)
            left |= {parcel.packet_id: parcel.due_s for parcel in self.model._parcels}
        return [left[n] for n in range(len(entered_s))]


def measured(
    trace: Trace,
    folder: Path,
    *,
    board: bool = False,
    others: Sequence[tuple[float, int]] = (),
    tells_queues: bool = True,
    late_s: float = 0.0,
) -> LinkFidelity:
    """The fidelity of a link that plays the trace exactly; a board answers at once, and has its own clock.

    Args:
        others: moments and sizes of other packets downwards.
        tells_queues: whether the link tells what the probes met, or only that there was traffic.
        late_s: delay that the link adds to the trace's.
    """
    first, second = list(Direction)[::-1] if board else list(Direction)
    sent_s = [0.2 + 0.25 * n for n in range(30)]
    there, back = PlayedWay(trace, first), PlayedWay(trace, second)
    arrived_s = [moment_s + late_s for moment_s in there.cross_s(sent_s, 64, others)]
    replied_s = [moment_s + (0 if board else TURNAROUND_S) for moment_s in arrived_s]
    back_s = back.cross_s(replied_s, 64)
    lines = []
    moments = zip(sent_s, arrived_s, replied_s, back_s, strict=True)
    for n, (sent, arrived, reply, returned) in enumerate(moments):
        ways = {"there_s": arrived - sent, "back_s": returned - reply, "turnaround_s": TURNAROUND_S}
        rtt_s = ways["there_s"] + ways["back_s"]
        known = {"asked_by": "ground"} if board else ways
        lines.append(
            {"kind": "rtt", "sequence": n, "monotonic_s": START_S + returned, "rtt_s": rtt_s, **known}
        )
    (folder / "satellite.jsonl").write_text("\n".join(map(json.dumps, lines)))
    trains = []
    for at_s in (0.48, 1.98, 3.99, 5.3):  # the second as the delay falls, the third as the rate changes
        left_s = PlayedWay(trace, Direction.DOWN).cross_s([at_s] * 12, 314)
        spread_s = left_s[-1] - left_s[0]
        trains.append(
            {
                "kind": "train", "monotonic_s": START_S + left_s[-1], "there_s": left_s[-1] - at_s,
                "dispersion_s": spread_s, "rate_bit_s": 11 * 314 * 8 / max(spread_s, 1e-9),
                "packets": 12, "frame_bytes": 314,
            }
        )  # fmt: skip
    (folder / "ground.jsonl").write_text("\n".join(map(json.dumps, trains)))
    return compare(
        link="S - G",
        shaper="model",
        trace_name="t.csv",
        trace=trace,
        scale=Timescale.starting(START_S),
        logs=(folder / "satellite.jsonl", folder / "ground.jsonl"),
        busy=[(moment_s, moment_s + 0.3) for moment_s, _ in others],
        queues_met={"down": there.queues_met, "up": back.queues_met} if others and tells_queues else None,
    )


@pytest.mark.parametrize("delays_s", [(0.01, 0.09), (0.3, 0.8)])  # the second falls by two probes' interval
def test_a_link_that_plays_a_fast_trace_exactly_has_no_error(
    tmp_path: Path, delays_s: tuple[float, float]
) -> None:
    record = measured(sawtooth(delays_s), tmp_path)
    assert len(record.rtt) + record.rtt_behind_traffic >= 25
    assert len(record.rtt) >= 15
    assert record.rtt_error_s(100) == pytest.approx(0, abs=1e-9)
    summary = record.summary()
    assert summary["down_delay_error_p50_s"] == pytest.approx(0, abs=1e-9)
    assert summary["up_delay_error_p50_s"] == pytest.approx(0, abs=1e-9)


# A second of 1242-byte packets a little faster than the link, at 2 Mbit/s and across a change to 1 Mbit/s.
OTHERS = [(start_s + 0.0045 * n, 1242) for start_s in (1.1, 3.5) for n in range(200)]


def test_probes_that_met_traffic_are_compared_with_the_delay_and_the_queue(tmp_path: Path) -> None:
    record = measured(sawtooth(), tmp_path, others=OTHERS)
    assert record.rtt_behind_traffic == 0
    assert len(record.queued_rtt) >= 6
    assert max(sample.queue or 0 for sample in record.queued_rtt) > 0.1
    assert record.queued_rtt_error_s(50) == pytest.approx(0, abs=1e-9)
    # As the delay falls: when the last frame before it was sent is known to the length of one.
    assert record.queued_rtt_error_s(100) == pytest.approx(0, abs=1242 * 8 / 2e6)
    assert len(record.rtt) >= 10
    assert record.rtt_error_s(100) == pytest.approx(0, abs=1e-9)
    late = measured(sawtooth(), tmp_path, others=OTHERS, late_s=5e-3)  # no part of the queue that was met
    assert late.queued_rtt_error_s(50) == pytest.approx(5e-3, abs=1e-3)


def test_a_link_that_tells_no_queue_still_gives_the_round_trips_under_traffic(tmp_path: Path) -> None:
    record = measured(sawtooth(), tmp_path, others=OTHERS, tells_queues=False)
    assert record.rtt_behind_traffic == len(record.queued_rtt) >= 6
    assert all(sample.queue is None for sample in record.queued_rtt)
    assert record.queued_rtt_error_s(50) is None
    assert record.summary()["queued_wait_s"] is None
    assert record.summary()["queued_measured_rtt_s"] > record.summary()["queued_requested_rtt_s"]


def test_a_probe_is_lost_once_a_later_one_was_answered(tmp_path: Path) -> None:
    measured(sawtooth(), tmp_path)
    log = tmp_path / "satellite.jsonl"
    with log.open("a") as file:
        for sent_s in (2.9, 7.9):  # the last may still be under way
            lost = {"kind": "unanswered", "sequence": 99, "sent_ns": 0, "monotonic_s": START_S + sent_s}
            file.write("\n" + json.dumps(lost))
    record = compare(
        link="S - G",
        shaper="model",
        trace_name="t.csv",
        trace=sawtooth(),
        scale=Timescale.starting(START_S),
        logs=(log, tmp_path / "ground.jsonl"),
        busy=[],
    )
    assert record.unanswered_s == (pytest.approx(2.9),)
    assert record.summary()["rtt_unanswered"] == 1


def test_trains_are_compared_with_the_rates_that_served_them(tmp_path: Path) -> None:
    """Neither a rate nor a delay that changes while a train is on the way is an error of the rate."""
    record = measured(sawtooth(), tmp_path)
    assert [sample.requested for sample in record.down_rate] == pytest.approx([2e6, 2e6, 1.4e6, 1e6], rel=0.1)
    for sample in record.down_rate:
        assert sample.measured == pytest.approx(sample.requested, rel=1e-6)


def test_a_probe_that_the_ground_sends_to_a_board_meets_the_uplink_first(tmp_path: Path) -> None:
    found = measured(sawtooth(), tmp_path, board=True)
    assert len(found.rtt) >= 15
    assert found.rtt_error_s(100) == pytest.approx(0, abs=1e-9)


def test_packets_wait_for_a_pause_to_end_and_are_sent_at_the_rates_of_the_time() -> None:
    trace = sawtooth()
    down = np.array(trace.downlink_up)
    down[50:100] = False  # from second 1 to 2
    trace = Trace(**{**vars(trace), "downlink_up": down})
    way = RequestedWay(trace, "down")
    assert way.serialised_s(0.5, 2e6) == pytest.approx(2.5)
    assert way.serialised_s(1.5, 2e4) == pytest.approx(2.01)
    assert way.serialised_s(0.5, 0.99e6) == pytest.approx(0.995)  # not at the end of the pause
    assert RequestedWay(trace, "up").is_up(1.5)  # by itself
    assert way.serialised_s(7.5, 1e9) == 8.0
    assert way.bits(np.array([0.5, 2.5, 9.0])) == pytest.approx([2e6, 1.5 * 2e6 + 4e6])
    assert [way.is_up(t) for t in (-0.1, 0.0, 1.5, 2.0, 8.0)] == [False, True, False, True, False]
    assert way.at(np.array([0.5, 1.5, 7.9]))[1].tolist() == [2e6, 0.0, 1e6]


def test_a_link_that_plays_a_trace_ahead_of_time_is_compared_in_scenario_time(tmp_path: Path) -> None:
    requested, speed = sawtooth((0.01, 0.09)), 20.0
    expected = measured(requested, tmp_path)
    logs = tmp_path / "satellite.jsonl", tmp_path / "ground.jsonl"
    for log in logs:  # as probes write them where all takes a twentieth of the time
        records = [json.loads(line) for line in log.read_text().splitlines()]
        for one in records:
            one["monotonic_s"] = START_S + (one["monotonic_s"] - START_S) / speed
            for name in ("rtt_s", "there_s", "back_s", "turnaround_s", "dispersion_s"):
                if name in one:
                    one[name] /= speed
        log.write_text("\n".join(map(json.dumps, records)))
    scale = Timescale.starting(START_S, speed)
    found = compare(
        link="S - G", shaper="model", trace_name="t.csv", trace=requested, scale=scale, logs=logs, busy=[]
    )
    assert len(found.rtt) == len(expected.rtt) and len(found.down_rate) == len(expected.down_rate) > 0
    assert found.rtt_error_s(100) == pytest.approx(0, abs=1e-9)
    for ours, theirs in zip(found.down_rate, expected.down_rate, strict=True):
        assert astuple(ours) == pytest.approx(astuple(theirs), rel=1e-6)
