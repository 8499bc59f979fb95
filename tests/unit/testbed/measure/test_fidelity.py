"""What a trace asks of a packet is asked at the moment at which the packet meets the link."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
        self.changes = list(zip(trace.time_s.tolist(), rows, strict=True))

    def cross_s(self, entered_s: list[float], size_bytes: int) -> list[float]:
        """When each packet leaves."""
        events: list[tuple[float, Any]] = [*self.changes, *((moment_s, None) for moment_s in entered_s)]
        self.changes = []
        left: dict[int, float] = {}
        for moment_s, state in sorted(events, key=lambda event: (event[0], event[1] is None)):
            if state is not None:
                self.model.set(state, moment_s)
            else:
                assert self.model.arrive(len(left), size_bytes, moment_s)
            left |= {parcel.packet_id: parcel.due_s for parcel in self.model._parcels}
        return [left[n] for n in range(len(entered_s))]


def measured(trace: Trace, folder: Path, *, board: bool = False) -> LinkFidelity:
    """The fidelity of a link that plays the trace exactly; a board answers at once, and has its own clock."""
    first, second = list(Direction)[::-1] if board else list(Direction)
    sent_s = [0.05 + 0.25 * n for n in range(30)]
    arrived_s = PlayedWay(trace, first).cross_s(sent_s, 64)
    replied_s = [moment_s + (0 if board else TURNAROUND_S) for moment_s in arrived_s]
    back_s = PlayedWay(trace, second).cross_s(replied_s, 64)
    lines = []
    for n, (sent, there, reply, back) in enumerate(zip(sent_s, arrived_s, replied_s, back_s, strict=True)):
        ways = {"there_s": there - sent, "back_s": back - reply, "turnaround_s": TURNAROUND_S}
        rtt_s = ways["there_s"] + ways["back_s"]
        known = {"asked_by": "ground"} if board else ways
        lines.append({"kind": "rtt", "sequence": n, "monotonic_s": START_S + back, "rtt_s": rtt_s, **known})
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
        start_monotonic_s=START_S,
        satellite_log=folder / "satellite.jsonl",
        ground_log=folder / "ground.jsonl",
        busy=[],
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
    assert way.bits(0.5, 2.5) == pytest.approx(2e6)
    assert [way.is_up(t) for t in (-0.1, 0.0, 1.5, 2.0, 8.0)] == [False, True, False, True, False]
    assert [way.rate_bit_s(t) for t in (-1.0, 0.5, 1.5, 7.9)] == [0.0, 2e6, 0.0, 1e6]
